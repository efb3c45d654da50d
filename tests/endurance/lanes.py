"""Many connections in one thread, for load that must itself take little of the processor."""

import errno
import heapq
import select
import socket
import time

from client import RESET, Reader


class Lane:
    """A connection of a loop, with at most one request at a time."""

    __slots__ = ("loop", "sock", "reader", "view", "at", "done", "began", "sent_at", "is_connecting")

    def __init__(self, loop):
        self.loop = loop
        self.sock = None
        self.reader = Reader()
        self.view = self.done = None

    def ask(self, view, done):
        """Sends a request; `done(lane, answer, fault)` is called at its end."""
        self.view, self.done, self.at, self.sent_at = view, done, 0, None
        self.began = time.perf_counter()
        if self.sock is None:
            self.sock = socket.socket()
            self.sock.setblocking(False)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.is_connecting = False
            self.reader.clear()
            code = self.sock.connect_ex(self.loop.address)
            if code not in (0, errno.EINPROGRESS):
                self.end(None, "refused")
                return
            self.loop.add(self)
            if code:
                self.loop.wants_write(self, True)
                self.is_connecting = True
                return
        self.send()

    def send(self):
        """Sends what the system takes."""
        try:
            while self.at < len(self.view):
                self.at += self.sock.send(self.view[self.at :])
        except BlockingIOError:
            self.loop.wants_write(self, True)
            return
        except OSError as error:
            self.end(None, f"unsent: {error}")
            return
        self.sent_at = time.perf_counter()

    def ready(self, events):
        """Goes on where the system has something."""
        if events & select.EPOLLOUT and self.view is not None and self.at < len(self.view):
            if self.is_connecting:
                code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    self.end(None, "refused" if code == errno.ECONNREFUSED else errno.errorcode[code])
                    return
                self.is_connecting = False
            self.loop.wants_write(self, False)
            self.send()
        if not events & ~select.EPOLLOUT or self.sock is None:
            return
        try:
            data = self.sock.recv(1 << 16)
            answer = self.reader.feed(data) if data else None
        except BlockingIOError:
            return
        except OSError as error:
            self.end(None, "reset" if error.errno in RESET else str(error))
            return
        except ValueError as error:
            self.end(None, f"broken: {error}")
            return
        if not data:
            self.end(None, "broken" if self.reader.length else "closed")
        elif answer is not None:
            self.end(answer, None)

    def end(self, answer, fault):
        """Hands out what came; an idle connection that the server closes is no fault."""
        if fault or answer.closes or self.at < len(self.view):
            self.close()
        done, self.view, self.done = self.done, None, None
        if done is not None:
            done(self, answer, fault)

    def close(self):
        if self.sock is not None:
            self.loop.remove(self)
            self.sock.close()
            self.sock = None


class Loop:
    """Connections to one address, and calls at set times."""

    def __init__(self, address):
        self.address = address
        self.poll = select.epoll()
        self.lanes = {}
        self.calls = []
        self.number = 0

    def add(self, lane):
        self.lanes[lane.sock.fileno()] = lane
        self.poll.register(lane.sock, select.EPOLLIN)

    def wants_write(self, lane, is_wanted):
        self.poll.modify(lane.sock, select.EPOLLIN | (select.EPOLLOUT if is_wanted else 0))

    def remove(self, lane):
        if self.lanes.pop(lane.sock.fileno(), None) is not None:
            self.poll.unregister(lane.sock)

    def at(self, moment, call):
        """Calls `call()` at a moment of the performance counter."""
        self.number += 1
        heapq.heappush(self.calls, (moment, self.number, call))

    def run(self, until):
        """Runs until a moment of the performance counter, or until `until()` is true where it is a function."""
        is_over = until if callable(until) else lambda: time.perf_counter() >= until
        while not is_over():
            now = time.perf_counter()
            while self.calls and self.calls[0][0] <= now:
                heapq.heappop(self.calls)[2]()
            pause = min(self.calls[0][0] - time.perf_counter(), 0.05) if self.calls else 0.05
            for fd, events in self.poll.poll(max(pause, 0)):
                lane = self.lanes.get(fd)
                if lane is not None:
                    lane.ready(events)

    def close(self):
        for lane in list(self.lanes.values()):
            lane.close()
        self.poll.close()
