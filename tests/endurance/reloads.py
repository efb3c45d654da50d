"""Weights that are exchanged under load: each answer is of the ones that were there, and never of both."""

import collections
import json
import os
import pathlib
import random
import shutil
import struct
import tempfile
import threading
import time

import numpy as np

from asks import Ask, logits_of_run, noise, photograph, raw, request, tensor
from client import Connection, Unanswered
from figures import flat, spread
from server import MB, Meter, Server, statistics

CONNECTIONS = 8
# After the load, threads that decoded or loaded end by themselves when they have been idle for a while.
SETTLES_S = 15.0
# Loading runs on threads that come and go, and each has a part of the allocator's memory of its own: until about
# so many reloads have been made, that part fills.
FILLS = 200


def other_weights(path, to):
    """The same weights with another bias for each class, so that all logits differ."""
    shutil.copyfile(path, to)
    with open(to, "r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        entry = header["classifier.bias"]
        begin, end = entry["data_offsets"]
        file.seek(8 + length + begin)
        bias = np.frombuffer(file.read(end - begin), {"F32": "<f4", "F16": "<f2"}[entry["dtype"]])
        changed = (bias + np.linspace(1, 2, bias.size)).astype(bias.dtype)
        file.seek(8 + length + begin)
        file.write(changed.tobytes())


def exchange(folder, weights):
    """Puts other weights under the model's name. The file that the server has mapped is never written to."""
    following = folder / "following"
    os.link(weights, following)
    os.replace(following, folder / "lite0.safetensors")
    # Where both names were of one file, the system does nothing.
    following.unlink(missing_ok=True)


class Timeline:
    """When which weights may have been the ones that answer; 0 is the first."""

    def __init__(self):
        # Of each exchange, the moments at which it was asked for and told to be done.
        self.asked = [float("-inf")]
        self.told = [float("-inf")]

    def may_answer(self, begin, end):
        """The weights, 0 or 1, that may answer a request of this time."""
        last = len(self.asked)
        following = [*self.told[1:], *[float("inf")] * (last + 1 - len(self.told))]
        return {i % 2 for i in range(last) if self.asked[i] < end and following[i] > begin}


class Load:
    """Requests on one connection without a pause."""

    def __init__(self, server, asks, expected, seed, is_over):
        self.server, self.asks, self.expected, self.is_over = server, asks, expected, is_over
        self.numbers = random.Random(seed)
        self.answered = []
        self.faults = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        connection = Connection(self.server.http)
        while not self.is_over.is_set():
            ask = self.numbers.choice(self.asks)
            began = time.perf_counter()
            try:
                answer = connection.ask(ask.data)
            except Unanswered as fault:
                self.faults.append(f"{ask.name}: {fault}")
                continue
            both = self.expected[ask.name]
            if answer.status == 200 and answer.body in both:
                self.answered.append((began, connection.done_at, both.index(answer.body)))
            elif answer.status == 200:
                self.faults.append(f"{ask.name}: neither the one nor the other, {len(answer.body)} bytes")
            else:
                self.faults.append(f"{ask.name}: status {answer.status}: {answer.body[:100]!r}")


def mappings(pid):
    """Files that are mapped and have no name any more."""
    with open(f"/proc/{pid}/maps") as file:
        return len({line.split()[4] for line in file if "(deleted)" in line and "safetensors" in line})


def check(args, report):
    with tempfile.TemporaryDirectory() as temporary:
        spare, folder = pathlib.Path(temporary, "spare"), pathlib.Path(temporary, "models")
        spare.mkdir()
        folder.mkdir()
        files = [spare / "first", spare / "second"]
        shutil.copyfile(args.weights, files[0])
        other_weights(args.weights, files[1])
        run(args, report, folder, files)


def run(args, report, folder, files):
    exchange(folder, files[0])
    options = ["--models", folder, "--batch", 4, "--grpc", "none"]
    load = request("/v2/repository/models/lite0/load", b"")
    one, six = noise(1, args.seed), noise(6, args.seed + 1)
    with Server(args.effnet, *options) as server:
        control, expected = Connection(server.http), collections.defaultdict(list)
        for turn in [0, 1]:
            exchange(folder, files[turn])
            answer = control.ask(load)
            if answer.status != 200:
                raise RuntimeError(f"no reload: {answer.status} {answer.body[:200]!r}")
            asks = [
                Ask("one image", raw("lite0:pixels", one.tobytes()), logits_of_run(args.effnet, files[turn], one)[0]),
                # More images than a batch has: they run in two, and must be of the same weights.
                Ask(
                    "six images",
                    tensor("lite0:pixels", "pixels", six),
                    b"".join(logits_of_run(args.effnet, files[turn], six)),
                ),
                Ask("a PNG", raw("lite0", photograph("formats/rgb.png"))),
            ]
            for ask in asks:
                ask.learn(control)
                expected[ask.name].append(ask.expected)
        differ = all(first != second for first, second in expected.values())
        report.goal("the two weights have different answers, those of effnet run", f"{len(expected)} requests", differ)
        exchange(folder, files[0])
        control.ask(load)

        time.sleep(SETTLES_S)
        before = server.descriptors(), statistics(server.pid)[1]
        timeline, is_over, numbers = Timeline(), threading.Event(), random.Random(args.seed)
        loads = [Load(server, asks, expected, f"{args.seed} {i}", is_over) for i in range(CONNECTIONS)]
        time.sleep(1.0)
        took, failed = [], []
        with Meter(server) as meter:
            for number in range(1, args.reloads + 1):
                exchange(folder, files[number % 2])
                timeline.asked.append(time.perf_counter())
                try:
                    answer = control.ask(load)
                except Unanswered as fault:
                    failed.append(str(fault))
                    break
                timeline.told.append(time.perf_counter())
                took.append(timeline.told[-1] - timeline.asked[-1])
                if answer.status != 200:
                    failed.append(f"{answer.status} {answer.body[:100]!r}")
                    break
                time.sleep(numbers.uniform(0, 0.25))
        is_over.set()
        for one_load in loads:
            one_load.thread.join(40)
        hung = sum(one_load.thread.is_alive() for one_load in loads)
        time.sleep(SETTLES_S)
        after = server.descriptors(), statistics(server.pid)[1]
        tell_answers(args, report, timeline, loads, took, failed, hung)
        tell_resources(args, report, server, meter, before, after)


def tell_answers(args, report, timeline, loads, took, failed, hung):
    answered = [answer for load in loads for answer in load.answered]
    faults = [fault for load in loads for fault in load.faults]
    allowed = [timeline.may_answer(begin, end) for begin, end, _ in answered]
    sure = sum(len(weights) == 1 for weights in allowed)
    wrong = sum(which not in weights for (_, _, which), weights in zip(answered, allowed))
    of = collections.Counter(which for _, _, which in answered)
    goal = f"{args.reloads} reloads under load of {CONNECTIONS} connections: none fails"
    report.goal(goal, f"{len(took)} done, {failed or 'none failed'}: {spread(took)}", len(took) == args.reloads)
    report.goal(
        "no request fails, and every answer is wholly of the one or of the other weights",
        f"{of[0]} and {of[1]} answers, {len(faults)} faults {faults[:3]}, {hung} hung",
        not faults and not hung and min(of[0], of[1]) > 0,
    )
    report.goal(
        "no answer is of weights that had been replaced before the request, or were to come after its answer",
        f"{wrong} of {len(answered)}, of which {sure} could be of one alone",
        not wrong and sure > 0,
    )


def tell_resources(args, report, server, meter, before, after):
    is_flat, now, then = flat(meter.between(0.5, 1, 1), meter.between(0.1, 0.5, 1), 1.05)
    found = f"{now / MB:.1f} of {then / MB:.1f} MB"
    if args.reloads >= FILLS:
        goal = "memory flat: greatest RSS of the second half at most 1.05 times that of the first"
        report.goal(goal, found, is_flat)
    else:
        report.figure(f"greatest RSS of the second half and the first, no measure before {FILLS} reloads", found)
    for column, name, more in [(2, "descriptors", 2), (3, "threads", 3)]:
        halves = [max(meter.between(begin, begin + 0.5, column)) for begin in [0, 0.5]]
        end = before[column - 2], after[column - 2]
        report.goal(
            f"{name} flat: of the second half at most {more} more than of the first; at the end those of before",
            f"at most {halves[0]}, then {halves[1]}; {end[0]} before the load, {end[1]} after it",
            halves[1] <= halves[0] + more and end[1] <= end[0],
        )
    left = mappings(server.pid)
    report.goal("replaced weights are let go of", f"{left} mapped files that have been replaced", left == 0)
    is_whole = not server.panics and server.is_running()
    report.goal("no panic", f"{server.panics}; running: {server.is_running()}", is_whole)
