"""Twice as many requests as the server can answer, at moments that do not depend on its answers."""

import collections
import os
import random
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


def capacity(server, request, seconds, warm_up=1.0):
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


def check(args, report):
    request = memoryview(raw("lite0:pixels", noise(1, args.seed).tobytes()))
    options = ["--weights", args.weights, "--batch", 4, "--max-queue", QUEUE, "--timeout-ms", int(1e3 * TIMEOUT_S)]
    with Server(args.effnet, *options) as server:
        expected = []
        loop = Loop(server.http)
        Lane(loop).ask(request, lambda lane, answer, fault: expected.append(answer.body))
        loop.run(lambda: expected)
        loop.close()
        measured = min(max(args.seconds / 4, 5), 15)
        before, parts = capacity(server, request, measured)
        report.figure("capacity before: closed loop, 16 in flight", f"{before:.1f} images/s; generator {parts}")
        # Buffers and the allocator's memory fill first.
        Flood(server, request, 2 * before, WARM_UP_S, expected[0], args.seed + 1)
        with Meter(server) as meter:
            usage = Usage(server)
            flood = Flood(server, request, 2 * before, args.seconds, expected[0], args.seed)
            parts = usage.parts()
        after, _ = capacity(server, request, measured)
        most = (before + after) / 2
        report.figure("capacity after", f"{after:.1f} images/s; the mean of both is the measure")
        rate = flood.asked / args.seconds
        report.figure(
            f"overload: open loop for {args.seconds:.0f} s",
            f"{rate:.1f} requests/s on {flood.lanes} connections; generator {parts}; late by {spread(flood.lag)}",
        )
        goodput = flood.served / args.seconds
        report.goal(
            "right answers within the deadline: at least 95 % of capacity",
            f"{goodput:.1f} images/s, {100 * goodput / most:.1f} %; {len(flood.lates)} late; {spread(flood.good)}",
            goodput >= 0.95 * most,
        )
        report.goal(
            f"answers that are given by the deadline of {1e3 * TIMEOUT_S:.0f} ms: 99th percentile",
            spread(flood.good),
            quantile(flood.good, 0.99) <= TIMEOUT_S,
        )
        report.goal(
            "refusals within 5 ms of the last byte sent: 99th percentile",
            f"{len(flood.refusals)} refused: {spread(flood.refusals)}",
            bool(flood.refusals) and quantile(flood.refusals, 0.99) <= 5e-3,
        )
        is_flat, now, then = flat(meter.between(0.5, 1, 1), meter.between(0, 0.25, 1), 1.05)
        report.goal(
            "memory flat: greatest RSS of the last half at most 1.05 times that of the first quarter",
            f"{now / MB:.1f} of {then / MB:.1f} MB",
            is_flat,
        )
        found = f"{flood.hung} hung; others: {flood.others or 'none'}; running: {server.is_running()}"
        report.goal("nothing hangs, nothing else comes", found, not flood.hung and not flood.others)
