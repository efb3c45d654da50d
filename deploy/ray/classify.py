"""Classifies the images of a folder, of any size, on the machines of a Ray cluster or on this one alone.

    python classify.py IMAGES OUT --weights lite0.safetensors
    python classify.py s3://bucket/images s3://bucket/classes --weights /shared/b0.safetensors --address auto \\
        --actors 8 --gpus-per-actor 1 --batch 64

IMAGES is a folder, here or on any storage that pyarrow knows; files below it that end as images do are taken,
recognised by their content. OUT is a folder of Parquet files with one row for each image:

    path          relative to IMAGES
    index, label, probability, logit
                  the most probable class; null where the image failed
    top           the --top-k most probable classes, each {index, label, probability, logit}, the best first
    error         null, or why the image could not be read or decoded

One row for an image, because most questions are about the best class alone, a count of rows is then a count of
images, and what has been done can be told exactly. In DuckDB:

    SELECT label, count(*) FROM 'out/*.parquet' GROUP BY label ORDER BY 2 DESC
    SELECT path, unnest(top, recursive := true) FROM 'out/*.parquet'

Run again with the same OUT it goes on: images that have a row are passed over, those that failed too unless
--retry-failed is given; one that is then classified has a row of either kind. A run that was killed loses what it had
not written. Files that it left half-written are removed.

The exit status is 0 when every image has its classes, 1 when some failed (each has a row with the error), 2 when
nothing was done, or the job could not go on to its end.
"""

import argparse
import hashlib
import json
import logging
import os
import posixpath
import re
import stat
import sys

import pyarrow
import pyarrow.compute
import pyarrow.fs
import pyarrow.parquet
import ray

# As `effnet classify` takes them from folders.
ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".gif", ".tif", ".tiff")
PASSED_OVER = ("__MACOSX", "@eaDir")
CLASS = pyarrow.struct(
    [
        ("index", pyarrow.int32()),
        ("label", pyarrow.string()),
        ("probability", pyarrow.float32()),
        ("logit", pyarrow.float32()),
    ]
)
ROWS = pyarrow.schema([("path", pyarrow.string()), *CLASS, ("top", pyarrow.list_(CLASS)), ("error", pyarrow.string())])
# What OUT was made with. Readers of Parquet folders pass over names that begin so.
RECORD = "_effnet.json"


class Nothing(Exception):
    """Nothing was done; the text says why, and what to do."""


def main():
    """Classifies what has no row yet; the exit status."""
    given = arguments()
    try:
        source, images = storage(given.images)
        target, out = storage(given.out)
        paths = listed(source, images, given.images)
        record(target, out, given)
        done = finished(target, out)
        if given.retry_failed:
            done = {path: error for path, error in done.items() if error is None}
        left = [path for path in paths if path not in done]
        print(f"{len(paths)} images, {len(paths) - len(left)} of them done before", file=sys.stderr)
        if left:
            start_ray(given)
            classify(left, (source, images), (target, out), given)
        done = finished(target, out)
    except Nothing as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 2
    except ray.exceptions.RayError as error:
        # The last line has the cause, what is before it the way there through Ray.
        print(
            f"error: {str(error).strip().splitlines()[-1]}\nwhat is done is in {given.out}: the same command goes on",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; what is done is in {given.out}: the same command goes on", file=sys.stderr)
        return 130
    failed = {path: error for path in paths if (error := done.get(path, "has no row")) is not None}
    for path in sorted(failed)[: given.show]:
        print(f"{path}: {failed[path]}", file=sys.stderr)
    if len(failed) > given.show:
        print(f"and {len(failed) - given.show} more; all are in {given.out}", file=sys.stderr)
    print(f"{len(paths)} images: {len(paths) - len(failed)} classified, {len(failed)} failed")
    return 1 if failed else 0


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", metavar="IMAGES", help="folder, or address as s3://bucket/folder")
    parser.add_argument("out", metavar="OUT", help="folder for Parquet files, likewise")
    parser.add_argument("--weights", required=True, help="packed weights, at this path on every machine")
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda or auto (the default): a GPU where an actor has one"
    )
    parser.add_argument("--batch", type=positive, default=64, help="images that the network takes at once (64)")
    parser.add_argument("--top-k", type=positive, default=5, help="classes for each image (5)")
    parser.add_argument("--actors", type=positive, default=1, help="models at work at once (1)")
    parser.add_argument("--cpus-per-actor", type=positive, help="cores, and threads, of each (all; on a cluster 1)")
    parser.add_argument("--gpus-per-actor", type=float, default=0, help="GPUs of each, 0.5 for two on one (0)")
    parser.add_argument(
        "--rows-per-file", type=positive, default=1024, help="images that are done as one, and lost as one (1024)"
    )
    parser.add_argument("--retry-failed", action="store_true", help="try images again that failed before")
    parser.add_argument(
        "--show", type=int, default=10, metavar="N", help="failed images that are named at the end (10)"
    )
    cluster = parser.add_argument_group("Ray")
    cluster.add_argument("--address", help="a cluster's address, or auto; without it Ray is started here")
    cluster.add_argument("--num-cpus", type=positive, help="cores for a Ray that is started here (all)")
    cluster.add_argument("--object-store-mb", type=positive, help="memory for its objects (Ray's choice)")
    return parser.parse_args()


