"""Clients that are slow or say nothing: each takes a connection for as long as the server lets it."""

import select
import socket
import time

import frames
from asks import SIDE, noise
from client import request

STEP_S = 0.5
# Headers, and bodies, are waited for for 30 s; a client of HTTP/2 is asked after 30 s and given 30 s more.
HTTP_LIMIT_S = 40.0
# A client whose body does not come is told after 30 s, and may then ask for something else for 30 s.
BODY_LIMIT_S = 75.0
GRPC_LIMIT_S = 75.0

BODY = noise(1, 1).tobytes()
HEAD = request("/v2/models/lite0:pixels/infer", headers=["Inference-Header-Content-Length: 0", "X: " + "a" * 500])
LENGTH = f"Inference-Header-Content-Length: 0\r\nContent-Length: {SIDE * SIDE * 3}"
SHORT = f"POST /v2/models/lite0:pixels/infer HTTP/1.1\r\nHost: x\r\n{LENGTH}\r\n\r\n".encode()
OPEN = frames.PREFACE + frames.frame(frames.SETTINGS)
CALL = OPEN + frames.frame(frames.HEADERS, frames.END_HEADERS, 1, frames.headers_of(frames.Connection.METHOD))
# Requests for a long answer, of which nothing is taken.
LONG = request("/openapi.yaml") * 5000


def never_reads(address):
    """A client that asks for much and takes nothing of it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(address)
    sock.setblocking(False)
    left, end = memoryview(LONG), time.perf_counter() + 0.3
    while left and time.perf_counter() < end:
        try:
            left = left[sock.send(left) :]
        except BlockingIOError:
            time.sleep(0.005)
    return sock


class Kind:
    """So many clients that send `start` at once and `rest` a byte at a time, and live at most so long."""

    def __init__(self, name, count, start=b"", rest=b"", grpc=False, reads=True, limit=None):
        self.name, self.count, self.start, self.rest, self.grpc, self.reads = name, count, start, rest, grpc, reads
        self.limit = limit or (GRPC_LIMIT_S if grpc else HTTP_LIMIT_S)


KINDS = [
    Kind("idle", 100),
    Kind("a head a byte at a time", 20, rest=HEAD),
    Kind("a body a byte at a time", 20, start=SHORT, rest=BODY, limit=BODY_LIMIT_S),
    Kind("idle after an answer", 20, start=request("/v2/health/live")),
    Kind("never reads its answers", 3, start=LONG, reads=False, limit=BODY_LIMIT_S),
    Kind("gRPC: idle", 20, grpc=True),
    Kind("gRPC: a preface a byte at a time", 10, rest=OPEN + bytes(1000), grpc=True),
    Kind("gRPC: opened, then silent", 10, start=OPEN, grpc=True),
    Kind("gRPC: a call without a message, then silent", 10, start=CALL, grpc=True),
]


class Client:
    """One slow client."""

    def __init__(self, kind, address):
        self.kind, self.at, self.began = kind, 0, time.perf_counter()
        self.sock = socket.socket()
        if not kind.reads:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.settimeout(5.0)
        self.sock.connect(address)
        self.sock.setblocking(False)
        self.start = memoryview(kind.start)
        self.is_over, self.is_polled = False, True

    def step(self):
        """Sends what there is to send."""
        try:
            if self.start:
                self.start = self.start[self.sock.send(self.start) :]
            elif self.at < len(self.kind.rest):
                self.at += self.sock.send(self.kind.rest[self.at : self.at + 1])
        except BlockingIOError:
            pass
        except OSError:
            self.is_over = True

    def read(self):
        """Takes what has come; at its end the client is over."""
        try:
            self.is_over |= not self.sock.recv(1 << 16)
        except BlockingIOError:
            pass
        except OSError:
            self.is_over = True

    def age(self):
        return time.perf_counter() - self.began


class Lives:
    """Keeps all kinds of clients there, and remembers how long the server let them live."""

    def __init__(self, http, grpc, end):
        self.http, self.grpc, self.end = http, grpc, end
        self.ended = {kind.name: [] for kind in KINDS}
        self.left = {kind.name: 0.0 for kind in KINDS}

    def run(self):
        poll = select.poll()
        clients = {}

        def start(kind):
            client = Client(kind, self.grpc if kind.grpc else self.http)
            clients[client.sock.fileno()] = client
            poll.register(client.sock, select.POLLIN if kind.reads else 0)

        try:
            for kind in KINDS:
                for _ in range(kind.count):
                    start(kind)
            while time.perf_counter() < self.end:
                until = time.perf_counter() + STEP_S
                for client in clients.values():
                    client.step()
                while (left := until - time.perf_counter()) > 0:
                    for fd, event in poll.poll(1e3 * left):
                        if event & select.POLLIN:
                            clients[fd].read()
                        else:
                            clients[fd].is_over = True
                        if clients[fd].is_over:
                            poll.unregister(fd)
                            clients[fd].is_polled = False
                for fd, client in list(clients.items()):
                    if client.is_over:
                        self.ended[client.kind.name].append(client.age())
                        if client.is_polled:
                            poll.unregister(fd)
                        del clients[fd]
                        client.sock.close()
                        start(client.kind)
        except OSError as error:
            # The server is gone, which the others tell too.
            self.ended["idle"].append(f"{error}")
        for client in clients.values():
            self.left[client.kind.name] = max(self.left[client.kind.name], client.age())
            client.sock.close()

    def told(self):
        """Of each kind: how many the server ended, the longest life of them and of those at the end, the limit."""
        found = {}
        for kind in KINDS:
            ages = [age for age in self.ended[kind.name] if isinstance(age, float)]
            found[kind.name] = [len(ages), max(ages, default=0.0), self.left[kind.name], kind.limit]
        return found
