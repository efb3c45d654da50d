"""Good requests, each with the answer that it has to have."""

import base64
import gzip
import json
import pathlib
import struct
import subprocess
import tempfile
import zlib

import numpy as np

import frames
from client import Connection, request

SIDE = 224
CLASSES = 1000
IMAGES = pathlib.Path(__file__).parent.parent / "fixtures" / "images"


def png(pixels):
    """An [h, w, 3] image as a PNG."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    h, w, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def photograph(name):
    """The bytes of a photograph among the project's fixtures."""
    return (IMAGES / name).read_bytes()


def noise(n, seed):
    """Random levels, [n, h, w, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8)


def logits_of_run(effnet, weights, array):
    """Logits of `effnet run` for levels or normalised values, as bytes for each image."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = pathlib.Path(folder, "x.npy"), pathlib.Path(folder, "logits.npy")
        np.save(given, array)
        command = [effnet, "run", given, "--weights", weights, "--device", "cpu", "--batch", "4", "-o", out]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return [row.astype("<f4").tobytes() for row in np.load(out)]


def raw(model, body):
    """One image as the body."""
    return request(f"/v2/models/{model}/infer", body, ["Inference-Header-Content-Length: 0"])


def tensor(model, name, array, parameters=None, outputs=("logits",), packed=False):
    """A tensor as binary data behind JSON."""
    datatype = {"uint8": "UINT8", "float32": "FP32"}[str(array.dtype)]
    data = array.tobytes()
    head = {
        "parameters": {"binary_data_output": True, **(parameters or {})},
        "inputs": [
            {
                "name": name,
                "datatype": datatype,
                "shape": list(array.shape),
                "parameters": {"binary_data_size": len(data)},
            }
        ],
        "outputs": [{"name": output} for output in outputs],
    }
    text = json.dumps(head).encode()
    headers, body = [f"Inference-Header-Content-Length: {len(text)}"], text + data
    if packed:
        headers, body = [*headers, "Content-Encoding: gzip"], gzip.compress(body, 1)
    return request(f"/v2/models/{model}/infer", body, headers)


def binary(answer):
    """What follows the JSON of an answer."""
    return answer.body[int(answer.header(b"inference-header-content-length")) :]


def pixels_ask(n=1, seed=1):
    """Levels of `n` images, of which the logits alone are asked for."""
    return tensor("lite0:pixels", "pixels", noise(n, seed))


class Wrong(Exception):
    """An answer is not the expected one."""


class Ask:
    """A good request by HTTP, whose answer is the same each time, byte for byte."""

    def __init__(self, name, data, logits=None):
        self.name, self.data, self.logits = name, data, logits
        self.expected = None

    def learn(self, connection):
        """Takes the first answer for the expected one, once its logits are those of `effnet run`."""
        answer = connection.ask(self.data)
        if answer.status != 200:
            raise Wrong(f"{self.name}: status {answer.status}: {answer.body[:200]!r}")
        if self.logits is not None and not binary(answer).startswith(self.logits):
            raise Wrong(f"{self.name}: the logits are not those of effnet run")
        self.expected = answer.body

    def is_right(self, answer):
        return answer.status == 200 and answer.body == self.expected

    def connection(self, server):
        return Connection(server.http)


class GrpcAsk:
    """A good request by gRPC."""

    def __init__(self, name, message, logits):
        self.name, self.data, self.logits = name, message, logits
        self.expected = None

    def learn(self, connection):
        answer = connection.ask(self.data)
        if self.logits not in answer.body:
            raise Wrong(f"{self.name}: the logits are not those of effnet run")
        self.expected = answer.body

    def is_right(self, answer):
        return answer.body == self.expected

    def connection(self, server):
        return frames.Connection(server.grpc)


def good(effnet, weights):
    """One request of each form, learned nowhere yet."""
    levels = noise(6, 1)
    values = np.random.default_rng(2).standard_normal((2, SIDE, SIDE, 3)).astype(np.float32)
    # Few different levels, so that it packs well.
    plain = noise(2, 3) // 64 * 64
    of_levels, of_values, of_plain = (logits_of_run(effnet, weights, array) for array in [levels, values, plain])
    photo = photograph("photos/chelsea.jpg")
    text = base64.b64encode(photograph("formats/rgb.png")).decode()
    as_json = {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}]}
    of_paddle = {"key": ["image"], "value": [text]}
    return [
        Ask("one image of pixels, raw", raw("lite0:pixels", levels[:1].tobytes()), of_levels[0]),
        Ask("six images of pixels", tensor("lite0:pixels", "pixels", levels), b"".join(of_levels)),
        Ask("one tensor, raw", raw("lite0:tensor", values[:1].tobytes()), of_values[0]),
        Ask("two tensors", tensor("lite0:tensor", "input", values), b"".join(of_values)),
        Ask("pixels in gzip", tensor("lite0:pixels", "pixels", plain, packed=True), b"".join(of_plain)),
        Ask("a JPEG to classify", request("/v2/models/lite0/classify", photo)),
        Ask("a PNG, raw", raw("lite0", photograph("formats/rgb.png"))),
        Ask("a PNG of its own size to classify", request("/v2/models/lite0/classify?top_k=3", png(levels[0]))),
        Ask("a PNG in JSON", request("/v2/models/lite0/infer", json.dumps(as_json).encode())),
        Ask("Paddle Serving's form", request("/lite0/prediction", json.dumps(of_paddle).encode())),
        GrpcAsk("two tensors by gRPC", frames.infer("lite0:tensor", "input", "FP32", values), b"".join(of_values)),
    ]
