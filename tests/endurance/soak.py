"""Good requests among hostile ones, for long: right, quick enough, and the server takes no more than before."""

import json
import pathlib
import random
import subprocess
import sys
import threading
import time

from asks import Wrong, good
from client import Unanswered
from figures import flat, quantile, spread
from server import MB, Meter, Server, statistics

CONNECTIONS = 3
PAUSE_S = 0.2
ALONE_S = 10.0
# How much slower good requests may be among hostile ones: each is measured by what it took alone.
MEDIAN_TIMES = 3.0
P99_TIMES = 6.0
# After the hostile clients have left, idle threads and half-open connections end by themselves.
SETTLES_S = 40.0
# The allocator's memory fills in the first minutes.
FILLS_MIN = 4.0
HOSTILE = pathlib.Path(__file__).parent / "hostile.py"


class Good:
    """Good requests of all forms from one client, with pauses, until it is told to end."""

    def __init__(self, server, asks, seed):
        self.server, self.asks = server, asks
        self.numbers = random.Random(seed)
        self.took, self.faults = [], []
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        connections = {}
        while not self.is_over.wait(self.numbers.uniform(0, PAUSE_S)):
            ask = self.numbers.choice(self.asks)
            # One connection for each protocol.
            kind = type(ask)
            connection = connections.get(kind)
            if connection is None:
                connection = connections[kind] = ask.connection(self.server)
            began = time.perf_counter()
            try:
                answer = connection.ask(ask.data)
            except Unanswered as fault:
                self.faults.append(f"{ask.name}: {fault}")
                continue
            if ask.is_right(answer):
                self.took.append((ask.name, time.perf_counter() - began))
            else:
                self.faults.append(f"{ask.name}: status {answer.status}: {answer.body[:100]!r}")

    def end(self):
        self.is_over.set()
        self.thread.join(40)


def good_for(server, asks, seed, work):
    """Good requests while `work` is done: name and seconds of each that was answered, and the faults."""
    clients = [Good(server, asks, f"{seed} {i}") for i in range(CONNECTIONS)]
    work()
    for client in clients:
        client.end()
    hung = ["a client hangs" for client in clients if client.thread.is_alive()]
    took = [pair for client in clients for pair in client.took]
    return took, [fault for client in clients for fault in client.faults] + hung


def medians(took):
    """Median seconds of each form."""
    return {name: quantile([seconds for n, seconds in took if n == name], 0.5) for name in {name for name, _ in took}}


def check(args, report):
    asks = good(args.effnet, args.weights)
    seconds = 60 * args.minutes
    with Server(args.effnet, "--weights", args.weights, "--batch", 4) as server:
        for ask in asks:
            connection = ask.connection(server)
            try:
                ask.learn(connection)
            except Wrong as wrong:
                report.goal("answers are right before there is load", wrong, False)
                return
            connection.close()
        before = server.descriptors()
        alone, faults = good_for(server, asks, args.seed, lambda: time.sleep(ALONE_S))
        report.goal(
            f"good requests alone, {ALONE_S:.0f} s: all right", f"{len(alone)} right, {len(faults)} faults", not faults
        )
        command = [sys.executable, HOSTILE, server.http[1], server.grpc[1], seconds, args.seed]
        hostile = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
        said = []
        try:
            with Meter(server) as meter:
                work = lambda: said.append(hostile.communicate(timeout=seconds + 120)[0])
                took, faults = good_for(server, asks, f"{args.seed} soak", work)
        finally:
            hostile.kill()
        is_running = server.is_running()
        time.sleep(SETTLES_S)
        # Threads at rest are counted now: at the beginning there were those of the first requests beside.
        after = server.descriptors() if is_running else -1
        threads = statistics(server.pid)[1] if is_running else -1
        tell_good(args, report, alone, took, faults)
        tell_server(args, report, server, meter, [before, after, threads], is_running)
        tell_hostile(args, report, json.loads(said[0]))


