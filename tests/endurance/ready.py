"""From the start of the program to its first word that it is ready."""

import socket
import statistics
import time

from client import Connection, Unanswered, request
from figures import spread
from server import Server

GOAL_S = 0.3


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def start(effnet, weights):
    """Seconds until /v2/health/ready says 200."""
    address = ("127.0.0.1", free_port())
    asked = request("/v2/health/ready")
    with Server(effnet, "--weights", weights, "--http", "127.0.0.1:%d" % address[1], wait=False) as server:
        connection = Connection(address)
        while time.perf_counter() - server.began < 30 and server.is_running():
            try:
                if connection.ask(asked).status == 200:
                    return time.perf_counter() - server.began
            except Unanswered:
                pass
            time.sleep(0.001)
    raise RuntimeError(f"never ready: {list(server.said)}")


def check(args, report):
    for name in ["lite0", "b0"]:
        weights = args.folder / f"{name}.safetensors"
        if not weights.exists():
            report.figure(f"{name}: from start to ready", "its weights are not there")
            continue
        start(args.effnet, weights)
        took = [start(args.effnet, weights) for _ in range(args.starts)]
        goal = f"{name}: from start to ready, median of {args.starts}, at most {GOAL_S} s"
        report.goal(goal, spread(took), statistics.median(took) <= GOAL_S)
