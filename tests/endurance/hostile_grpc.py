"""Hostile bytes for the port of gRPC: frames of HTTP/2 that break its rules or come in floods, and odd messages.

What a server makes of a connection is its own matter, as long as it goes on serving others. A case has an answer
where it came to a status of gRPC or a frame that ends the stream or the connection.
"""

import socket
import struct
import time

from asks import SIDE
from frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Connection,
    field,
    frame,
    headers_of,
    literal,
    varint,
)

PATIENCE_S = 5.0
OPEN = PREFACE + frame(SETTINGS)
INFER = headers_of(Connection.METHOD)


class Case:
    """`make(numbers)` gives the bytes behind the preface, or with it where `is_raw`."""

    allowed = None

    def __init__(self, name, make, is_raw=False, waits=True):
        self.name, self.make, self.is_raw, self.waits = name, make, is_raw, waits

    def play(self, address, numbers):
        """What came of it: the first frame that ends something, or how the connection ended."""
        data = self.make(numbers)
        with socket.create_connection(address, PATIENCE_S) as sock:
            try:
                sock.sendall(data if self.is_raw else OPEN + data)
                if not self.waits:
                    # It is left as it is a moment later.
                    time.sleep(0.05)
                    return "left"
                sock.shutdown(socket.SHUT_WR)
                return ended(sock)
            except TimeoutError:
                return "silent"
            except OSError:
                return "reset"


def ended(sock):
    buffer = b""
    while True:
        data = sock.recv(1 << 16)
        if not data:
            return "closed"
        buffer += data
        while len(buffer) >= 9:
            length = int.from_bytes(buffer[:3], "big")
            if len(buffer) < 9 + length:
                break
            kind, flags, _ = struct.unpack(">BBI", buffer[3:9])
            payload, buffer = buffer[9 : 9 + length], buffer[9 + length :]
            if kind == GOAWAY:
                return f"GOAWAY {int.from_bytes(payload[4:8], 'big')}"
            if kind == RST_STREAM:
                return f"RST_STREAM {int.from_bytes(payload, 'big')}"
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                return "answered"


def garbage(numbers):
    return numbers.randbytes(numbers.randint(1, 5000))


def garbage_frames(numbers):
    """Frames of random kinds, flags, streams and contents."""
    less_than = numbers.randrange
    return b"".join(
        frame(less_than(12), less_than(256), less_than(8), numbers.randbytes(less_than(64))) for _ in range(100)
    )


def too_long(numbers):
    return b"\xff\xff\xff" + bytes([numbers.choice([DATA, HEADERS, SETTINGS]), 0, 0, 0, 0, 1]) + bytes(100_000)


def garbage_fields(numbers):
    return frame(HEADERS, END_HEADERS | END_STREAM, 1, numbers.randbytes(numbers.randint(1, 200)))


def opened(numbers):
    """More streams than may be open, none of which ends."""
    return b"".join(frame(HEADERS, END_HEADERS, 2 * i + 1, INFER) for i in range(numbers.choice([300, 2000])))


def rapid_reset(_):
    """Streams that are opened and reset at once (CVE-2023-44487)."""
    return b"".join(
        frame(HEADERS, END_HEADERS, 2 * i + 1, INFER) + frame(RST_STREAM, 0, 2 * i + 1, bytes(4)) for i in range(3000)
    )


def made_to_reset(_):
    """Streams that the server has to reset, for their windows overflow (CVE-2025-8671)."""
    overflow = struct.pack(">I", 0x7FFFFFFF)
    streams = range(1, 4001, 2)
    return b"".join(frame(HEADERS, END_HEADERS, i, INFER) + frame(WINDOW_UPDATE, 0, i, overflow) for i in streams)


def pings(_):
    return frame(PING, 0, 0, bytes(8)) * 20_000


def settings(_):
    return frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)) * 10_000


def empty_data(_):
    return frame(HEADERS, END_HEADERS, 1, INFER) + frame(DATA, 0, 1) * 20_000


def continuations(_):
    """A head that never ends (CVE-2024-27316)."""
    part = b"".join(literal(b"x-%d" % i, b"y" * 100) for i in range(100))
    return frame(HEADERS, 0, 1, INFER) + frame(CONTINUATION, 0, 1, part) * 500


def empty_continuations(_):
    return frame(HEADERS, 0, 1, INFER) + frame(CONTINUATION, 0, 1) * 20_000


def references(_):
    """A long field that is put into the table once and named ten thousand times."""
    name, value = b"x" * 100, b"y" * 126
    entry = b"\x40" + bytes([len(name)]) + name + bytes([len(value)]) + value
    return frame(HEADERS, END_HEADERS | END_STREAM, 1, INFER + entry + b"\xbe" * 10_000)