def positive(text):
    """A number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return number


def storage(address):
    """The file system of an address, and the path on it."""
    try:
        if "://" in address:
            return pyarrow.fs.FileSystem.from_uri(address)
        return pyarrow.fs.LocalFileSystem(), posixpath.abspath(address)
    except (OSError, ValueError) as error:
        raise Nothing(f"{address}: {error}") from error


def listed(source, images, named):
    """Paths below `images`, relative to it, sorted."""
    try:
        if isinstance(source, pyarrow.fs.LocalFileSystem):
            names = walked(images)
        else:
            entries = source.get_file_info(pyarrow.fs.FileSelector(images, recursive=True))
            names = [posixpath.relpath(each.path, images) for each in entries if each.type == pyarrow.fs.FileType.File]
        # A name that is no text could not be written to Parquet.
        [name.encode() for name in names]
    except UnicodeError as error:
        raise Nothing(f"{named}: a name below it is not UTF-8: {error.object!r}") from error
    except OSError as error:
        raise Nothing(f"{named}: {error}") from error
    # What is left out is what `effnet classify` leaves out.
    paths = [
        name
        for name in names
        if name.lower().endswith(ENDINGS)
        and not any(part.startswith(".") or part in PASSED_OVER for part in name.split("/"))
    ]
    if not paths:
        raise Nothing(f"{named}: no file below it ends in {' '.join(ENDINGS)}")
    return sorted(paths)


def walked(folder):
    """Files below a folder of this machine's, links that lead nowhere among them, which pyarrow passes over.

    No pipes, sockets or devices: reading them may not end.
    """

    def failed(error):
        raise error

    names = []
    for place, _, files in os.walk(folder, onerror=failed, followlinks=False):
        for name in files:
            path = os.path.join(place, name)
            try:
                kind = os.stat(path).st_mode
            except OSError:
                kind = stat.S_IFREG
            if stat.S_ISREG(kind):
                names.append(os.path.relpath(path, folder))
    return names


def record(target, out, given):
    """Writes what OUT is made with; where that is there, holds this run to it."""
    try:
        with open(given.weights, "rb") as weights:
            digest = hashlib.file_digest(weights, "sha256").hexdigest()
    except OSError as error:
        raise Nothing(
            f"{given.weights}: {error.strerror}; --weights takes a file of `effnet import` or `effnet pull`"
        ) from error
    now = {"weights_sha256": digest, "top_k": given.top_k}
    place = posixpath.join(out, RECORD)
    try:
        target.create_dir(out, recursive=True)
        if target.get_file_info(place).type == pyarrow.fs.FileType.NotFound:
            with target.open_output_stream(place) as file:
                file.write(json.dumps(now).encode())
            return
        with target.open_input_stream(place) as file:
            before = json.loads(file.read())
    except (OSError, ValueError) as error:
        raise Nothing(f"{given.out}: {error}") from error
    other = [name for name in now if before.get(name) != now[name]]
    if other:
        raise Nothing(
            f"{given.out} was made with another {' and '.join(other)}: {[before.get(name) for name in other]}, "
            f"now {[now[name] for name in other]}; choose another OUT, or the same options"
        )


def finished(target, out):
    """Paths that have a row, with their error or None. Files that are no Parquet are removed: a killed run's."""
    done = {}
    for entry in target.get_file_info(pyarrow.fs.FileSelector(out)):
        if not entry.path.endswith(".parquet"):
            continue
        try:
            rows = pyarrow.parquet.read_table(entry.path, columns=["path", "error"], filesystem=target)
        except pyarrow.ArrowInvalid:
            print(f"{entry.path}: half-written by a run that was killed; removed", file=sys.stderr)
            target.delete_file(entry.path)
            continue
        for path, error in zip(rows["path"].to_pylist(), rows["error"].to_pylist(), strict=True):
            # An image that failed once and did not later is done.
            if done.get(path, "") is not None:
                done[path] = error
    return done


