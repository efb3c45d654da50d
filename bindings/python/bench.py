"""What the package adds to the library: a call's overhead, the import, two threads on a model.

    python bench.py PACKED [PHOTO]

Prints a Markdown table. Nothing is asserted: times belong to a machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import effnet


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} us"


def overhead(model: effnet.Model, runs: int) -> dict[str, list[float]]:
    """Seconds of calls, and of what of them is not in the session, in ascending order.

    A run of milliseconds leaves nothing of Python in the caches: what two other calls take right after
    one says how much of the rest that is.
    """
    x = np.random.default_rng(0).standard_normal(model.input_shape, dtype=np.float32)
    found: dict[str, list[float]] = {"call": [], "outside": [], "nothing": [], "numpy": []}
    for turn in range(-runs // 10, runs):
        began = time.perf_counter()
        model.run(x)
        call = time.perf_counter() - began
        # The session's time includes the copies of logits and features into NumPy's memory.
        times = {"call": call, "outside": call - model._session_seconds}
        for name, other in [("nothing", lambda: None), ("numpy", lambda: np.empty(1000))]:
            model.run(x)
            began = time.perf_counter()
            other()
            times[name] = time.perf_counter() - began
        if turn >= 0:
            for name, seconds in times.items():
                found[name].append(seconds)
    return {name: sorted(times) for name, times in found.items()}


def process(text: str, times: int) -> float:
    """Median time of a Python process."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", text], check=True)
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def rate(work: Callable[[], object], threads: int, calls: int) -> float:
    """Calls a second of so many threads together."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: work(), range(threads)))
        began = time.perf_counter()
        list(pool.map(lambda _: work(), range(calls)))
        return calls / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packed", help="packed weights")
    parser.add_argument("photo", nargs="?", help="a photograph, for two threads of classify")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="threads that compute")
    parser.add_argument("--runs", type=int, default=1000)
    arguments = parser.parse_args()
    options = {"device": arguments.device, "threads": arguments.threads}

    print(f"effnet {effnet.__version__}, Python {sys.version.split()[0]}, {os.cpu_count()} cores\n")
    print("| what | median |")
    print("|---|---|")
    for size, batch in [(32, 1), (224, 1), (224, 8)]:
        model = effnet.load(arguments.packed, size=size, batch=batch, **options)
        runs = max(arguments.runs // (1 if size == 32 else 5 * batch), 20)
        times = overhead(model, runs)
        outside = times["outside"]
        median = {name: microseconds(statistics.median(found)) for name, found in times.items()}
        worst = microseconds(outside[len(outside) * 99 // 100])
        subject = f"`run`, {size}x{size}, batch {batch}"
        print(f"| {subject}: the call | {median['call']} |")
        print(f"| of it outside the session | {median['outside']} (99 % below {worst}) |")
        print(f"| right after it, a function that does nothing | {median['nothing']} |")
        print(f"| right after it, `numpy.empty(1000)` | {median['numpy']} |")
    empty = process("pass", 15)
    for text in ["import effnet", "import numpy", "import effnet, numpy"]:
        print(f"| `{text}`, beside an empty process | {(process(text, 15) - empty) * 1e3:.1f} ms |")
    if arguments.photo:
        encoded = open(arguments.photo, "rb").read()
        model = effnet.load(arguments.packed, **options)
        calls = max(arguments.runs // 10, 20)
        # In turns, so that what else the machine does meets both.
        rates: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(3):
            for threads in rates:
                rates[threads].append(rate(lambda: model.classify(encoded), threads, calls))
        one, two = (statistics.median(rates[threads]) for threads in (1, 2))
        print(f"| `classify` in one thread | {one:.1f} images/s |")
        print(
            f"| `classify` in two threads on one model | {two:.1f} images/s, "
            f"{two / one:.2f} times |"
        )


if __name__ == "__main__":
    main()
