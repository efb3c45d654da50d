"""effnet against ONNX Runtime's Python session on the CPU, in one alternating run.

    effnet export onnx --weights PACKED -o MODEL.onnx --dynamic-batch
    python bench_onnxruntime.py PACKED MODEL.onnx [--threads N]

Both are given the same tensor and the same number of threads, and their logits are compared first.
Prints a Markdown table with medians and their ratio. Nothing is asserted about times: they belong
to a machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import onnxruntime

import effnet


# ONNX Runtime's threads spin for a while after a call, on cores that the next call of another
# runtime would have.
REST_S = 0.5
# Calls in a row, of which the first wake the threads and are not counted.
CALLS, WAKING = 12, 2


def alternating(calls: list[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each call, some of each in turn."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, found in zip(calls, times):
            time.sleep(REST_S)
            for number in range(CALLS):
                began = time.perf_counter()
                call()
                if number >= WAKING:
                    found.append(time.perf_counter() - began)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packed", help="packed weights")
    parser.add_argument("onnx", help="the same network as `effnet export onnx` writes it")
    parser.add_argument(
        "--threads", type=int, action="append", help="threads of each side [default: all cores]"
    )
    parser.add_argument(
        "--batch", type=int, action="append", help="images a call [default: 1 and 8]"
    )
    parser.add_argument("--rounds", type=int, default=10, help="turns of each side [10]")
    arguments = parser.parse_args()

    version = onnxruntime.__version__
    print(f"effnet {effnet.__version__}, onnxruntime {version}, {os.cpu_count()} cores\n")
    print("| batch | threads | effnet, ms | onnxruntime, ms | onnxruntime / effnet |")
    print("|---|---|---|---|---|")
    for threads in arguments.threads or [os.cpu_count() or 1]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            arguments.onnx, sess_options=options, providers=["CPUExecutionProvider"]
        )
        given = session.get_inputs()[0]
        channels_first = given.shape[1] == 3
        for batch in arguments.batch or [1, 8]:
            model = effnet.load(arguments.packed, device="cpu", threads=threads, batch=batch)
            random = np.random.default_rng(batch)
            x = random.standard_normal((batch, *model.size, 3), dtype=np.float32)
            other = np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if channels_first else x
            feed = {given.name: other}
            mine, theirs = model.run(x).logits, session.run(["logits"], feed)[0]
            difference = np.abs(mine - theirs).max() / np.abs(theirs).max()
            if not difference < 1e-4:
                raise SystemExit(f"the logits are off by {difference} of the largest")
            ours, others = alternating(
                [lambda: model.run(x), lambda: session.run(["logits"], feed)],
                arguments.rounds,
            )
            a, b = statistics.median(ours), statistics.median(others)
            print(
                f"| {batch} | {threads} | {a * 1e3:.2f} | {b * 1e3:.2f} | {b / a:.2f} |", flush=True
            )


if __name__ == "__main__":
    main()
