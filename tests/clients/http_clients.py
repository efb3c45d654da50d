"""Clients by HTTP: both of tritonclient's, a request of Paddle Serving's pipeline, and curl."""

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from requests_of_triton import (
    FULL_NAMES, best_classes, has_logits, is_refused, is_refused_later, one_input, requests,
)
from server import CLASSES, IMAGES, LATE_US, SIDE, LeftOut, png


def tritonclient(given):
    """tritonclient.http: what is served, tensors, images, classes, compression, several at once, refusals."""
    with given.serve() as server, triton.InferenceServerClient(server.http, concurrency=4) as client:
        _describes(client)
        _answers(client, given)
        _refuses(client, given)


def _describes(client):
    assert client.is_server_live() and client.is_server_ready()
    assert all(client.is_model_ready(name, version) for name in FULL_NAMES for version in ["", "1"])
    assert not client.is_model_ready("nobody") and not client.is_model_ready("lite0", "2")
    metadata = client.get_server_metadata()
    assert metadata["name"] == "effnet" and "binary_tensor_data" in metadata["extensions"], metadata
    metadata = client.get_model_metadata("lite0:tensor")
    assert metadata["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, SIDE, SIDE, 3]}], metadata
    assert [output["name"] for output in metadata["outputs"]] == ["logits", "probabilities", "features"], metadata
    config = client.get_model_config("lite0", "1")
    assert config["max_batch_size"] == 4, config
    assert config["input"] == [{"name": "image", "data_type": "TYPE_STRING", "dims": [1]}], config
    index = client.get_model_repository_index()
    assert index == [{"name": name, "version": "1", "state": "READY", "reason": ""} for name in FULL_NAMES], index


def _answers(client, given):
    before = client.get_inference_statistics("lite0")["model_stats"][0]
    for name, inputs, expected in requests(triton, given):
        has_logits(client.infer(name, inputs), expected, name)
    after = client.get_inference_statistics("lite0")["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == 3 * IMAGES, after
    counts = [all_of["inference_stats"]["success"]["count"] for all_of in [before, after]]
    assert counts[1] - counts[0] == 3, after

    def tensor(**more):
        return one_input(triton, "input", "FP32", given.tensor, **more)

    for binary in [True, False]:
        outputs = [triton.InferRequestedOutput("logits", binary_data=binary)]
        answer = client.infer("lite0:tensor", tensor(binary_data=binary), outputs=outputs, request_id="7")
        has_logits(answer, given.of_tensor, f"binary_data={binary}")
        assert answer.get_response()["id"] == "7"
    for packing in ["gzip", "deflate"]:
        answer = client.infer("lite0:tensor", tensor(), request_compression_algorithm=packing, priority=1)
        has_logits(answer, given.of_tensor, packing)
    outputs = [triton.InferRequestedOutput("probabilities", class_count=3), triton.InferRequestedOutput("features")]
    answer = client.infer("lite0", one_input(triton, "image", "BYTES", given.encoded), outputs=outputs)
    best_classes(answer.as_numpy("probabilities"), given.probabilities_of_encoded)
    assert answer.as_numpy("features").shape == (IMAGES, 1280)
    pending = [client.async_infer("lite0:tensor", tensor(), timeout=60_000_000) for _ in range(8)]
    for one in pending:
        has_logits(one.get_result(timeout=60), given.of_tensor, "async_infer")


def _refuses(client, given):
    def infer(name, *value, **more):
        return lambda: client.infer(name, one_input(triton, *value), **more)

    tensor = ["input", "FP32", given.tensor]
    broken = np.array([[png(given.pixels[0])], [b"no image"]], dtype=np.object_)
    nan = np.full((1, SIDE, SIDE, 3), np.nan, np.float32)
    none_best = [triton.InferRequestedOutput("logits", class_count=1001), triton.InferRequestedOutput("nothing")]
    for call, status, words in [
        (infer("lite0:tensor", "input", "FP32", nan), 400, "expected finite numbers"),
        (infer("lite0:tensor", "input", "FP32", nan[:, :3]), 400, "expected [n, 224, 224, 3]"),
        (infer("lite0:tensor", "x", "FP32", given.tensor), 400, "expected 'input'"),
        (infer("lite0:pixels", "pixels", "FP32", given.tensor), 400, "expected UINT8"),
        (infer("lite0:tensor", *tensor, outputs=none_best), 400, "output 'nothing' is unknown"),
        (infer("lite0", "image", "BYTES", broken), 400, "image 1 of 2"),
        (infer("nobody", *tensor), 404, "no model 'nobody'"),
        (infer("lite0:tensor", *tensor, model_version="2"), 404, "no version '2'"),
        (infer("lite0:tensor", *tensor, timeout=LATE_US), 503, "no answer within 1 ms"),
        (lambda: client.get_model_config("nobody"), 404, "no model 'nobody'"),
        (lambda: client.register_system_shared_memory("x", "/x", 16), 404, "no path"),
        (lambda: client.load_model("lite0"), 400, "--models"),
    ]:
        is_refused(call, str(status), words)


def tritonclient_aio(given):
    """tritonclient.http.aio: what is served, several requests at once, compression, refusals."""
    with given.serve() as server:
        asyncio.run(asyncio.wait_for(_aio(server, given), 120))


async def _aio(server, given):
    async with triton_aio.InferenceServerClient(server.http) as client:
        assert await client.is_server_live() and await client.is_server_ready()
        assert await client.is_model_ready("lite0") and not await client.is_model_ready("nobody")
        assert (await client.get_server_metadata())["name"] == "effnet"
        assert (await client.get_model_metadata("lite0"))["inputs"][0]["datatype"] == "BYTES"
        assert (await client.get_model_config("lite0"))["max_batch_size"] == 4
        assert len(await client.get_model_repository_index()) == len(FULL_NAMES)
        asked = requests(triton_aio, given)
        answers = await asyncio.gather(*(client.infer(name, inputs) for name, inputs, _ in 3 * asked))
        for answer, (name, _, expected) in zip(answers, 3 * asked, strict=True):
            has_logits(answer, expected, name)
        inputs = one_input(triton_aio, "input", "FP32", given.tensor)
        packings = {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"}
        has_logits(await client.infer("lite0:tensor", inputs, **packings), given.of_tensor, "gzip")
        statistics = await client.get_inference_statistics("lite0")
        assert statistics["model_stats"][0]["inference_count"] == 10 * IMAGES, statistics
        await is_refused_later(client.infer("nobody", inputs), "404", "no model 'nobody'")
        await is_refused_later(client.infer("lite0:tensor", inputs, timeout=LATE_US), "503", "no answer within 1 ms")


def long_refusals(given):
    """A request of 5 MB that is refused for what its head says finds the answer, and no broken connection.

    Many clients look for an answer only when they have sent all of the body.
    """
    body = bytes(5_000_000)
    with tempfile.NamedTemporaryFile("w") as keys:
        keys.write("key")
        keys.flush()
        with given.serve("--api-key-file", keys.name) as server:
            faults = []
            for path, headers, status in [
                ("/v2/models/nobody/infer", {}, 404),
                ("/nobody", {}, 404),
                ("/v2/models/lite0", {}, 405),
                ("/v2/models/lite0/infer", {"Content-Encoding": "br"}, 501),
                ("/v2/models/lite0/classify?top_k=0", {}, 400),
                ("/v2/models/lite0/infer", {"Authorization": "Bearer nobody"}, 401),
            ]:
                headers = {"Authorization": "Bearer key", **headers}
                request = urllib.request.Request(server.url(path), data=body, headers=headers)
                found = _status(request)
                if found != status:
                    faults.append(f"POST {path} {headers}: {found}, expected {status}")
            assert not faults, "\n".join(faults)


def _status(request):
    """The status of an answer, or the fault where there is none."""
    try:
        return urllib.request.urlopen(request, timeout=60).status
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError as error:
        return str(error)


def paddle(given):
    """A request as PaddleClas's pipeline_http_client.py makes it."""
    image = given.encoded[0, 0]
    data = {"key": ["image"], "value": [base64.b64encode(image).decode("utf8")]}
    with given.serve() as server:
        request = urllib.request.Request(server.url("/lite0/prediction"), data=json.dumps(data).encode())
        answer = json.load(urllib.request.urlopen(request, timeout=60))
    assert answer["err_no"] == 0 and answer["key"] == ["label", "prob"], answer
    best = given.probabilities_of_encoded[0].max()
    assert np.float32(json.loads(answer["value"][1])[0]) == best, f"{answer}, expected {best}"


def curl_run(*options):
    """How curl with these options ends, and what it prints."""
    if shutil.which("curl") is None:
        raise LeftOut("curl is not installed (Debian: curl)")
    command = ["curl", "--silent", "--show-error", "--max-time", "60", *map(str, options)]
    return subprocess.run(command, capture_output=True, timeout=90)


def curl_command(*options):
    """The output of curl with these options."""
    ended = curl_run(*options)
    assert ended.returncode == 0, f"curl {options}: {ended.stderr.decode()}"
    return ended.stdout


def curl(given):
    """curl with an image as the body, as the raw input of the protocol, and as files of a form."""
    with given.serve() as server, tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ["cat.png", "dog.png"]]
        for file, image in zip(files, given.encoded[:, 0]):
            file.write_bytes(image)
        classify = server.url("/v2/models/lite0/classify?top_k=1")
        body = f"@{files[0]}"
        _classified(curl_command("--fail", "--data-binary", body, classify), given, 1)
        _classified(curl_command("--fail", "-F", f"image={body}", classify), given, 1)
        form = ["-F", f"image={body}", "-F", f"image=@{files[1]};type=image/png"]
        _classified(curl_command("--fail", *form, classify), given, 2)
        raw = ["--data-binary", body, "-H", "Inference-Header-Content-Length: 0"]
        answer = curl_command("--fail", *raw, server.url("/v2/models/lite0/infer"))
        tensors = np.frombuffer(answer[-2 * 4 * CLASSES :], np.float32).reshape(2, CLASSES)
        assert tensors[0].tobytes() == given.of_encoded[0].tobytes(), "raw body: logits differ"
        status = ["--output", Path(folder, "answer"), "--write-out", "%{http_code}"]
        assert curl_command(*status, "-F", "image=text", classify) == b"400", "a form without files"


def _classified(answer, given, images):
    results = json.loads(answer)["results"]
    assert len(results) == images, results
    for (best,), expected in zip(results, given.of_encoded):
        found = (best["class"], np.float32(best["logit"]))
        assert found == (expected.argmax(), expected.max()), best
