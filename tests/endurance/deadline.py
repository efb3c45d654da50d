"""A request's time limit while the device is busy with others' images."""

import statistics
import threading
import time

from asks import noise, tensor
from client import Connection, Unanswered
from figures import spread
from server import Server

IMAGES = 64
LIMIT_S = 0.050
TOLERANCE_S = 0.010


def keep_busy(server, request, is_over, found):
    """Large requests, one after the other."""
    connection = Connection(server.http)
    while not is_over.is_set():
        try:
            began = time.perf_counter()
            answer = connection.ask(request)
            found.append((answer.status, time.perf_counter() - began, connection.sent_at))
        except Unanswered as fault:
            found.append((fault.kind, 0.0, began))
            return


def sleep_late(is_over, found):
    """How late this process itself wakes from sleeps of that length: what the machine adds to each figure."""
    while not is_over.is_set():
        began = time.perf_counter()
        time.sleep(LIMIT_S)
        found.append(time.perf_counter() - began)


def check(args, report):
    large = tensor("lite0:pixels", "pixels", noise(IMAGES, args.seed))
    small = tensor("lite0:pixels", "pixels", noise(1, args.seed), {"timeout": int(1e6 * LIMIT_S)})
    with Server(args.effnet, "--weights", args.weights, "--batch", IMAGES, "--grpc", "none") as server:
        is_over, of_large = threading.Event(), []
        busy = [
            threading.Thread(target=keep_busy, args=(server, large, is_over, of_large), daemon=True) for _ in range(2)
        ]
        for thread in busy:
            thread.start()
        # From here on one of the two always runs.
        while len(of_large) < 2:
            time.sleep(0.01)
        slept = []
        sleeper = threading.Thread(target=sleep_late, args=(is_over, slept), daemon=True)
        sleeper.start()
        connection, took, others, missed = Connection(server.http), [], [], []
        for _ in range(args.deadlines):
            answer = connection.ask(small)
            if answer.status == 503 and b"no answer within 50 ms" in answer.body:
                took.append(connection.done_at - connection.sent_at)
                if abs(took[-1] - LIMIT_S) > TOLERANCE_S:
                    missed.append((connection.sent_at, connection.done_at))
            else:
                others.append((answer.status, answer.body[:100]))
            # So that the moments differ within the runs.
            time.sleep(0.037)
        is_over.set()
        for thread in [*busy, sleeper]:
            thread.join()
    runs = [seconds for status, seconds, _ in of_large if status == 200]
    failed = [status for status, *_ in of_large if status != 200]
    report.figure(f"the device is busy: {IMAGES} images a request, two in flight", f"{len(runs)} of {spread(runs)}")
    ordered = ", ".join(f"{1e3 * seconds:.1f}" for seconds in sorted(took))
    is_met = len(took) == args.deadlines and all(abs(seconds - LIMIT_S) <= TOLERANCE_S for seconds in took)
    report.goal(
        f"a limit of 50 ms, {args.deadlines} times: answered at 50 ± 10 ms",
        f"{spread(took)}; all: {ordered}" + (f"; others: {others[:3]}" if others else ""),
        is_met,
    )
    report.goal("the large requests are answered", f"{len(failed)} failed {failed[:3]}", not failed and len(runs) > 2)
    # What the server does with a large body when it comes may hold up the clock of others.
    beside = [any(begin - 0.1 < sent < end for *_, sent in of_large) for begin, end in missed]
    found = f"{sum(beside)} of {len(missed)}"
    report.figure("of those not at 50 ± 10 ms, those while a large request came or just had", found)
    report.figure("a sleep of 50 ms of the client at the same time", spread(slept))
    if took:
        over = statistics.median(took) - LIMIT_S
        report.figure("median beyond the limit", f"{1e3 * over:.2f} ms")
