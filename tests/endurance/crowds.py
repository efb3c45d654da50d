"""What few clients can take from all others: connections, memory for bodies, and memory for answers.

Each check has a server of its own, and all of them run at the same time.
"""

import socket
import struct
import threading
import time
import zlib

import frames
import slow
from asks import Ask, noise, raw
from client import Connection, Unanswered, request
from figures import spread
from hostile import binary_input, split
from server import MB, Meter, Server

PLACES = 32
# A connection that says nothing is let go of after 30 s, one of HTTP/2 that answers no ping after 60 s.
LIMIT_S = 75.0
# Bodies of the greatest length that are held at once are 8; slow ones are waited for for 30 s.
SLOW = 16
SLOW_S = 40.0
GOOD_S = 2.0
MIB = 1 << 20


def options(args, *more):
    return ["--weights", args.weights, "--threads", 1, *more]


def taken_places(args, report, name, hold):
    """All places for connections are taken: how long another client waits."""
    with Server(args.effnet, *options(args, "--max-connections", PLACES)) as server:
        socks = [hold(server) for _ in range(PLACES)]
        time.sleep(0.5)
        began = time.perf_counter()
        try:
            answer = Connection(server.http, timeout=LIMIT_S).ask(request("/v2/health/live"))
            found = f"status {answer.status} after {time.perf_counter() - began:.1f} s"
            is_met = answer.status == 200
        except Unanswered as fault:
            found, is_met = f"{fault} after {time.perf_counter() - began:.1f} s", False
        for sock in socks:
            sock.close()
    goal = f"all {PLACES} places for connections are taken: another client is answered within {LIMIT_S:.0f} s. {name}"
    report.goal(goal, found, is_met)


def silent(server):
    return socket.create_connection(server.http)


def silent_by_grpc(server):
    return socket.create_connection(server.grpc)


def opened_by_grpc(server):
    sock = socket.create_connection(server.grpc)
    sock.sendall(frames.PREFACE + frames.frame(frames.SETTINGS))
    return sock


def never_reads(server):
    return slow.never_reads(server.http)


def slow_bodies(args, report, name, head):
    """A few clients say that much will come, and send a byte a second: how others fare meanwhile."""
    with Server(args.effnet, *options(args)) as server:
        ask = Ask("pixels", raw("lite0:pixels", noise(1, args.seed).tobytes()))
        connection = Connection(server.http, timeout=60.0)
        ask.learn(connection)
        socks = []
        for _ in range(SLOW):
            sock = socket.create_connection(server.http)
            sock.sendall(head)
            sock.setblocking(False)
            socks.append(sock)
        time.sleep(0.5)
        took, faults, end = [], [], time.perf_counter() + SLOW_S
        while time.perf_counter() < end:
            for sock in socks:
                try:
                    sock.send(b"1\r\n \r\n" if b"chunked" in head else b" ")
                except OSError:
                    pass
            began = time.perf_counter()
            try:
                answer = connection.ask(ask.data)
                seconds = time.perf_counter() - began
                if ask.is_right(answer):
                    took.append(seconds)
                else:
                    faults.append(f"status {answer.status} after {seconds:.1f} s: {answer.body[:80]!r}")
            except Unanswered as fault:
                faults.append(str(fault))
            time.sleep(1.0)
        for sock in socks:
            sock.close()
    report.goal(
        f"{SLOW} clients send a body a byte a second: others are answered within {GOOD_S:.0f} s. {name}",
        f"{len(took)} right: {spread(took)}; {len(faults)} faults {faults[:2]}",
        bool(took) and not faults and max(took) <= GOOD_S,
    )


def long_answer(args, report):
    """One output that is asked for ten thousand times."""
    data = noise(1, 1).tobytes()
    head = binary_input(len(data), [1, 224, 224, 3], "pixels", "UINT8")
    head["outputs"] = [{"name": "features"}] * 10_000
    asked = split(head, data, model="lite0:pixels")
    with Server(args.effnet, *options(args)) as server, Meter(server, 0.02) as meter:
        try:
            answer = Connection(server.http, timeout=120.0).ask(asked)
            found, length = f"status {answer.status}, {len(answer.body) / MB:.1f} MB", len(answer.body)
        except Unanswered as fault:
            found, length = str(fault), 64 * MIB + 1
        time.sleep(0.1)
    peak = max(sample[1] for sample in meter.samples)
    report.goal(
        "an answer is at most as long as a body may be (64 MiB): one output asked for 10 000 times",
        f"{found} for {len(asked) / MB:.1f} MB; greatest RSS {peak / MB:.0f} MB",
        length <= 64 * MIB,
    )


def great_picture(args, report):
    """The largest picture that is let in, in few bytes."""
    side, packer = 14_188, zlib.compressobj(9)
    row = bytes(8 * side + 1)
    rows = b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()])

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    with Server(args.effnet, *options(args)) as server, Meter(server, 0.02) as meter:
        began = time.perf_counter()
        try:
            status = Connection(server.http, timeout=120.0).ask(request("/v2/models/lite0/classify", data)).status
        except Unanswered as fault:
            status = str(fault)
        took = time.perf_counter() - began
    peak = max(sample[1] for sample in meter.samples)
    name = f"one picture of {side} x {side} pixels, 16 bits, in {len(data) / MB:.1f} MB"
    report.figure(name, f"status {status} after {took:.1f} s; greatest RSS {peak / MB:.0f} MB")


def check(args, report):
    head = "POST /v2/models/lite0:pixels/infer HTTP/1.1\r\nHost: x\r\n"
    checks = [
        (taken_places, "Clients of HTTP that say nothing", silent),
        (taken_places, "Clients of gRPC that say nothing", silent_by_grpc),
        (taken_places, "Clients of gRPC that answer no ping", opened_by_grpc),
        (taken_places, "Clients of HTTP that never read", never_reads),
        (slow_bodies, "Content-Length is the greatest", f"{head}Content-Length: {64 * MIB}\r\n\r\n".encode()),
        (slow_bodies, "Chunks", f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()),
        (slow_bodies, "gzip", f"{head}Content-Encoding: gzip\r\nContent-Length: 1000\r\n\r\n".encode()),
    ]

    def run(held, *more):
        try:
            held(args, report, *more)
        except Exception as error:  # The others go on.
            report.goal(f"the check runs to its end. {more[0]}", f"{type(error).__name__}: {error}", False)

    threads = [threading.Thread(target=run, args=one) for one in checks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # These take memory and are not beside the others.
    long_answer(args, report)
    great_picture(args, report)
