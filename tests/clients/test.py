"""The clients that people have, unmodified, against `effnet serve`.

    python test.py EFFNET WEIGHTS_FOLDER

The folder has lite0.safetensors, packed weights of 1000 classes. Every answer is compared with what
`effnet run` gives for the same tensor, byte for byte. Needs tritonclient, kserve and numpy.
"""

import asyncio
import base64
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

SIDE = 224


def png(pixels):
    """An [h, w, 3] image as a PNG."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    h, w, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Server:
    def __init__(self, effnet, weights, *options):
        environment = {**os.environ, "EFFNET_WEIGHTS_DIR": str(weights)}
        command = [effnet, "serve", "--model", "lite0", "--device", "cpu", "--batch", "4", "--http", "127.0.0.1:0"]
        self.process = subprocess.Popen([*command, *options], env=environment, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        found = re.search(r"http://(\S+?:\d+)", line)
        assert found, f"no address in {line!r}"
        self.address = found.group(1)

    def url(self, path):
        return f"http://{self.address}{path}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def expected(effnet, weights, tensor):
    """Logits of `effnet run` for a normalised tensor."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "x.npy"), tensor)
        out = Path(folder, "logits.npy")
        command = [effnet, "run", str(Path(folder, "x.npy")), "--weights", str(Path(weights, "lite0.safetensors"))]
        subprocess.run([*command, "--device", "cpu", "--batch", "4", "-o", str(out)], check=True, stdout=subprocess.DEVNULL)
        return np.load(out)


def with_triton(server, tensor, pixels, of_pixels, logits):
    client = triton.InferenceServerClient(server.address)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("lite0")
    assert client.get_server_metadata()["name"] == "effnet"
    assert client.get_model_metadata("lite0:tensor")["inputs"][0]["shape"] == [-1, SIDE, SIDE, 3]
    assert client.get_model_config("lite0")["max_batch_size"] == 4
    assert {"name": "lite0", "version": "1", "state": "READY", "reason": ""} in client.get_model_repository_index()

    def given(name, kind, array, binary=True):
        value = triton.InferInput(name, list(array.shape), kind)
        value.set_data_from_numpy(array, binary_data=binary)
        return [value]

    for binary in [True, False]:
        wanted = [triton.InferRequestedOutput("logits", binary_data=binary)]
        answer = client.infer("lite0:tensor", given("input", "FP32", tensor, binary), outputs=wanted, request_id="7")
        assert np.array_equal(answer.as_numpy("logits"), logits), "tensor"
        assert answer.get_response()["id"] == "7"
    for packed in ["gzip", "deflate"]:
        answer = client.infer(
            "lite0:tensor", given("input", "FP32", tensor), request_compression_algorithm=packed, priority=1
        )
        assert np.array_equal(answer.as_numpy("logits"), logits), packed
    levels = client.infer("lite0:pixels", given("pixels", "UINT8", pixels)).as_numpy("logits")
    assert np.array_equal(levels, of_pixels), "pixels"

    images = np.array([[png(image)] for image in pixels], dtype=np.object_)
    best = [triton.InferRequestedOutput("probabilities", class_count=3), triton.InferRequestedOutput("features")]
    answer = client.infer("lite0", given("image", "BYTES", images), outputs=best)
    classes = answer.as_numpy("probabilities")
    assert classes.shape == (len(pixels), 3) and answer.as_numpy("features").shape == (len(pixels), 1280)
    value, index, label = classes[0][0].decode().split(":", 2)
    assert 0 < float(value) <= 1 and 0 <= int(index) < 1000 and label, classes[0][0]

    pending = [client.async_infer("lite0:tensor", given("input", "FP32", tensor)) for _ in range(8)]
    assert all(np.array_equal(one.get_result().as_numpy("logits"), logits) for one in pending)

    for name, kind, array, told in [
        ("input", "FP32", np.full((1, SIDE, SIDE, 3), np.nan, np.float32), "expected finite numbers"),
        ("input", "FP32", np.zeros((1, 3, SIDE, SIDE), np.float32), "expected [n, 224, 224, 3]"),
    ]:
        try:
            client.infer("lite0:tensor", given(name, kind, array))
            raise AssertionError(f"{told}: answered")
        except InferenceServerException as error:
            assert error.status() == "400" and told in error.message(), error
    statistics = client.get_inference_statistics("lite0")["model_stats"][0]
    assert statistics["inference_count"] > 0 and statistics["inference_stats"]["success"]["count"] > 0
    client.close()


def with_kserve(server, tensor, logits):
    from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

    async def ask():
        client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=30))
        base = server.url("")
        assert await client.is_server_live(base) and await client.is_server_ready(base)
        assert await client.is_model_ready(base, "lite0")
        value = InferInput("input", list(tensor.shape), "FP32")
        value.set_data_from_numpy(tensor, binary_data=True)
        answer = await client.infer(base, InferRequest("lite0:tensor", [value]), model_name="lite0:tensor")
        found = next(output for output in answer.outputs if output.name == "logits")
        assert np.array_equal(found.as_numpy().reshape(logits.shape), logits)

    asyncio.run(ask())


def with_paddle(server, pixels):
    """As PaddleClas's pipeline_http_client.py asks."""
    data = {"key": ["image"], "value": [base64.b64encode(png(pixels[0])).decode("utf8")]}
    request = urllib.request.Request(server.url("/lite0/prediction"), data=json.dumps(data).encode())
    answer = json.load(urllib.request.urlopen(request))
    assert answer["err_no"] == 0 and answer["key"] == ["label", "prob"], answer
    assert 0 < json.loads(answer["value"][1])[0] <= 1, answer


def with_curl(server, pixels):
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(png(pixels[0]))
        file.flush()
        command = ["curl", "-sS", "--fail", "--data-binary", f"@{file.name}"]
        answer = subprocess.run([*command, server.url("/v2/models/lite0/classify?top_k=1")], check=True, capture_output=True)
        assert len(json.loads(answer.stdout)["results"][0]) == 1
        raw = [*command, "-H", "Inference-Header-Content-Length: 0", server.url("/v2/models/lite0/infer")]
        answer = subprocess.run(raw, check=True, capture_output=True).stdout
        assert len(answer) > 2 * 4 * 1000


def stops(effnet, weights):
    """SIGTERM: not ready at once, answers go on, exit status 0."""
    with Server(effnet, weights, "--drain-delay", "1") as server:
        server.process.send_signal(signal.SIGTERM)
        while True:
            try:
                urllib.request.urlopen(server.url("/v2/health/ready"))
            except urllib.error.HTTPError as error:
                assert error.code == 503
                break
        assert urllib.request.urlopen(server.url("/v2/health/live")).status == 200
        assert server.process.wait(timeout=60) == 0


def main():
    effnet, weights = sys.argv[1:]
    numbers = np.random.default_rng(0)
    pixels = numbers.integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)
    tensor = (pixels.astype(np.float32) / np.float32(255) - np.float32(127 / 255)) / np.float32(128 / 255)
    # The recipe's normalisation of the levels may differ from this one in its last bit.
    logits = expected(effnet, weights, pixels)
    of_tensor = expected(effnet, weights, tensor)
    with Server(effnet, weights) as server:
        with_triton(server, tensor, pixels, logits, of_tensor)
        with_kserve(server, tensor, of_tensor)
        with_paddle(server, pixels)
        with_curl(server, pixels)
    stops(effnet, weights)
    print("tritonclient, kserve, Paddle Serving's pipeline and curl: as expected")


if __name__ == "__main__":
    main()
