"""The driver's side of the protocol of `effnet compare`: one JSON object a line, as src/compare/protocol.rs has it.

A driver gives `serve` a function that makes its network from a "load" request. The network is an
object with `runtime`, `device`, `precision`, `notes` and `run(batch)`, which takes a float32 array
[batch, 3, h, w] in host memory and returns float32 logits [batch, classes] in host memory.
"""

import gc
import json
import os
import sys
import time
import traceback

import numpy

MIN_RUNS = 3


def say(replies, reply):
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def inputs(path, images, height, width):
    return numpy.fromfile(path, dtype=numpy.float32).reshape(images, 3, height, width)


def timed(network, batch, milliseconds, min_runs):
    """Runs for at least so long; the time of each run."""
    times = []
    end = time.perf_counter() + milliseconds / 1e3
    while len(times) < min_runs or time.perf_counter() < end:
        start = time.perf_counter()
        network.run(batch)
        times.append(1e3 * (time.perf_counter() - start))
    return times


def serve(load):
    # What libraries print goes where it disturbs nobody.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    network = batch = size = None
    for line in sys.stdin:
        try:
            ((name, request),) = json.loads(line).items()
            if name == "load":
                size = request["height"], request["width"]
                images = inputs(request["inputs"], request["images"], *size)
                batch = numpy.ascontiguousarray(images[: request["batch"]])
                start = time.perf_counter()
                network = load(request)
                network.run(batch)
                reply = {
                    "runtime": network.runtime,
                    "device": network.device,
                    "precision": network.precision,
                    "build_ms": 1e3 * (time.perf_counter() - start),
                    "notes": network.notes,
                }
                say(replies, {"ready": reply})
            elif name == "answer":
                images = inputs(request["inputs"], request["images"], *size)
                n = len(batch)
                logits = [network.run(images[i : i + n]).copy() for i in range(0, len(images), n)]
                numpy.concatenate(logits).astype(numpy.float32).tofile(request["logits"])
                say(replies, {"answered": {"images": len(images)}})
            elif name == "run":
                gc.disable()
                timed(network, batch, request["warm_up_ms"], 1)
                start = time.perf_counter()
                times = timed(network, batch, request["measure_ms"], MIN_RUNS)
                elapsed = 1e3 * (time.perf_counter() - start)
                gc.enable()
                say(replies, {"ran": {"latencies_ms": times, "elapsed_ms": elapsed}})
            else:
                say(replies, {"error": f"unknown request '{name}'"})
        except Exception as error:  # every failure is an answer
            traceback.print_exc()
            say(replies, {"error": f"{type(error).__name__}: {error}"})
