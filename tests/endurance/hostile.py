"""Hostile requests, one connection each, and what a server may answer.

    python hostile.py HTTP_PORT GRPC_PORT SECONDS SEED

A process of its own, so that its work does not slow those that measure. It goes through all cases again and again,
in another order each time, beside slow clients (`slow.py`), and prints what came of them as JSON.
"""

import base64
import collections
import functools
import json
import random
import socket
import struct
import sys
import threading
import time
import zlib

import numpy as np

import slow
from asks import SIDE, noise, photograph, png
from client import Reader, request
from hostile_grpc import CASES as GRPC_CASES

PATIENCE_S = 20.0
PAUSE_S = 0.05
MIB = 1 << 20

WAIT, HALF, RESET, LEAVE = "wait", "half", "reset", "leave"
# What a connection may come to without an answer.
ENDS = {"closed", "reset"}


class Case:
    """`make(numbers)` gives the bytes to send; `then` says what the client does next."""

    def __init__(self, name, make, allowed, then=WAIT):
        self.name, self.make, self.then = name, make, then
        self.allowed = set(allowed) if isinstance(allowed, (set, list, tuple)) else {allowed}

    def play(self, address, numbers):
        """What came of it: a status, or how the connection ended."""
        data = self.make(numbers)
        with socket.create_connection(address, PATIENCE_S) as sock:
            try:
                sock.sendall(data)
                if self.then == HALF:
                    sock.shutdown(socket.SHUT_WR)
            except OSError:
                # The answer may be there all the same.
                pass
            if self.then == RESET:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return "left"
            if self.then == LEAVE:
                return "left"
            return answered(sock)


def answered(sock):
    """The status of the first answer, or how the connection ended."""
    reader = Reader()
    try:
        while True:
            data = sock.recv(1 << 16)
            if not data:
                return "closed" if not reader.length else "broken"
            try:
                answer = reader.feed(data)
            except ValueError as error:
                # A second answer, to what follows the first request, may come with it.
                return reader.status if "follow" in str(error) else f"no HTTP: {error}"
            if answer:
                return answer.status
    except TimeoutError:
        return "silent"
    except OSError:
        return "reset" if not reader.length else "broken"


def infer(body, headers=(), model="lite0:tensor"):
    return request(f"/v2/models/{model}/infer", body, headers)


def in_json(model="lite0:tensor", **changes):
    """A request in JSON whose one input has these entries."""
    kinds = {"lite0": ("image", "BYTES"), "lite0:pixels": ("pixels", "UINT8"), "lite0:tensor": ("input", "FP32")}
    name, datatype = kinds[model]
    given = {"name": name, "datatype": datatype, "shape": [1, SIDE, SIDE, 3], "data": [0], **changes}
    return infer(json.dumps({"inputs": [given]}).encode(), model=model)


def split(head, data, length=None, model="lite0:tensor"):
    """JSON and binary data, with the length of the JSON as it is or another."""
    text = json.dumps(head).encode()
    length = len(text) if length is None else length
    return infer(text + data, [f"Inference-Header-Content-Length: {length}"], model)


def binary_input(size, shape, name="input", datatype="FP32", **parameters):
    given = {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}
    return {"inputs": [given], "parameters": parameters}


GOOD_TEXT = json.dumps(
    {
        "id": "x",
        "parameters": {"timeout": 1000000, "priority": 1},
        "inputs": [
            {
                "name": "image",
                "datatype": "BYTES",
                "shape": [1],
                "data": [base64.b64encode(photograph("formats/rgb.png")).decode()],
            }
        ],
        "outputs": [{"name": "logits", "parameters": {"classification": 3}}],
    }
).encode()


def cut_json(numbers):
    return infer(GOOD_TEXT[: numbers.randrange(len(GOOD_TEXT))], model="lite0")


def changed_json(numbers):
    """Some bytes of the JSON are others."""
    text = bytearray(GOOD_TEXT)
    for _ in range(numbers.randint(1, 8)):
        text[numbers.randrange(len(text))] = numbers.randrange(256)
    return infer(bytes(text), model="lite0")


