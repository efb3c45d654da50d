"""Both of tritonclient's clients by gRPC."""

import asyncio
import queue
import struct
import tempfile
from functools import partial

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from http_clients import curl_command
from requests_of_triton import (
    FULL_NAMES, best_classes, has_logits, is_refused, is_refused_later, one_input, requests,
)
from server import CLASSES, IMAGES, LATE_S, LATE_US, SIDE, LeftOut, png

WAIT_S = 60


def tritonclient(given):
    """tritonclient.grpc: what is served, tensors, images, classes, compression, several at once, refusals."""
    with given.serve() as server, triton.InferenceServerClient(server.grpc) as client:
        _describes(client)
        _answers(client, given)
        _answers_later(client, given)
        _refuses(client, given)
        _has_no_streams(client)
        _is_late(client, given)
    with given.serve("--max-body", "1MiB") as server, triton.InferenceServerClient(server.grpc) as client:
        inputs = one_input(triton, "input", "FP32", given.tensor)
        for more in [{}, {"compression_algorithm": "gzip"}]:
            call = partial(client.infer, "lite0:tensor", inputs, client_timeout=WAIT_S, **more)
            is_refused(call, "StatusCode.RESOURCE_EXHAUSTED", "1048576 bytes")


def _describes(client):
    assert client.is_server_live(client_timeout=WAIT_S) and client.is_server_ready()
    assert all(client.is_model_ready(name, version) for name in FULL_NAMES for version in ["", "1"])
    metadata = client.get_server_metadata()
    assert metadata.name == "effnet" and "statistics" in metadata.extensions, metadata
    for name, tensor in [
        ("lite0", ("image", "BYTES", [-1, 1])),
        ("lite0:pixels", ("pixels", "UINT8", [-1, SIDE, SIDE, 3])),
        ("lite0:tensor", ("input", "FP32", [-1, SIDE, SIDE, 3])),
    ]:
        metadata = client.get_model_metadata(name, "1")
        assert (metadata.name, list(metadata.versions), metadata.platform) == (name, ["1"], "effnet"), metadata
        assert [_tensor(one) for one in metadata.inputs] == [tensor], metadata
        outputs = [("logits", CLASSES), ("probabilities", CLASSES), ("features", 1280)]
        outputs = [(output, "FP32", [-1, elements]) for output, elements in outputs]
        assert [_tensor(one) for one in metadata.outputs] == outputs, metadata
    for name, data_type, dims in [
        ("lite0", "TYPE_STRING", ["1"]),
        ("lite0:pixels", "TYPE_UINT8", ["224", "224", "3"]),
        ("lite0:tensor", "TYPE_FP32", ["224", "224", "3"]),
    ]:
        config = client.get_model_config(name, as_json=True)["config"]
        assert (config["name"], config["platform"], config["max_batch_size"]) == (name, "effnet", 4), config
        assert [(one["data_type"], one["dims"]) for one in config["input"]] == [(data_type, dims)], config
        outputs = [(one["name"], one["data_type"], one["dims"]) for one in config["output"]]
        assert outputs[0] == ("logits", "TYPE_FP32", ["1000"]) and len(outputs) == 3, config
        assert "dynamic_batching" in config, config
    index = client.get_model_repository_index().models
    found = [(model.name, model.version, model.state, model.reason) for model in index]
    assert found == [(name, "1", "READY", "") for name in FULL_NAMES], found


def _tensor(metadata):
    return (metadata.name, metadata.datatype, list(metadata.shape))


def _answers(client, given):
    before = _statistics(client)
    for name, inputs, expected in requests(triton, given):
        answer = client.infer(name, inputs, request_id="7", client_timeout=WAIT_S)
        has_logits(answer, expected, name)
        response = answer.get_response()
        assert (response.model_name, response.model_version, response.id) == (name, "1", "7"), response
        assert [output.name for output in response.outputs] == ["logits", "probabilities"]
    after = _statistics(client)
    assert after.inference_count - before.inference_count == 3 * IMAGES, after
    assert after.execution_count - before.execution_count >= 3 * IMAGES // 4, after
    assert after.inference_stats.success.count - before.inference_stats.success.count == 3, after
    assert after.inference_stats.success.ns > 0 and after.inference_stats.compute_infer.ns > 0, after
    assert sum(one.batch_size * one.compute_infer.count for one in after.batch_stats) == after.inference_count, after
    assert after.last_inference > 0 and len(client.get_inference_statistics().model_stats) == 1

    inputs = one_input(triton, "input", "FP32", given.tensor)
    for more in [{"compression_algorithm": "gzip"}, {"compression_algorithm": "deflate"}, {"priority": 1}]:
        more |= {"timeout": WAIT_S * 1_000_000, "client_timeout": WAIT_S}
        outputs = [triton.InferRequestedOutput("logits")]
        has_logits(client.infer("lite0:tensor", inputs, outputs=outputs, **more), given.of_tensor, more)
    parameters = {"text": "a", "flag": True, "number": 3, "fraction": 0.5}
    has_logits(client.infer("lite0:tensor", inputs, parameters=parameters), given.of_tensor, "parameters")
    outputs = [triton.InferRequestedOutput("probabilities", class_count=3), triton.InferRequestedOutput("features")]
    answer = client.infer("lite0", one_input(triton, "image", "BYTES", given.encoded), outputs=outputs)
    best_classes(answer.as_numpy("probabilities"), given.probabilities_of_encoded)
    assert answer.as_numpy("features").shape == (IMAGES, 1280) and answer.as_numpy("logits") is None
    outputs = [triton.InferRequestedOutput("logits", class_count=2 * CLASSES)]
    answer = client.infer("lite0:tensor", inputs, outputs=outputs)
    assert answer.as_numpy("logits").shape == (IMAGES, CLASSES)