def windows(numbers):
    """Windows that do not grow, or too far; settings without sense."""
    return numbers.choice(
        [
            frame(WINDOW_UPDATE, 0, 0, bytes(4)),
            frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7FFFFFFF)) * 3,
            frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**32 - 1)),
            frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 1)),
            frame(SETTINGS, 0, 0, bytes(5)),
            frame(SETTINGS, ACK, 0, bytes(6)),
            frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 2**32 - 1)),
        ]
    )


def out_of_place(numbers):
    """Frames that are known and do not belong there."""
    return numbers.choice(
        [
            frame(DATA, 0, 1, b"x"),
            frame(DATA, 0, 0, b"x"),
            frame(HEADERS, END_HEADERS, 2, INFER),
            frame(HEADERS, END_HEADERS, 0, INFER),
            frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + INFER[:20]),
            frame(CONTINUATION, 0, 1, INFER),
            frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + INFER),
            frame(RST_STREAM, 0, 9, bytes(4)),
            frame(PING, 0, 0, bytes(7)),
            frame(PRIORITY, 0, 1, struct.pack(">IB", 1, 0)) * 5000,
            frame(GOAWAY, 0, 0, bytes(8)),
        ]
    )


def called(message, head=INFER):
    """A call with this message, in frames that are short enough."""
    pieces = [message[at : at + 16384] for at in range(0, len(message), 16384)] or [b""]
    frames = [frame(DATA, 0, 1, piece) for piece in pieces[:-1]] + [frame(DATA, END_STREAM, 1, pieces[-1])]
    return frame(HEADERS, END_HEADERS, 1, head) + b"".join(frames)


def lengths(numbers):
    """Lengths of a message that are not its own."""
    flag, length = numbers.choice([(0, 2**32 - 1), (0, 64 << 20), (0, 1), (1, 10), (255, 4), (0, 2**31)])
    return called(bytes([flag]) + struct.pack(">I", length) + b"abcd")


def whole(message):
    return called(b"\0" + struct.pack(">I", len(message)) + message)


def garbage_message(numbers):
    return whole(numbers.randbytes(numbers.randint(0, 2000)))


def nested_message(_):
    """Groups in groups, which protocol buffers let one skip."""
    return whole(b"\x0b" * 15_000 + b"\x0c" * 15_000)


def odd_tensors(numbers):
    """Shapes and contents that do not fit."""
    extent = numbers.choice([2**63 - 1, 2**64 - 1, 2**32, 0])
    shape = b"".join(varint(x) for x in [extent, SIDE, SIDE, 3])
    given = field(1, b"input") + field(2, b"FP32") + field(3, shape)
    contents = field(7, bytes(numbers.choice([0, 3, 4]))) * numbers.choice([0, 1, 1000])
    return whole(field(1, b"lite0:tensor") + field(5, given) * numbers.choice([1, 1000]) + contents)


def unknown_methods(numbers):
    method = numbers.choice([b"/x", b"/inference.GRPCInferenceService/X", b"*", b"/" + b"a" * 100, b""])
    return called(b"\0\0\0\0\0", headers_of(method))


def unread(_):
    """Calls whose answers there is no window for."""
    nothing = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
    live = headers_of(b"/inference.GRPCInferenceService/ServerMetadata")
    streams = range(1, 501, 2)
    calls = (frame(HEADERS, END_HEADERS, i, live) + frame(DATA, END_STREAM, i, bytes(5)) for i in streams)
    return nothing + b"".join(calls)


CASES = [
    Case("gRPC: random bytes", garbage, is_raw=True),
    Case("gRPC: HTTP/1.1", lambda _: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", is_raw=True),
    Case("gRPC: a hello of TLS", lambda numbers: b"\x16\3\1\2\0\1\0\1\xfc\3\3" + numbers.randbytes(100), is_raw=True),
    Case("gRPC: half a preface", lambda numbers: PREFACE[: numbers.randrange(1, 24)], is_raw=True),
    Case("gRPC: random frames", garbage_frames),
    Case("gRPC: frames that are too long", too_long),
    Case("gRPC: random fields", garbage_fields),
    Case("gRPC: streams that are opened", opened, waits=False),
    Case("gRPC: streams that are opened and reset", rapid_reset),
    Case("gRPC: streams that have to be reset", made_to_reset),
    Case("gRPC: pings", pings, waits=False),
    Case("gRPC: settings", settings, waits=False),
    Case("gRPC: empty data", empty_data),
    Case("gRPC: a head without an end", continuations),
    Case("gRPC: a head without an end, empty", empty_continuations),
    Case("gRPC: a field ten thousand times", references),
    Case("gRPC: windows and settings", windows),
    Case("gRPC: frames out of place", out_of_place),
    Case("gRPC: lengths of messages", lengths),
    Case("gRPC: random messages", garbage_message),
    Case("gRPC: nested groups", nested_message),
    Case("gRPC: odd tensors", odd_tensors),
    Case("gRPC: unknown methods", unknown_methods),
    Case("gRPC: answers without a window", unread, waits=False),
]
