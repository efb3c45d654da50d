"""SIGTERM under load: every request that was accepted has its answer.

What "accepted" means where connections are kept: a server may close an idle connection at any moment, and a request
that is on its way just then is lost. HTTP/1.1 lets the client send it again, for the server closed the connection
before it had read the request; the system tells by a reset (`client.Unanswered`). Such requests are counted and
told, as `unread`; they are no fault of the server's, though fewer are better: an answer with `Connection: close`
before the end spares the client the race. A request that the server had read and that has no whole answer is a
fault, and so is a request whose connection was closed more than `RACE_S` after it was sent.
"""

import collections
import random
import socket
import threading
import time

import frames
import slow
from asks import Ask, noise, photograph, raw, tensor
from client import Connection, Unanswered, request
from figures import spread
from server import Server

CONNECTIONS = 8
DRAIN_S = 1
# What a server may take to end beyond its drain delay.
BOUND_S = 2.0
# A request that the server has not read was sent shortly before the connection was closed.
RACE_S = 0.25
# What a client that holds its connection may cost: the time for headers or a body, and some more.
HELD_BOUND_S = 35.0


class Load:
    """Requests on one kept connection until the server can no longer be reached."""

    def __init__(self, server, asks, seed, pauses):
        self.server, self.asks, self.pauses = server, asks, pauses
        self.numbers = random.Random(seed)
        self.counts = collections.Counter()
        self.faults = []
        self.closes = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        connection = Connection(self.server.http, timeout=20.0)
        while True:
            ask = self.numbers.choice(self.asks)
            began = time.perf_counter()
            try:
                answer = connection.ask(ask.data)
            except Unanswered as fault:
                took = time.perf_counter() - began
                if fault.kind == "refused":
                    self.counts["refused"] += 1
                    return
                if fault.is_first and fault.kind in ("unread", "unsent"):
                    # As a refused one: nothing of this connection was ever read, and it is tried again.
                    self.counts["reset when new"] += 1
                elif fault.kind in ("unread", "unsent") and took <= RACE_S:
                    self.counts["unread"] += 1
                else:
                    self.faults.append(f"{ask.name}: {fault} after {1e3 * took:.0f} ms, first: {fault.is_first}")
                continue
            if ask.is_right(answer):
                self.counts["right"] += 1
                if answer.closes:
                    self.closes.append(time.perf_counter())
            elif answer.status == 503:
                self.counts["503"] += 1
            else:
                self.faults.append(f"{ask.name}: status {answer.status}, {len(answer.body)} bytes")
            if self.pauses:
                time.sleep(self.numbers.uniform(0, 0.03))


def not_ready_after(server, moment):
    """Seconds from a moment until /v2/health/ready says 503."""
    connection = Connection(server.http, timeout=5.0)
    while time.perf_counter() - moment < 1.0:
        try:
            if connection.ask(request("/v2/health/ready")).status == 503:
                return time.perf_counter() - moment
        except Unanswered:
            break
    return float("inf")


def stop_under_load(args, asks, number):
    """One stop; what became of it."""
    numbers = random.Random(f"{args.seed} {number}")
    with Server(args.effnet, "--weights", args.weights, "--batch", 4, "--drain-delay", DRAIN_S) as server:
        for ask in asks:
            if ask.expected is None:
                ask.learn(Connection(server.http))
        # Half of the clients pause between requests, so that some connections are idle when the end comes. One
        # connection has never been used, and must not hold the server up.
        unused = socket.create_connection(server.http)
        loads = [Load(server, asks, f"{args.seed} {number} {i}", i % 2) for i in range(CONNECTIONS)]
        time.sleep(numbers.uniform(0.1, 0.8))
        server.stop()
        stopped = time.perf_counter()
        ready = not_ready_after(server, stopped)
        status = server.ended(DRAIN_S + BOUND_S + 30)
        took = time.perf_counter() - stopped
        unused.close()
        for load in loads:
            load.thread.join(30)
        faults = [fault for load in loads for fault in load.faults]
        faults += ["a client hangs" for load in loads if load.thread.is_alive()]
        counts = sum((load.counts for load in loads), collections.Counter())
        closes = [moment - stopped for load in loads for moment in load.closes]
        return status, took, ready, faults, counts, closes, server.panics