def _statistics(client):
    (found,) = client.get_inference_statistics("lite0", "1").model_stats
    return found


def _answers_later(client, given):
    asked = requests(triton, given)
    answers = queue.SimpleQueue()
    for name, inputs, expected in 3 * asked:
        def keep(result, error, of=(name, expected)):
            answers.put((*of, result, error))

        client.async_infer(name, inputs, keep, client_timeout=WAIT_S)
    for _ in 3 * asked:
        name, expected, result, error = answers.get(timeout=WAIT_S)
        assert error is None, f"{name}: {error}"
        has_logits(result, expected, name)
    name, inputs, _ = asked[0]
    client.async_infer(name, inputs, lambda result, error: answers.put(error)).cancel()
    assert answers.get(timeout=WAIT_S).status() == "StatusCode.CANCELLED"


def _refuses(client, given):
    def infer(name, *value, **more):
        return lambda: client.infer(name, one_input(triton, *value), client_timeout=WAIT_S, **more)

    tensor = ["input", "FP32", given.tensor]
    broken = np.array([[png(given.pixels[0])], [b"no image"]], dtype=np.object_)
    nan = np.full((1, SIDE, SIDE, 3), np.nan, np.float32)
    nothing = [triton.InferRequestedOutput("nothing")]
    # The client sends a class count of 0 as none, and any other as it is.
    negative = [triton.InferRequestedOutput("logits", class_count=-1)]
    two = [*one_input(triton, *tensor), *one_input(triton, *tensor)]
    short = triton.InferInput("input", [2, SIDE, SIDE, 3], "FP32")
    short._raw_content = given.tensor[0].tobytes()
    failures = _statistics(client).inference_stats.fail.count
    for call, code, words in [
        (infer("lite0:tensor", "input", "FP32", nan), "INVALID_ARGUMENT", "expected finite numbers"),
        (infer("lite0:tensor", "input", "FP32", nan[:, :3]), "INVALID_ARGUMENT", "expected [n, 224, 224, 3]"),
        (infer("lite0:tensor", "x", "FP32", given.tensor), "INVALID_ARGUMENT", "expected 'input'"),
        (infer("lite0:pixels", "pixels", "FP32", given.tensor), "INVALID_ARGUMENT", "expected UINT8"),
        (infer("lite0:tensor", *tensor, outputs=nothing), "INVALID_ARGUMENT", "output 'nothing' is unknown"),
        (infer("lite0:tensor", *tensor, outputs=negative), "INVALID_ARGUMENT", "classification"),
        (infer("lite0", "image", "BYTES", broken), "INVALID_ARGUMENT", "image 1 of 2"),
        (lambda: client.infer("lite0:tensor", two), "INVALID_ARGUMENT", "2 inputs, expected one"),
        (lambda: client.infer("lite0:tensor", []), "INVALID_ARGUMENT", "0 inputs, expected one"),
        (lambda: client.infer("lite0:tensor", [short]), "INVALID_ARGUMENT", "602112 bytes, expected 1204224"),
        (infer("nobody", *tensor), "NOT_FOUND", "no model 'nobody'"),
        (infer("lite0:tensor", *tensor, model_version="2"), "NOT_FOUND", "no version '2'"),
        (lambda: client.get_model_metadata("nobody"), "NOT_FOUND", "no model 'nobody'"),
        (lambda: client.get_model_config("lite0", "2"), "NOT_FOUND", "no version '2'"),
        (lambda: client.get_inference_statistics("nobody"), "NOT_FOUND", "no model 'nobody'"),
        (lambda: client.load_model("lite0"), "INVALID_ARGUMENT", "--models"),
        (lambda: client.unload_model("lite0"), "INVALID_ARGUMENT", "--models"),
        (lambda: client.register_system_shared_memory("x", "/x", 16), "UNIMPLEMENTED", "SystemSharedMemoryRegister"),
        (lambda: client.get_cuda_shared_memory_status(), "UNIMPLEMENTED", "CudaSharedMemoryStatus"),
        (lambda: client.get_trace_settings(), "UNIMPLEMENTED", "TraceSetting"),
        (lambda: client.get_log_settings(), "UNIMPLEMENTED", "LogSettings"),
    ]:
        is_refused(call, f"StatusCode.{code}", words)
    # An image that cannot be decoded is a failure of the model's; the others never came to it.
    assert _statistics(client).inference_stats.fail.count == failures + 1


