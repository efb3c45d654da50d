"""A server under test, what it is asked, and the answers that it has to give."""

import collections
import json
import os
import re
import struct
import subprocess
import tempfile
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIDE = 224
CLASSES = 1000
# Eight images of FP32 are longer than the 4 MiB that many gRPC servers take at most.
IMAGES = 8
# A request of so many microseconds, or seconds, is late on every machine.
LATE_US = 1000
LATE_S = 0.001


class LeftOut(Exception):
    """A part cannot run on this machine; the text says what is missing."""


def png(pixels):
    """An [h, w, 3] image as a PNG."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    h, w, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def same(found, expected, what):
    """Datatype, shape and every byte of `found` are those of `expected`."""
    found = np.asarray(found)
    assert found.dtype == expected.dtype, f"{what}: {found.dtype}, expected {expected.dtype}"
    assert found.shape == expected.shape, f"{what}: {found.shape}, expected {expected.shape}"
    different = np.count_nonzero(found != expected)
    assert found.tobytes() == expected.tobytes(), f"{what}: {different} of {expected.size} elements differ"


class Server:
    """`effnet serve` on ports that the system chooses. The server ends with the block, or after `limit_s`."""

    def __init__(self, effnet, *options, limit_s=240):
        addresses = ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
        command = [effnet, "serve", "--device", "cpu", "--batch", "4", *addresses, *map(str, options)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        self.limit_s = limit_s
        self.timer = threading.Timer(limit_s, self.process.kill)
        self.timer.daemon = True
        self.timer.start()
        self.said = collections.deque(maxlen=40)
        try:
            self.scheme, self.http, self.grpc = self._addresses()
        except BaseException:
            self._end()
            raise
        # A server whose pipe is full would wait for somebody to read it.
        self.reader = threading.Thread(target=self.said.extend, args=[self.process.stderr], daemon=True)
        self.reader.start()

    def _addresses(self):
        for line in self.process.stderr:
            self.said.append(line)
            found = re.match(r"serving (https?)://(\S+), grpc (\S+), ready after \d+ ms$", line)
            if found:
                return found.groups()
        raise AssertionError(f"the server named no addresses, and said: {''.join(self.said)}")

    def _end(self):
        self.timer.cancel()
        self.process.kill()
        self.process.wait()

    def url(self, path):
        """A path of the server's as a URL."""
        return f"{self.scheme}://{self.http}{path}"

    def __enter__(self):
        return self

    def __exit__(self, fault, *_):
        is_late = not self.timer.is_alive()
        self._end()
        self.reader.join()
        self.process.stderr.close()
        if fault is not None and fault is not LeftOut:
            late = f" It was ended after {self.limit_s} s." if is_late else ""
            print(f"The server said:{late}\n{''.join(self.said)}", flush=True)


@dataclass
class Given:
    """The program, its weights, images in three forms, and what `effnet` gives for each without a server.

    The recipe's normalisation of `pixels` may differ from that of `tensor` in its last bit, and encoded images
    are resized: each form has logits of its own.
    """

    effnet: str
    weights: Path
    pixels: np.ndarray
    of_pixels: np.ndarray
    tensor: np.ndarray
    of_tensor: np.ndarray
    encoded: np.ndarray
    of_encoded: np.ndarray
    probabilities_of_encoded: np.ndarray

    def serve(self, *options, **more):
        """A server of lite0."""
        return Server(self.effnet, "--weights", self.weights, *options, **more)


def given(effnet, weights):
    """Random images, and the answers that the program `effnet` gives for them on the CPU."""
    weights = Path(weights, "lite0.safetensors").absolute()
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE, 3), dtype=np.uint8)
    tensor = (pixels.astype(np.float32) / np.float32(255) - np.float32(127 / 255)) / np.float32(128 / 255)
    images = [png(image) for image in pixels]
    of_encoded, probabilities = _classified(effnet, weights, images)
    return Given(
        effnet=os.path.abspath(effnet),
        weights=weights,
        pixels=pixels,
        of_pixels=_logits(effnet, weights, pixels),
        tensor=tensor,
        of_tensor=_logits(effnet, weights, tensor),
        encoded=np.array([[image] for image in images], dtype=np.object_),
        of_encoded=of_encoded,
        probabilities_of_encoded=probabilities,
    )


def _logits(effnet, weights, tensor):
    """Logits of `effnet run` for a tensor of levels, or of values that the network takes."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "x.npy"), Path(folder, "logits.npy")
        np.save(source, tensor)
        command = [effnet, "run", source, "--weights", weights, "--device", "cpu", "--batch", "4", "--quiet", "-o", out]
        subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)
        return np.load(out)


def _classified(effnet, weights, images):
    """Logits and probabilities of `effnet classify` for encoded images."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{index}.png") for index in range(len(images))]
        for path, image in zip(paths, images):
            path.write_bytes(image)
        command = [effnet, "classify", *paths, "--json", "--topk", str(CLASSES), "--weights", weights]
        command += ["--device", "cpu", "--batch", "4", "--quiet"]
        told = subprocess.run(command, check=True, timeout=120, stdout=subprocess.PIPE, text=True).stdout
    found = np.zeros((2, len(images), CLASSES), np.float32)
    for image, line in enumerate(told.splitlines()):
        for best in json.loads(line)["top"]:
            found[:, image, best["index"]] = best["logit"], best["probability"]
    return found
