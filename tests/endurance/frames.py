"""Frames of HTTP/2, and with them the one call of gRPC that the checks need."""

import struct
import time

from client import Unanswered, connected

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
# The longest frame that a server takes unless it says otherwise.
LONGEST = 16384


def frame(kind, flags=0, stream=0, payload=b""):
    """A frame's bytes."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name, value):
    """A header field that is not indexed (RFC 7541, section 6.2.2), of at most 126 bytes each."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def headers_of(method):
    """The header block of a gRPC call."""
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", method),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ]
    return b"".join(literal(*field) for field in fields)


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number, data):
    """A field of a message, of the type bytes."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def infer(model, name, datatype, array):
    """A ModelInferRequest that asks for the logits."""
    shape = b"".join(varint(extent) for extent in array.shape)
    given = field(1, name.encode()) + field(2, datatype.encode()) + field(3, shape)
    return field(1, model.encode()) + field(5, given) + field(6, field(1, b"logits")) + field(7, array.tobytes())


class Reply:
    """The message of an answer; `status` is 200 where there is one."""

    closes = False

    def __init__(self, body):
        self.status, self.body = (200 if body else 0), body


class Connection:
    """A connection of gRPC with one call at a time."""

    METHOD = b"/inference.GRPCInferenceService/ModelInfer"

    def __init__(self, address, timeout=30.0):
        self.address, self.timeout = address, timeout
        self.sock = None

    def connect(self):
        if self.sock is not None:
            return
        self.sock = connected(self.address, self.timeout)
        # Windows for what is received are widened to their greatest extent.
        settings = struct.pack(">HI", 4, 0x7FFFFFFF)
        widen = frame(WINDOW_UPDATE, payload=struct.pack(">I", 0x7FFF0000 - 65535))
        self.sock.sendall(PREFACE + frame(SETTINGS, payload=settings) + widen)
        self.buffer = b""
        self.stream = -1
        self.window, self.first_window, self.of_stream = 65535, 65535, 65535

    def ask(self, message):
        """The answer to a message."""
        is_first = self.sock is None
        self.connect()
        try:
            return self._ask(message)
        except TimeoutError as error:
            kind, fault = "hung", error
        except (OSError, EOFError) as error:
            kind, fault = "broken", error
        self.close()
        raise Unanswered(kind, is_first, fault)

    def _ask(self, message):
        self.stream += 2
        self.of_stream = self.first_window
        body = b"\0" + struct.pack(">I", len(message)) + message
        self.sock.sendall(frame(HEADERS, END_HEADERS, self.stream, headers_of(self.METHOD)))
        at, answer, is_over = 0, b"", False
        while not is_over:
            while at < len(body) and min(self.window, self.of_stream) > 0:
                part = body[at : at + min(self.window, self.of_stream, LONGEST)]
                at += len(part)
                self.window -= len(part)
                self.of_stream -= len(part)
                self.sock.sendall(frame(DATA, END_STREAM if at == len(body) else 0, self.stream, part))
                self.sent_at = time.perf_counter()
            kind, flags, stream, payload = self._next()
            if kind == DATA and stream == self.stream:
                answer += payload
                if payload:
                    self.sock.sendall(frame(WINDOW_UPDATE, payload=struct.pack(">I", len(payload))))
            elif kind == RST_STREAM and stream == self.stream:
                is_over = True
            elif kind == GOAWAY:
                raise EOFError(f"GOAWAY {payload!r}")
            is_over |= kind in (DATA, HEADERS) and stream == self.stream and bool(flags & END_STREAM)
        self.done_at = time.perf_counter()
        return Reply(answer[5:])

    def _next(self):
        """The next frame, once it has been acted on as far as it concerns the connection."""
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            data = self.sock.recv(1 << 16)
            if not data:
                raise EOFError("the connection was closed")
            self.buffer += data
        length = int.from_bytes(self.buffer[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", self.buffer[3:9])
        payload, self.buffer = self.buffer[9 : 9 + length], self.buffer[9 + length :]
        if kind == SETTINGS and not flags & ACK:
            for at in range(0, length, 6):
                key, value = struct.unpack(">HI", payload[at : at + 6])
                if key == 4:
                    self.of_stream += value - self.first_window
                    self.first_window = value
            self.sock.sendall(frame(SETTINGS, ACK))
        elif kind == PING and not flags & ACK:
            self.sock.sendall(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            more = int.from_bytes(payload, "big")
            if stream == 0:
                self.window += more
            elif stream == self.stream:
                self.of_stream += more
        return kind, flags, stream, payload

    def close(self):
        if self.sock is not None:
            self.sock.close()
            self.sock = None