def _is_late(client, given):
    """A time limit is kept, the client's own and the one that the request names; the server answers afterwards."""
    inputs = one_input(triton, "input", "FP32", given.tensor)
    infer = partial(client.infer, "lite0:tensor", inputs)
    call = partial(infer, timeout=LATE_US, client_timeout=WAIT_S)
    is_refused(call, "StatusCode.UNAVAILABLE", "no answer within 1 ms")
    # Either side may see first that the time is over, and both say the same of it.
    is_refused(partial(infer, client_timeout=LATE_S), "StatusCode.DEADLINE_EXCEEDED", "")
    has_logits(infer(client_timeout=WAIT_S), given.of_tensor, "after late ones")


def _has_no_streams(client):
    answers = queue.SimpleQueue()
    client.start_stream(lambda result, error: answers.put(error), stream_timeout=WAIT_S)
    error = answers.get(timeout=WAIT_S)
    client.stop_stream()
    assert error.status() == "StatusCode.UNIMPLEMENTED" and "ModelStreamInfer" in error.message(), error


def deadline(given):
    """The server says DEADLINE_EXCEEDED where a request's header grpc-timeout has passed, and not UNAVAILABLE.

    tritonclient cannot tell: the one of both that sees it first, client or server, decides. curl has no deadline
    of its own for that header.
    """
    request = triton.service_pb2.ModelInferRequest(model_name="lite0:tensor")
    request.inputs.add(name="input", datatype="FP32", shape=given.tensor.shape)
    request.raw_input_contents.append(given.tensor.tobytes())
    message = request.SerializeToString()
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers", "-H", "grpc-timeout: 1m"]
    with given.serve() as server, tempfile.NamedTemporaryFile() as file:
        file.write(struct.pack(">BI", 0, len(message)) + message)
        file.flush()
        url = f"http://{server.grpc}/inference.GRPCInferenceService/ModelInfer"
        options = ["--http2-prior-knowledge", "--dump-header", "-", *headers, "--data-binary", f"@{file.name}", url]
        if b"HTTP2" not in curl_command("--version"):
            raise LeftOut("curl is built without HTTP2")
        answer = curl_command(*options).decode()
    fields = dict(line.split(": ", 1) for line in answer.splitlines() if ": " in line)
    assert fields["grpc-status"] == "4", f"{answer}\nexpected the status 4, DEADLINE_EXCEEDED"


def tritonclient_aio(given):
    """tritonclient.grpc.aio: what is served, several requests at once, compression, refusals."""
    with given.serve() as server:
        asyncio.run(asyncio.wait_for(_aio(server, given), 120))


async def _aio(server, given):
    async with triton_aio.InferenceServerClient(server.grpc) as client:
        assert await client.is_server_live() and await client.is_server_ready()
        assert await client.is_model_ready("lite0:pixels")
        assert (await client.get_server_metadata()).name == "effnet"
        assert (await client.get_model_metadata("lite0")).inputs[0].datatype == "BYTES"
        assert (await client.get_model_config("lite0")).config.max_batch_size == 4
        assert len((await client.get_model_repository_index()).models) == len(FULL_NAMES)
        asked = requests(triton_aio, given)
        infer = [client.infer(name, inputs, client_timeout=WAIT_S) for name, inputs, _ in 3 * asked]
        for answer, (name, _, expected) in zip(await asyncio.gather(*infer), 3 * asked, strict=True):
            has_logits(answer, expected, name)
        inputs = one_input(triton_aio, "input", "FP32", given.tensor)
        answer = await client.infer("lite0:tensor", inputs, compression_algorithm="gzip", priority=1)
        has_logits(answer, given.of_tensor, "gzip")
        statistics = await client.get_inference_statistics("lite0")
        assert statistics.model_stats[0].inference_count == 10 * IMAGES, statistics
        for call, code, words in [
            (client.infer("nobody", inputs), "NOT_FOUND", "no model 'nobody'"),
            (client.infer("lite0:tensor", inputs, timeout=LATE_US), "UNAVAILABLE", "no answer within 1 ms"),
            (client.infer("lite0:tensor", inputs, client_timeout=LATE_S), "DEADLINE_EXCEEDED", ""),
            (client.get_log_settings(), "UNIMPLEMENTED", "LogSettings"),
        ]:
            await is_refused_later(call, f"StatusCode.{code}", words)