def deep_json(numbers):
    depth = numbers.choice([200, 10_000, 500_000])
    nested = b"[" * depth + b"0" + b"]" * numbers.choice([0, depth])
    if numbers.random() < 0.5:
        return infer(b'{"inputs":[{"name":"input","datatype":"FP32","shape":[1],"data":' + nested + b"}]}")
    return infer(b'{"parameters":{"a":' + nested + b'},"inputs":[]}')


def wide_json(numbers):
    """Many small values where few are expected."""
    kind = numbers.randrange(3)
    if kind == 0:
        return infer(json.dumps({"inputs": [{}] * 100_000}).encode())
    if kind == 1:
        return in_json(shape=[1] * 100_000)
    return infer(b'{"parameters":{' + b",".join(b'"%d":0' % i for i in range(100_000)) + b'},"inputs":[]}')


def odd_numbers(numbers):
    data = numbers.choice(["1e999", "-1e999", "NaN", "Infinity", '"1"', "null", "{}", "1" * 400, "-"])
    return infer(b'{"inputs":[{"name":"input","datatype":"FP32","shape":[1,1],"data":[%s]}]}' % data.encode())


def odd_levels(numbers):
    """Levels that are none."""
    data = [numbers.choice([256, -1, 0.5, 1e300])] * (SIDE * SIDE * 3)
    return in_json("lite0:pixels", data=data)


def odd_shapes(numbers):
    shape = numbers.choice(
        [
            [2**62, 2**62, 2**62, 2**62],
            [2**63 - 1, SIDE, SIDE, 3],
            [-1, SIDE, SIDE, 3],
            [2**32, SIDE, SIDE, 3],
            [-(2**63), 1, 1, 1],
            [],
            [0, 0, 0, 0],
            [1, SIDE, SIDE, 4],
            [SIDE, SIDE, 3, 1],
        ]
    )
    size = numbers.choice([0, 4, 4 * SIDE * SIDE * 3])
    return split(binary_input(size, shape), bytes(size))


def odd_sizes(numbers):
    """binary_data_size that is not what follows."""
    size = numbers.choice([2**64, 2**63, -1, 5, 1e300, "4", None, 4 * SIDE * SIDE * 3 + 4])
    return split(binary_input(size, [1, SIDE, SIDE, 3]), bytes(4 * SIDE * SIDE * 3))


def odd_header_lengths(numbers):
    data = bytes(4 * SIDE * SIDE * 3)
    value = numbers.choice([10**18, 2**64, 2**128, -1, "", "x", "1e3", "0x10", 1, 13, len(data) * 2, "7, 7"])
    return split(binary_input(len(data), [1, SIDE, SIDE, 3]), data, value)


def odd_bytes(numbers):
    """Elements of BYTES whose lengths lie."""
    data = b"".join(struct.pack("<I", numbers.choice([0, 1, 2**31, 2**32 - 1])) + b"x" for _ in range(3))
    return split(binary_input(len(data), [3], "image", "BYTES"), data, model="lite0")


def more_than_the_queue(_):
    """More images than may wait."""
    data = (struct.pack("<I", 1) + b"x") * 1000
    return split(binary_input(len(data), [1000], "image", "BYTES"), data, model="lite0")


def not_finite(numbers):
    values = np.zeros((1, SIDE, SIDE, 3), np.float32)
    values.flat[numbers.randrange(values.size)] = numbers.choice([np.nan, np.inf, -np.inf])
    return infer(values.tobytes(), ["Inference-Header-Content-Length: 0"])


def packed(data, encoding="gzip", headers=(), model="lite0:tensor"):
    return infer(data, [f"Content-Encoding: {encoding}", *headers], model)