def tell_good(args, report, alone, took, faults):
    report.goal(
        f"good requests among hostile ones, {args.minutes:g} min: all right",
        f"{len(took)} right, {len(faults)} faults {faults[:3]}",
        bool(took) and not faults,
    )
    usual = medians(alone)
    times = [seconds / usual[name] for name, seconds in took if name in usual]
    times_alone = [seconds / usual[name] for name, seconds in alone]
    shown = "median {:.2f}, p99 {:.2f}; alone p99 {:.2f}".format(
        quantile(times, 0.5), quantile(times, 0.99), quantile(times_alone, 0.99)
    )
    report.goal(
        f"median at most {MEDIAN_TIMES:g} times that alone, 99th percentile {P99_TIMES:g} times or twice that alone",
        shown,
        quantile(times, 0.5) <= MEDIAN_TIMES
        and quantile(times, 0.99) <= max(P99_TIMES, 2 * quantile(times_alone, 0.99)),
    )
    report.figure("time of good requests alone, and among hostile ones", f"{spread_of(alone)}; {spread_of(took)}")


def spread_of(took):
    return spread([seconds for _, seconds in took])


def tell_server(args, report, server, meter, counted, is_running):
    is_whole = is_running and not server.panics
    report.goal("no crash, no panic", f"running: {is_running}, {server.panics} panics", is_whole)
    # From minute 2 on, or the second quarter of a short time, until the middle.
    begin = min(max(2 / args.minutes, 0.1), 0.25)
    is_flat, now, then = flat(meter.between(0.75, 1, 1), meter.between(begin, 0.5, 1), 1.05)
    found = f"{now / MB:.1f} of {then / MB:.1f} MB"
    if args.minutes >= FILLS_MIN:
        goal = "memory flat: greatest RSS of the last quarter at most 1.05 times that before the middle"
        report.goal(goal, found, is_flat)
    else:
        name = f"greatest RSS of the last quarter and before the middle, no measure under {FILLS_MIN:g} min"
        report.figure(name, found)
    floors = [quantile(meter.between(*part, 1), 0.1) / MB for part in [(begin, 0.5), (0.75, 1)]]
    report.figure("RSS between the peaks (10th percentile) then, and in the last quarter", "%.1f, %.1f MB" % (*floors,))
    for column, name in [(2, "descriptors"), (3, "threads")]:
        is_flat, now, then = flat(meter.between(0.75, 1, column), meter.between(begin, 0.5, column), 1.1)
        goal = f"{name} flat: most in the last quarter at most 1.1 times and 3 more than before the middle"
        report.goal(goal, f"{now} of {then}", now <= 1.1 * then + 3)
    before, after, threads = counted
    goal = f"descriptors {SETTLES_S:.0f} s after the hostile clients left: those of before"
    report.goal(goal, f"{after}, before {before}; {threads} threads", 0 <= after <= before)
    report.figure("lines on standard error, the last", list(server.said)[-1][:150] if server.said else "none")


def tell_hostile(args, report, results):
    counts, faults = results["counts"], results["faults"]
    total = sum(sum(of.values()) for of in counts.values())
    report.goal(
        "hostile requests have the answers that they may have",
        f"{total} of {len(counts)} kinds; others than allowed: {faults or 'none'}",
        total > 0 and not faults,
    )
    for name, (ended, longest, left, limit) in results["slow"].items():
        found = f"{ended} ended by the server, the oldest after {longest:.0f} s; the oldest at the end {left:.0f} s"
        goal = f"slow clients are let go of within {limit:.0f} s. {name}"
        # In a short time nobody grows as old.
        if 60 * args.minutes > limit:
            report.goal(goal, found, max(longest, left) <= limit)
        else:
            report.figure(goal, found)
    kinds = {name: " ".join(f"{what}: {n}" for what, n in sorted(of.items())) for name, of in sorted(counts.items())}
    report.figure("hostile requests by kind", "; ".join(f"{name} ({outcomes})" for name, outcomes in kinds.items()))