def under_load(args, report):
    asks = [
        Ask("a small PNG", raw("lite0", photograph("formats/rgb.png"))),
        Ask("a small JPEG to classify", request("/v2/models/lite0/classify", photograph("formats/ycbcr-420.jpg"))),
        Ask("pixels", raw("lite0:pixels", noise(1, args.seed).tobytes())),
        Ask("three images of pixels", tensor("lite0:pixels", "pixels", noise(3, args.seed))),
    ]
    stops = [stop_under_load(args, asks, number) for number in range(args.stops)]
    statuses = collections.Counter(stop[0] for stop in stops)
    beyond = [stop[1] - DRAIN_S for stop in stops]
    faults = [fault for stop in stops for fault in stop[3]]
    counts = sum((stop[4] for stop in stops), collections.Counter())
    closes = [moment for stop in stops for moment in stop[5]]
    goal = f"SIGTERM under load of {CONNECTIONS} connections, {args.stops} times: no accepted request is lost"
    found = f"{counts['right']} right answers, {len(faults)} lost or wrong {faults[:3]}; {counts['503']} with 503"
    report.goal(goal, found, not faults and counts["right"] > 0)
    report.goal("exit status 0", f"{dict(statuses)}", set(statuses) == {0})
    goal = f"ended within the drain delay of {DRAIN_S} s and {BOUND_S:.0f} s"
    report.goal(goal, f"beyond the drain delay: {spread(beyond)}", 0 <= min(beyond) and max(beyond) <= BOUND_S)
    readies = [stop[2] for stop in stops]
    report.goal("not ready within 100 ms of the signal", spread(readies), max(readies) <= 0.1)
    report.figure(
        "requests that came as the server closed their idle connection, and were not read",
        f"{counts['unread']} in {args.stops} stops; new connections reset before a byte: {counts['reset when new']}",
    )
    report.figure("answers with Connection: close, after the signal", f"{len(closes)}: {spread(closes)}")
    report.goal("no panic", f"{sum(stop[6] for stop in stops)}", not any(stop[6] for stop in stops))


def nothing(server):
    """A connection for HTTP that was never used."""
    return [socket.create_connection(server.http)]


def half_a_head(server):
    """Half of a request's head."""
    sock = socket.create_connection(server.http)
    sock.sendall(b"GET /v2 HTT")
    return [sock]


def half_a_body(server):
    """A head, and half of the body."""
    data = raw("lite0:pixels", noise(1, 1).tobytes())
    sock = socket.create_connection(server.http)
    sock.sendall(data[: len(data) // 2])
    return [sock]


def never_reads(server):
    """Answers that nobody takes."""
    return [slow.never_reads(server.http)]


def nothing_by_grpc(server):
    """A connection for gRPC that was never used, as a probe of the port makes it."""
    return [socket.create_connection(server.grpc)]


def half_a_preface(server):
    """Half of the words that open HTTP/2."""
    sock = socket.create_connection(server.grpc)
    sock.sendall(frames.PREFACE[:10])
    return [sock]


def silent_by_grpc(server):
    """HTTP/2 is opened, and then the client answers nothing, pings neither."""
    sock = socket.create_connection(server.grpc)
    sock.sendall(frames.PREFACE + frames.frame(frames.SETTINGS))
    return [sock]


def half_a_call(server):
    """A call of gRPC whose message never comes, from a client that answers pings no more."""
    sock = socket.create_connection(server.grpc)
    head = frames.headers_of(frames.Connection.METHOD)
    opened = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, head)
    sock.sendall(frames.PREFACE + frames.frame(frames.SETTINGS) + opened)
    return [sock]


HOLDERS = [
    nothing,
    half_a_head,
    half_a_body,
    never_reads,
    nothing_by_grpc,
    half_a_preface,
    silent_by_grpc,
    half_a_call,
]


def held(args, report):
    """Clients that hold a connection open do not keep a server from its end; each has a server of its own."""
    found = {}

    def stop(hold):
        options = ["--weights", args.weights, "--drain-delay", DRAIN_S, "--threads", 1]
        with Server(args.effnet, *options) as server:
            socks = hold(server)
            time.sleep(0.5)
            server.stop()
            began = time.perf_counter()
            status = server.ended(DRAIN_S + HELD_BOUND_S)
            found[hold] = status, time.perf_counter() - began - DRAIN_S
            for sock in socks:
                sock.close()

    threads = [threading.Thread(target=stop, args=(hold,)) for hold in HOLDERS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for hold in HOLDERS:
        what = hold.__doc__.rstrip(".")
        status, beyond = found.get(hold, ("no result", 0.0))
        goal = f"SIGTERM while a client holds a connection: ended within {HELD_BOUND_S:.0f} s. {what}"
        said = f"exit status {status}, {beyond:.1f} s" if status is not None else f"still there after {beyond:.0f} s"
        report.goal(goal, f"{said} beyond the drain delay", status == 0)


def check(args, report):
    under_load(args, report)
    held(args, report)