@functools.cache
def gzip_zeros(mib):
    """So many MiB of zeros, packed, without having them in memory."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(bytes(MIB)) for _ in range(mib)), packer.flush()])


def gzip_cut(numbers):
    data = gzip_zeros(1)
    return packed(data[: numbers.randrange(1, len(data) - 1)])


def gzip_changed(numbers):
    data = bytearray(gzip_zeros(1))
    data[numbers.randrange(10, len(data))] ^= 1 << numbers.randrange(8)
    return packed(bytes(data))


JPEGS = ["photos/chelsea.jpg", "formats/progressive.jpg", "formats/cmyk.jpg", "formats/restart.jpg", "formats/grey.jpg"]
OTHERS = ["formats/rgb.png", "formats/lossy.webp", "formats/two-frames.gif", "formats/rgb.tiff", "formats/palette.bmp"]


def broken(names):
    """An image that is cut, or some of whose bytes are others."""

    def make(numbers):
        data = bytearray(photograph(numbers.choice(names)))
        if numbers.random() < 0.3:
            del data[numbers.randrange(len(data)) :]
        else:
            for _ in range(numbers.randint(1, 20)):
                data[numbers.randrange(len(data))] = numbers.randrange(256)
        return request("/v2/models/lite0/classify", bytes(data))

    return make


def large_claim(numbers):
    """A header of an image that says how large it is, with nothing behind."""
    side = numbers.choice([13_000, 65_535])
    if numbers.random() < 0.5:
        data = bytearray(photograph("formats/grey.jpg"))
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", side, side)
    else:
        data = bytearray(png(np.zeros((1, 1, 3), np.uint8)))
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return request("/v2/models/lite0/classify", bytes(data))


@functools.cache
def large_picture():
    """A picture of 4096 x 4096 pixels in 50 KB."""
    return request("/v2/models/lite0/classify", png(np.zeros((4096, 4096, 3), np.uint8)))


def odd_lengths(numbers):
    """Content-Length that is wrong, twice, or beside chunks."""
    value = numbers.choice(["-1", "x", "1e3", "18446744073709551615", "99999999999999999999", "5\r\nContent-Length: 6"])
    head = f"POST /v2/models/lite0/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {value}\r\n\r\n"
    return head.encode() + b"hello"


def short_length(_):
    """More bytes than Content-Length says: the rest is read as a request."""
    return b"POST /v2/models/lite0/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n" + bytes(5000)


def chunks(numbers):
    """Chunks that break the rules."""
    head = b"POST /v2/models/lite0/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + numbers.choice(
        [
            b"5\r\nhelloXX5\r\n",
            b"ffffffffffffffff\r\nx",
            b"fffffffffffffffff\r\nx",
            b"-1\r\nx",
            b"5;" + b"a" * 100_000 + b"\r\nhello\r\n0\r\n\r\n",
            b"1;x\r\na\r\n" * 20_000 + b"0\r\n\r\n",
            b"0\r\n" + b"".join(b"x-%d: y\r\n" % i for i in range(20_000)) + b"\r\n",
        ]
    )


def long_heads(numbers):
    kind = numbers.randrange(4)
    if kind == 0:
        return request("/v2", headers=["X: " + "a" * MIB])
    if kind == 1:
        return request("/v2", headers=[f"x-{i}: y" for i in range(10_000)])
    if kind == 2:
        return request("/" + "a" * 100_000)
    return request("/v2", method="A" * 100_000)


def odd_paths(numbers):
    path = numbers.choice(
        [
            "/v2/models/..%2f..%2f..%2fetc%2fpasswd/infer",
            "/v2/models/%00/infer",
            "/v2/models/%ff%fe/infer",
            "/v2/models/lite0:tensor:pixels/infer",
            "/v2/models//infer",
            "/v2/models/lite0/versions/99999999999999999999/infer",
            "/v2/models/" + "%25" * 2000 + "/infer",
            "/%2e%2e/%2e%2e/prediction/x",
            "/v2/repository/models/..%2flite0/unload",
        ]
    )
    return request(path, b"{}")


def repository(numbers):
    """The server has no folder of models: nothing is loaded."""
    name = numbers.choice(["lite0", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "x" * 5000, "%00"])
    return request(f"/v2/repository/models/{name}/{numbers.choice(['load', 'unload'])}", b"{}")


def odd_starts(numbers):
    """What is no request of HTTP/1.1."""
    return numbers.choice(
        [
            b"GET /\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\x00" * 100,
            b"\r\n" * 50_000 + b"x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            b"GET / HTTP/1.1\r\n folded: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
            numbers.randbytes(numbers.randint(1, 5000)) + b"\r\n\r\n",
        ]
    )


def tls_hello(numbers):
    """The begin of a handshake of TLS, cut somewhere."""
    body = b"\x03\x03" + numbers.randbytes(32) + b"\0\0\4\x13\1\x13\2\1\0\0\0"
    hello = b"\1" + struct.pack(">I", len(body))[1:] + body
    record = b"\x16\3\1" + struct.pack(">H", len(hello)) + hello
    return record[: numbers.randint(5, len(record))]


def odd_queries(numbers):
    top_k = numbers.choice(["0", "-1", "x", "", "99999999999999999999", "%00"])
    return request(f"/v2/models/lite0/classify?top_k={top_k}", photograph("formats/rgb.png"))


def odd_forms(numbers):
    field = b"--x\r\nContent-Disposition: form-data\r\n\r\nx\r\n--x--"
    body = numbers.choice([b"", b"--x", b"--x\r\n\r\n", field, bytes(5000)])
    boundary = numbers.choice(["; boundary=x", "", "; boundary=" + "b" * 5000])
    return request("/v2/models/lite0/classify", body, [f"Content-Type: multipart/form-data{boundary}"])


def odd_parameters(numbers):
    """Limits and counts at their ends; some of these are good requests."""
    parameters = numbers.choice(
        [
            {"timeout": 2**64 - 1},
            {"timeout": 2**64},
            {"timeout": -1},
            {"timeout": 1},
            {"timeout": 1.5},
            {"priority": 2**64 - 1},
            {"priority": "1"},
            {"binary_data_output": "yes"},
        ]
    )
    data = noise(1, 1).tobytes()
    head = binary_input(len(data), [1, SIDE, SIDE, 3], "pixels", "UINT8", **parameters)
    head["outputs"] = [{"name": "logits", "parameters": {"classification": numbers.choice([1, 2**63, 2**64 - 1])}}]
    return split(head, data, model="lite0:pixels")


def many_outputs(numbers):
    """One small request that asks for the same output very often."""
    data = noise(1, 1).tobytes()
    head = binary_input(len(data), [1, SIDE, SIDE, 3], "pixels", "UINT8")
    head["outputs"] = [{"name": "features"}] * numbers.choice([100, 1000])
    return split(head, data, model="lite0:pixels")


def paddle(numbers):
    body = numbers.choice([b"", b"{}", b'{"key":[],"value":["x"]}', b'{"key":["image"],"value":["!"]}', b"[" * 10_000])
    return request("/lite0/prediction", body)


def pipelined(numbers):
    return request("/v2/health/ready") * numbers.choice([2, 1000])


def great_body(_):
    """As long as a body may be, of nothing."""
    return infer(bytes(64 * MIB))


def too_great_a_body(_):
    return infer(bytes(64 * MIB + 1))


CUT = infer(bytes(4 * SIDE * SIDE * 3), ["Inference-Header-Content-Length: 0"])

EXPECTS = CUT.partition(b"\r\n\r\n")[0] + b"\r\nExpect: 100-continue\r\n\r\n"


def cut(numbers):
    """A body that breaks off."""
    return CUT[: numbers.randrange(200, len(CUT))]


CASES = [
    Case("JSON that is cut", cut_json, 400),
    Case("JSON with other bytes", changed_json, {200, 400, 503}),
    Case("deep JSON", deep_json, 400),
    Case("wide JSON", wide_json, 400),
    Case("numbers that are none", odd_numbers, 400),
    Case("levels that are none", odd_levels, 400),
    Case("shapes", odd_shapes, 400),
    Case("binary_data_size", odd_sizes, 400),
    Case("Inference-Header-Content-Length", odd_header_lengths, 400),
    Case("lengths of BYTES", odd_bytes, 400),
    Case("more images than the queue takes", more_than_the_queue, 413),
    Case("NaN and infinity", not_finite, 400),
    Case("gzip of 200 MiB of zeros", lambda _: packed(gzip_zeros(200)), 413),
    Case("gzip of gzip", lambda _: packed(zlib.compress(gzip_zeros(200), wbits=31)), 400),
    Case("gzip that is cut", gzip_cut, 400),
    Case("gzip with another bit", gzip_changed, 400),
    Case("deflate of noise", lambda numbers: packed(numbers.randbytes(5000), "deflate"), 400),
    Case("another encoding", lambda numbers: packed(numbers.randbytes(5000), "br"), 501),
    Case("broken JPEGs", broken(JPEGS), {200, 400}),
    Case("other broken images", broken(OTHERS), {200, 400}),
    Case("images that claim to be large", large_claim, 400),
    Case("a picture of 4096 x 4096", lambda _: large_picture(), 200),
    Case("no image", lambda numbers: request("/v2/models/lite0/classify", numbers.randbytes(2000)), 400),
    Case("Content-Length", odd_lengths, {400, 413, 431} | ENDS, HALF),
    Case("Content-Length that is short", short_length, 400),
    Case("chunks", chunks, {400, 413, 431} | ENDS, HALF),
    Case("a body that breaks off in good order", cut, {400} | ENDS, HALF),
    Case("a body that breaks off by a reset", cut, "left", RESET),
    Case("a request that is left", lambda _: CUT, "left", LEAVE),
    Case("a request that is reset", lambda _: CUT, "left", RESET),
    Case("long heads", long_heads, {400, 404, 405, 414, 431} | ENDS),
    Case("paths", odd_paths, {400, 404, 405}),
    Case("the repository's routes", repository, {400, 404}),
    Case("what is no request", odd_starts, {400, 404, 414, 431, 505} | ENDS, HALF),
    Case("a hello of TLS", tls_hello, {400} | ENDS, HALF),
    Case("a hello of TLS, then a reset", tls_hello, "left", RESET),
    Case("top_k", odd_queries, {200, 400}),
    Case("forms", odd_forms, 400),
    Case("parameters", odd_parameters, {200, 400, 503}),
    Case("one output very often", many_outputs, {200, 400}),
    Case("Paddle Serving's form", paddle, 200),
    Case("pipelined requests", pipelined, 200),
    Case("pipelined requests, then a reset", pipelined, "left", RESET),
    Case("a wait for 100 Continue, then a reset", lambda _: EXPECTS, "left", RESET),
    Case("an upgrade", lambda _: request("/v2", headers=["Connection: upgrade", "Upgrade: h2c"]), {200, 400, 426}),
    Case("the longest body", great_body, 400),
    Case("too long a body", too_great_a_body, 413),
]
# These cost the server much, and come in one round of so many.
SELDOM = {"the longest body": 8, "too long a body": 8, "a picture of 4096 x 4096": 2, "gzip of 200 MiB of zeros": 2}


class Results:
    """What came of the cases of all threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = collections.defaultdict(collections.Counter)
        self.faults = collections.Counter()

    def add(self, name, outcome, allowed=None):
        with self.lock:
            self.counts[name][str(outcome)] += 1
            if allowed is not None and outcome not in allowed:
                self.faults[f"{name}: {outcome}"] += 1


