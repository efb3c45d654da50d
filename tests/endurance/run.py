"""Holds `effnet serve` to its goals under load, over time, and among hostile clients.

    python run.py EFFNET WEIGHTS_FOLDER [--part PART ...] [--short]

The folder has lite0.safetensors, packed weights of 1000 classes, and may have b0.safetensors. Each line of the
Markdown table that is printed is a goal, what was found, and whether the goal was met; a line without a goal is
told for its figure alone. The exit status is 0 where all goals were met, else 1. Everything happens on the
loopback interface; numpy is needed. What is random has a fixed seed.

| part | what |
|---|---|
| overload | twice as many requests as the server can answer: goodput, time of refusals, memory |
| deadline | a request's time limit while the device is busy with others' images |
| stops | SIGTERM under load: no accepted request is lost; and among clients that hold their connections |
| reloads | weights exchanged under load: each answer is of the one or of the other |
| soak | good requests among hostile ones: right, quick enough, memory and descriptors flat |
| crowds | what few clients can take from all others |
| ready | from start to ready |
"""

import argparse
import pathlib
import signal
import sys
import time
import traceback

import crowds
import deadline
import overload
import ready
import reloads
import soak
import stopping

PARTS = {
    "overload": overload.check,
    "deadline": deadline.check,
    "stops": stopping.check,
    "reloads": reloads.check,
    "soak": soak.check,
    "crowds": crowds.check,
    "ready": ready.check,
}
SHORT = {"minutes": 1.0, "seconds": 10.0, "stops": 5, "reloads": 40, "starts": 3}


class Report:
    """Prints a line of the table for each goal as soon as it is known."""

    def __init__(self):
        self.missed = []
        self.part = ""

    def head(self):
        print("| part | goal | found | met |\n|---|---|---|---|", flush=True)

    def goal(self, goal, found, is_met):
        if not is_met:
            self.missed.append(f"{self.part}: {goal}")
        self._line(goal, found, "yes" if is_met else "NO")

    def figure(self, name, found):
        self._line(name, found, "")

    def _line(self, *cells):
        cells = [str(cell).replace("|", "/").replace("\n", " ") for cell in [self.part, *cells]]
        print("| " + " | ".join(cells) + " |", flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("effnet", metavar="EFFNET", help="the program")
    parser.add_argument("folder", metavar="WEIGHTS_FOLDER", type=pathlib.Path)
    parser.add_argument("--part", action="append", choices=PARTS, help="a part, once or more [default: all]")
    parser.add_argument("--short", action="store_true", help="less of everything, for a trial")
    parser.add_argument("--seconds", type=float, help="of overload [60]")
    parser.add_argument("--stops", type=int, help="times that a server is stopped [50]")
    parser.add_argument("--reloads", type=int, help="times that weights are exchanged [500]")
    parser.add_argument("--minutes", type=float, help="of the soak [10]")
    parser.add_argument("--starts", type=int, help="starts of a server of which the median is taken [10]")
    parser.add_argument("--deadlines", type=int, default=20, help="requests with a time limit [20]")
    parser.add_argument("--seed", type=int, default=1, help="of what is random [1]")
    args = parser.parse_args()
    full = {"minutes": 10.0, "seconds": 60.0, "stops": 50, "reloads": 500, "starts": 10}
    for name, value in (SHORT if args.short else full).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.weights = args.folder / "lite0.safetensors"
    return args


def main():
    args = arguments()
    # Servers are killed where this process is asked to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = Report()
    report.head()
    for part in args.part or PARTS:
        report.part = part
        began = time.perf_counter()
        try:
            PARTS[part](args, report)
        except Exception as error:  # A part that cannot go on is a goal missed; the others run all the same.
            report.goal("the part runs to its end", f"{type(error).__name__}: {error}", False)
            traceback.print_exc()
        report.figure("time that the part took", f"{time.perf_counter() - began:.0f} s")
    if report.missed:
        print("\nmissed:\n" + "\n".join(f"- {goal}" for goal in report.missed), flush=True)
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
