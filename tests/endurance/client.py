"""A small HTTP/1.1 client on sockets that says exactly how far a request came when it has no answer."""

import errno
import socket
import time


class Answer:
    """An answer with its status, head in lower case, and body."""

    __slots__ = ("status", "head", "body")

    def __init__(self, status, head, body):
        self.status, self.head, self.body = status, head, body

    @property
    def closes(self):
        """Whether the server says that the connection ends with this answer."""
        return b"\r\nconnection: close" in self.head

    def header(self, name):
        """The value of a header, or None."""
        at = self.head.find(b"\r\n" + name + b":")
        if at < 0:
            return None
        return self.head[at + len(name) + 3 : self.head.index(b"\r\n", at + 2)].strip()


class Reader:
    """Puts an answer together from what arrives."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.pieces, self.length, self.head, self.needed = [], 0, None, None

    def feed(self, data):
        """The answer where it is complete, else None."""
        self.pieces.append(data)
        self.length += len(data)
        if self.head is None:
            joined = b"".join(self.pieces)
            end = joined.find(b"\r\n\r\n")
            if end < 0:
                self.pieces = [joined]
                return None
            self.head = joined[: end + 4].lower()
            if not self.head.startswith(b"http/1."):
                raise ValueError(f"no HTTP: {joined[:80]!r}")
            self.status = int(self.head[9:12])
            length = Answer(0, self.head, b"").header(b"content-length")
            if length is None and self.status != 100:
                raise ValueError(f"no length: {self.head!r}")
            self.needed = end + 4 + int(length or 0)
        if self.length < self.needed:
            return None
        whole = b"".join(self.pieces)
        if len(whole) > self.needed:
            raise ValueError(f"{len(whole) - self.needed} bytes follow the answer")
        answer = Answer(self.status, self.head, whole[len(self.head) :])
        self.clear()
        return answer


class Unanswered(Exception):
    """A request without an answer.

    `kind` is one of:

    - `refused`: there was no connection.
    - `unsent`: the connection ended before all of the request was sent, without a byte of an answer.
    - `unread`: all was sent, no byte of an answer came, and the system says (by a reset) that the server closed
      the connection before it had read the request. In HTTP/1.1 such a request was not accepted.
    - `dropped`: all was sent and read, and the server closed the connection in good order without a byte.
    - `broken`: a part of an answer came.
    - `hung`: nothing came in time.
    """

    def __init__(self, kind, is_first, error):
        super().__init__(f"{kind}: {error}")
        self.kind, self.is_first = kind, is_first


RESET = (errno.EPIPE, errno.ECONNRESET)


def was_reset(sock):
    """Whether a reset has followed the end of the stream.

    A server that closes a socket with bytes that it has not read, or to which bytes come afterwards, resets the
    connection. On the loopback interface the reset is there at once or, between a server's shutdown and its close,
    a moment later.
    """
    for _ in range(5):
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in RESET:
            return True
        time.sleep(0.002)
    return False


def connected(address, timeout):
    """A new connection, whose small requests go at once."""
    try:
        sock = socket.create_connection(address, timeout)
    except OSError as error:
        raise Unanswered("refused", True, error) from None
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Connection:
    """A connection that is kept and, after its end, made anew by the next request."""

    def __init__(self, address, timeout=30.0):
        self.address, self.timeout = address, timeout
        self.sock = None
        self.asked = 0
        self.reader = Reader()

    def connect(self):
        """Connects where there is no connection."""
        if self.sock is not None:
            return
        self.sock = connected(self.address, self.timeout)
        self.asked = 0
        self.reader.clear()

    def ask(self, request):
        """The answer to a request's bytes; `sent_at` and `done_at` are the moments of the last byte."""
        self.connect()
        is_first = self.asked == 0
        self.asked += 1
        sock, at, view = self.sock, 0, memoryview(request)
        try:
            while at < len(view):
                at += sock.send(view[at:])
            self.sent_at = time.perf_counter()
            while True:
                data = sock.recv(1 << 18)
                if not data:
                    break
                answer = self.reader.feed(data)
                if answer is not None:
                    self.done_at = time.perf_counter()
                    if answer.closes:
                        self.close()
                    return answer
            kind, error = "unread" if was_reset(sock) else "dropped", "the connection was closed"
        except TimeoutError as caught:
            kind, error = "hung", caught
        except OSError as caught:
            kind, error = "unread" if at == len(view) else "unsent", caught
        except ValueError as caught:
            kind, error = "broken", caught
        if self.reader.length:
            kind = "broken"
        self.close()
        raise Unanswered(kind, is_first, error)

    def close(self):
        if self.sock is not None:
            self.sock.close()
            self.sock = None


def request(path, body=None, headers=(), method=None):
    """A request's bytes; with a body it is a POST."""
    method = method or ("GET" if body is None else "POST")
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")