def attack(cases, address, end, numbers, results):
    """All cases in turn until the end."""
    round_number = 0
    while time.perf_counter() < end:
        for case in numbers.sample(cases, len(cases)):
            if time.perf_counter() >= end:
                return
            if round_number % SELDOM.get(case.name, 1):
                continue
            try:
                results.add(case.name, case.play(address, numbers), case.allowed)
            except ConnectionRefusedError:
                results.add(case.name, "refused", set())
                time.sleep(1.0)
            except OSError as error:
                results.add(case.name, f"{type(error).__name__}", set())
            time.sleep(PAUSE_S)
        round_number += 1


def main():
    http, grpc, seconds, seed = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    end = time.perf_counter() + seconds
    results = Results()
    lives = slow.Lives(("127.0.0.1", http), ("127.0.0.1", grpc), end)
    work = [
        (attack, CASES, ("127.0.0.1", http), end, random.Random(f"{seed} http"), results),
        (attack, GRPC_CASES, ("127.0.0.1", grpc), end, random.Random(f"{seed} grpc"), results),
        (lives.run,),
    ]
    threads = [threading.Thread(target=target, args=args) for target, *args in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump({"counts": results.counts, "faults": results.faults, "slow": lives.told()}, sys.stdout)


if __name__ == "__main__":
    main()
