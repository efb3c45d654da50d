"""Twice as many requests as the server can answer, at moments that do not depend on its answers.

What the server can answer is measured before and after each round of overload: where a machine has other
work at times, one figure of before and one of after say little of a minute between.
"""

import collections
import os
import random
import statistics
import time

from asks import noise, raw
from figures import flat, quantile, spread
from lanes import Lane, Loop
from server import MB, Meter, Server, busy_seconds

IN_FLIGHT = 16
QUEUE = 32
TIMEOUT_S = 1.0
# A request that has no answer after so long beyond its deadline hangs.
HANGS_S = 5.0
WARM_UP_S = 5.0
ROUND_S = 5.0
CAPACITY_S = 2.5
# Connections that are there from the beginning and used in turn, so that their buffers are no growth of memory.
CONNECTIONS = 64


class Usage:
    """Processor time of this process, of the server, and of all others, as parts of one core."""

    def __init__(self, server):
        self.server = server
        self.began, self.then = time.perf_counter(), self.seconds()

    def seconds(self):
        return time.process_time(), self.server.processor_seconds(), busy_seconds()

    def parts(self):
        wall = time.perf_counter() - self.began
        own, servers, busy = (100 * (now - then) / wall for now, then in zip(self.seconds(), self.then))
        others = max(busy - own - servers, 0)
        cores = os.cpu_count()
        return f"{own:.1f} % of a core, the server {servers:.0f} %, others {others:.0f} %, of {cores} cores"


def capacity(server, request, seconds, warm_up=0.5):
    """Right answers in a second with so many requests in flight; and what they took of the processor."""
    loop = Loop(server.http)
    counted, failed = [0], []
    lanes = [Lane(loop) for _ in range(IN_FLIGHT)]
    begin = time.perf_counter() + warm_up
    end = begin + seconds

    def done(lane, answer, fault):
        now = time.perf_counter()
        if fault or answer.status != 200:
            failed.append(fault or answer.status)
        elif begin <= now < end:
            counted[0] += 1
        if now < end and not failed:
            lane.ask(request, done)

    for lane in lanes:
        lane.ask(request, done)
    loop.run(begin)
    usage = Usage(server)
    loop.run(end)
    parts = usage.parts()
    for lane in lanes:
        lane.done = None
    loop.close()
    if failed:
        raise RuntimeError(f"capacity cannot be measured: {failed[0]}")
    return counted[0] / seconds, parts


class Flood:
    """Requests at random moments of a set rate, on as many connections as that takes, `CONNECTIONS` at least."""

    def __init__(self, server, request, rate, seconds, expected, seed):
        self.loop = Loop(server.http)
        self.request, self.rate, self.expected = request, rate, expected
        self.numbers = random.Random(seed)
        self.idle, self.lanes = collections.deque(Lane(self.loop) for _ in range(CONNECTIONS)), CONNECTIONS
        self.good, self.refusals, self.lates = [], [], []
        self.others, self.lag = {}, []
        self.waiting = set()
        self.asked = self.served = 0
        self.begin = time.perf_counter()
        self.end = self.begin + seconds
        self.moment = self.begin
        self.next()
        self.loop.run(self.end)
        # What is under way has its deadline, and some time more.
        limit = self.end + TIMEOUT_S + HANGS_S
        self.loop.run(lambda: not self.waiting or time.perf_counter() > limit)
        self.hung = len(self.waiting)
        self.loop.close()

    def next(self):
        self.moment += self.numbers.expovariate(self.rate)
        if self.moment < self.end:
            self.loop.at(self.moment, self.ask)

    def ask(self):
        self.lag.append(time.perf_counter() - self.moment)
        if self.idle:
            lane = self.idle.popleft()
        else:
            lane = Lane(self.loop)
            self.lanes += 1
        self.asked += 1
        self.waiting.add(lane)
        lane.ask(self.request, self.done)
        self.next()

    def done(self, lane, answer, fault):
        now = time.perf_counter()
        self.waiting.discard(lane)
        self.idle.append(lane)
        if fault or lane.sent_at is None:
            key = fault or "answered before all was sent"
            self.others[key] = self.others.get(key, 0) + 1
            return
        took = now - lane.sent_at
        if answer.status == 200 and answer.body == self.expected:
            self.good.append(took)
            # Only what is answered while requests come counts for the rate.
            self.served += now <= self.end and took <= TIMEOUT_S
        elif answer.status == 503 and b"queue is full" in answer.body:
            self.refusals.append(took)
        elif answer.status == 503 and b"no answer within" in answer.body:
            self.lates.append(took)
        else:
            key = f"status {answer.status}" + (" and a wrong body" if answer.status == 200 else "")
            self.others[key] = self.others.get(key, 0) + 1


