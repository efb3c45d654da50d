"""Both of KServe's clients, by HTTP and by gRPC.

kserve and tritonclient both bring messages of the package `inference`, and one process takes those of one
alone: this file runs itself in a process of its own.
"""

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from server import same

LIMIT_S = 120


def rest(given):
    """kserve's InferenceRESTClient: health, a tensor as JSON and as binary data, an unknown model."""
    _in_a_process(given, "rest")


def grpc(given):
    """kserve's InferenceGRPCClient: health, a tensor raw and as numbers, pixels, images, an unknown model."""
    _in_a_process(given, "grpc")


def _in_a_process(given, which):
    with given.serve() as server, tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder, "arrays.npz")
        named = {name: value for name, value in vars(given).items() if isinstance(value, np.ndarray)}
        encoded = {f"image_{at}": np.frombuffer(image, np.uint8) for at, image in enumerate(named.pop("encoded")[:, 0])}
        np.savez(arrays, **named, **encoded)
        address = server.url("") if which == "rest" else server.grpc
        command = [sys.executable, "-B", __file__, which, address, arrays]
        told = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S)
        assert told.returncode == 0, told.stdout


def _requests(arrays):
    """For each way to give an input: what it is, the request, and the logits of the answer."""
    from kserve import InferInput, InferRequest

    images = [arrays[f"image_{at}"].tobytes() for at in range(len(arrays["of_encoded"]))]
    images = np.array([[image] for image in images], dtype=np.object_)
    for what, name, datatype, array, binary, expected in [
        ("lite0:tensor", "input", "FP32", arrays["tensor"], True, arrays["of_tensor"]),
        ("lite0:tensor", "input", "FP32", arrays["tensor"][:1], False, arrays["of_tensor"][:1]),
        ("lite0:pixels", "pixels", "UINT8", arrays["pixels"], True, arrays["of_pixels"]),
        ("lite0", "image", "BYTES", images, True, arrays["of_encoded"]),
    ]:
        value = InferInput(name, list(array.shape), datatype)
        value.set_data_from_numpy(array, binary_data=binary)
        yield f"{what}, binary_data={binary}", InferRequest(what, [value]), expected


def _has_logits(answer, expected, what):
    (found,) = [output for output in answer.outputs if output.name == "logits"]
    # JSON's numbers are read as f64, and are those of f32.
    same(found.as_numpy().astype(np.float32).reshape(expected.shape), expected, what)


async def _rest(base, arrays):
    from httpx import HTTPStatusError
    from kserve import InferenceRESTClient, RESTConfig

    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))
    assert await client.is_server_live(base) and await client.is_server_ready(base)
    assert await client.is_model_ready(base, "lite0")
    for what, request, expected in _requests(arrays):
        _has_logits(await client.infer(base, request, model_name=request.model_name), expected, what)
    try:
        answer = await client.infer(base, request, model_name="nobody")
    except HTTPStatusError as error:
        assert error.response.status_code == 404, error
    else:
        raise AssertionError(f"an unknown model answered: {answer}")
    await client.close()


async def _grpc(address, arrays):
    from grpc import RpcError, StatusCode
    from kserve import InferenceGRPCClient

    async with InferenceGRPCClient(address, timeout=60) as client:
        assert await client.is_server_live() and await client.is_server_ready()
        assert await client.is_model_ready("lite0") and await client.is_model_ready("lite0:tensor")
        for what, request, expected in _requests(arrays):
            _has_logits(await client.infer(request), expected, what)
        request.model_name = "nobody"
        try:
            answer = await client.infer(request)
        except RpcError as error:
            assert error.code() == StatusCode.NOT_FOUND, error
        else:
            raise AssertionError(f"an unknown model answered: {answer}")


if __name__ == "__main__":
    which, address, arrays = sys.argv[1:]
    ask = {"rest": _rest, "grpc": _grpc}[which]
    asyncio.run(asyncio.wait_for(ask(address, np.load(arrays)), LIMIT_S))