def start_ray(given):
    """Connects with a cluster, or starts Ray here; what is not here is refused, for Ray would wait for it."""
    if given.address:
        given.cpus_per_actor = given.cpus_per_actor or 1
        ray.init(address=given.address, log_to_driver=False, logging_level="warning")
    else:
        cores = given.num_cpus or len(os.sched_getaffinity(0))
        given.cpus_per_actor = given.cpus_per_actor or max(cores // given.actors, 1)
        memory = given.object_store_mb and given.object_store_mb * 1_000_000
        ray.init(
            # Reading and writing take a little of a core; with none left to them Ray would not start them.
            num_cpus=max(cores, given.actors * given.cpus_per_actor) + 1,
            object_store_memory=memory,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="warning",
        )
    there = ray.cluster_resources()
    wanted = {"CPU": given.actors * given.cpus_per_actor + 1, "GPU": given.actors * given.gpus_per_actor}
    short = [
        f"{wanted[kind]:g} {kind}, found {there.get(kind, 0):g}" for kind in wanted if wanted[kind] > there.get(kind, 0)
    ]
    if short and given.address:
        print(
            f"note: the actors, and a core to read with, take {'; '.join(short)}: Ray waits for more machines",
            file=sys.stderr,
        )
    elif short:
        raise Nothing(
            f"the actors take {'; '.join(short)}; ask for fewer with --actors, --cpus-per-actor, --gpus-per-actor"
        )


def classify(paths, source, target, given):
    """Reads, classifies and writes `paths`: three stages that run at once, each as far as memory allows."""
    size = given.rows_per_file
    tables = [pyarrow.table({"path": paths[at : at + size]}) for at in range(0, len(paths), size)]
    ray.data.DataContext.get_current().enable_progress_bars = sys.stderr.isatty()
    rows = (
        ray.data.from_arrow(tables)
        .map_batches(read, fn_args=source, batch_size=None, batch_format="pyarrow", num_cpus=0.25)
        .map_batches(
            Classifier,
            fn_constructor_kwargs={
                "weights": given.weights,
                "device": given.device,
                "batch": given.batch,
                "threads": given.cpus_per_actor,
                "top_k": given.top_k,
            },
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=given.actors),
            num_cpus=given.cpus_per_actor,
            num_gpus=given.gpus_per_actor,
        )
    )
    # What ends the job is told by main(), in one line; Ray's own folder has the rest.
    logging.disable(logging.ERROR)
    filesystem, out = target
    rows.write_parquet(out, filesystem=filesystem, ray_remote_args={"num_cpus": 0.25})


def read(table, filesystem, folder):
    """A column with each file's bytes, and one with the reason where there are none.

    ray.data.read_binary_files would end the job at the first file that cannot be read.
    """
    contents, errors = [], []
    for path in table["path"].to_pylist():
        try:
            with filesystem.open_input_stream(posixpath.join(folder, path), compression=None) as file:
                contents.append(file.read())
            errors.append(None)
        except OSError as error:
            contents.append(None)
            errors.append(f"cannot be read: {error}")
    return table.append_column("bytes", pyarrow.array(contents, pyarrow.large_binary())).append_column(
        "error", pyarrow.array(errors, pyarrow.string())
    )


class Classifier:
    """A model in a process of its own."""

    def __init__(self, weights, device, batch, threads, top_k):
        # Where no GPU is asked for, Ray hides all of them.
        import effnet

        self.model = effnet.load(weights, device=device, batch=batch, threads=threads, decode_threads=threads)
        self.top_k = top_k

    def __call__(self, table):
        """Rows of OUT for a table of path, bytes and error."""
        rows = table.to_pylist()
        there = [row for row in rows if row["error"] is None]
        results = self.model.classify([row["bytes"] for row in there], top_k=self.top_k, on_error="return")
        for row, result in zip(there, results, strict=True):
            if isinstance(result, Exception):
                # The image's place among these bytes tells nobody anything.
                row["error"] = re.sub(r"^image \d+: ", "", str(result))
            else:
                row["top"] = [{name: getattr(best, name) for name in CLASS.names} for best in result]
                row |= row["top"][0]
        return pyarrow.Table.from_pylist(rows, schema=ROWS)


if __name__ == "__main__":
    sys.exit(main())