class Sum:
    """What rounds of overload came to."""

    def __init__(self):
        self.good, self.refusals, self.lates, self.lag = [], [], [], []
        self.others, self.parts = collections.Counter(), []
        self.asked = self.hung = self.lanes = 0

    def add(self, flood):
        for name in ["good", "refusals", "lates", "lag"]:
            getattr(self, name).extend(getattr(flood, name))
        self.others.update(flood.others)
        self.asked += flood.asked
        self.hung += flood.hung
        self.lanes = max(self.lanes, flood.lanes)


def check(args, report):
    request = memoryview(raw("lite0:pixels", noise(1, args.seed).tobytes()))
    options = ["--weights", args.weights, "--batch", 4, "--max-queue", QUEUE, "--timeout-ms", int(1e3 * TIMEOUT_S)]
    with Server(args.effnet, *options) as server:
        expected = []
        loop = Loop(server.http)
        Lane(loop).ask(request, lambda lane, answer, fault: expected.append(answer.body))
        loop.run(lambda: expected)
        loop.close()
        rate, _ = capacity(server, request, CAPACITY_S)
        # Buffers and the allocator's memory fill first.
        Flood(server, request, 2 * rate, WARM_UP_S, expected[0], args.seed)
        able, parts = capacity(server, request, CAPACITY_S)
        rates, goodputs, floods = [able], [], Sum()
        with Meter(server) as meter:
            rounds = max(int(args.seconds / ROUND_S), 1)
            seconds = args.seconds / rounds
            for turn in range(rounds):
                usage = Usage(server)
                flood = Flood(server, request, 2 * rates[-1], seconds, expected[0], args.seed + 1 + turn)
                floods.parts.append(usage.parts())
                floods.add(flood)
                goodputs.append(flood.served / seconds)
                rates.append(capacity(server, request, CAPACITY_S)[0])
        ratios = [good / ((before + after) / 2) for good, before, after in zip(goodputs, rates, rates[1:])]
        tell(report, args.seconds, [rates, parts], [goodputs, ratios], floods)
        is_flat, now, then = flat(meter.between(0.5, 1, 1), meter.between(0, 0.25, 1), 1.05)
        report.goal(
            "memory flat: greatest RSS of the last half at most 1.05 times that of the first quarter",
            f"{now / MB:.1f} of {then / MB:.1f} MB",
            is_flat,
        )
        found = f"{floods.hung} hung; others: {dict(floods.others) or 'none'}; running: {server.is_running()}"
        report.goal("nothing hangs, nothing else comes", found, not floods.hung and not floods.others)


def tell(report, seconds, able, done, floods):
    (rates, parts), (goodputs, ratios) = able, done
    of = lambda values: f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
    report.figure(
        f"capacity: closed loop, {IN_FLIGHT} in flight, {len(rates)} times {CAPACITY_S:.1f} s",
        f"{of(rates)} images/s; generator {parts}",
    )
    report.figure(
        f"overload: open loop, {len(ratios)} rounds, {seconds:.0f} s in all",
        f"{floods.asked / seconds:.1f} requests/s on {floods.lanes} connections; generator {floods.parts[-1]}; late by "
        + spread(floods.lag),
    )
    ratio = statistics.median(ratios)
    report.goal(
        "right answers within the deadline: at least 95 % of capacity before and after, the median of rounds",
        f"{100 * ratio:.1f} % ({100 * min(ratios):.0f} to {100 * max(ratios):.0f}); {of(goodputs)} images/s; "
        f"{len(floods.lates)} late",
        ratio >= 0.95,
    )
    report.goal(
        f"answers that are given by the deadline of {1e3 * TIMEOUT_S:.0f} ms: 99th percentile",
        spread(floods.good),
        quantile(floods.good, 0.99) <= TIMEOUT_S,
    )
    report.goal(
        "refusals within 5 ms of the last byte sent: 99th percentile",
        f"{len(floods.refusals)} refused: {spread(floods.refusals)}",
        bool(floods.refusals) and quantile(floods.refusals, 0.99) <= 5e-3,
    )
