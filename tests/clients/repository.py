"""A folder of models, with both of tritonclient's clients: index, load, unload, and what is asked of a model then."""

import contextlib
import queue
import shutil
import tempfile
from pathlib import Path

import tritonclient.grpc
import tritonclient.http
from requests_of_triton import has_logits, is_refused, one_input
from server import Server

WAIT_S = 60


@contextlib.contextmanager
def _client(given, package):
    """A server of a folder with the model `first` and a broken one, its folder, and a client of it."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        shutil.copy(given.weights, folder / "first.safetensors")
        Path(folder, "broken.safetensors").write_bytes(b"no weights")
        with Server(given.effnet, "--models", folder) as server:
            address = server.grpc if package is tritonclient.grpc else server.http
            with package.InferenceServerClient(address) as client:
                yield client, folder


def _index(client):
    """State and reason of each name."""
    index = client.get_model_repository_index()
    if isinstance(index, list):
        return {model["name"]: (model["state"], model["reason"]) for model in index}
    return {model.name: (model.state, model.reason) for model in index.models}


def _code(package, code):
    """A refusal's status as the client has it: by gRPC in words, by HTTP a number."""
    numbers = {"INVALID_ARGUMENT": "400", "NOT_FOUND": "404", "UNIMPLEMENTED": "501"}
    return f"StatusCode.{code}" if package is tritonclient.grpc else numbers[code]


def by_http(given):
    """Index, load, exchange and unload by tritonclient.http."""
    _loads(given, tritonclient.http)


def by_grpc(given):
    """Index, load, exchange and unload by tritonclient.grpc."""
    _loads(given, tritonclient.grpc)


def _loads(given, package):
    def infer(name):
        answer = client.infer(f"{name}:tensor", one_input(package, "input", "FP32", given.tensor[:2]))
        has_logits(answer, given.of_tensor[:2], name)

    with _client(given, package) as (client, folder):
        infer("first")
        index = _index(client)
        assert index["first"] == index["first:tensor"] == ("READY", ""), index
        assert index["broken"][0] == "UNAVAILABLE" and index["broken"][1], index
        assert client.is_server_ready(), "a model that was never there does not matter to the others"

        shutil.copy(given.weights, folder / "second.safetensors")
        assert _index(client)["second"] == ("UNAVAILABLE", "not loaded")
        client.load_model("second")
        assert client.is_model_ready("second") and client.is_model_ready("second:pixels")
        assert _index(client)["second"] == ("READY", "")
        infer("second")
        client.load_model("second")
        infer("second")
        client.unload_model("second")
        assert _index(client)["second"] == ("UNAVAILABLE", "unloaded")
        is_refused(lambda: infer("second"), _code(package, "NOT_FOUND"), "model 'second' is not there: unloaded")
        is_refused(lambda: client.unload_model("second"), _code(package, "NOT_FOUND"), "unloaded")
        client.load_model("second")
        infer("second")

        for call, code, words in [
            (lambda: client.load_model("nobody"), "NOT_FOUND", "no model 'nobody' can be loaded"),
            (lambda: client.load_model("second/../first"), "NOT_FOUND", ""),
            (lambda: client.load_model("broken"), "INVALID_ARGUMENT", "model 'broken' cannot be served"),
            (lambda: client.load_model("second", config="{}"), "UNIMPLEMENTED", "parameter config"),
        ]:
            is_refused(call, _code(package, code), words)
        # A file that has become of no use does not take away the model that was loaded from it.
        Path(folder, "second.safetensors").unlink()
        Path(folder, "second.safetensors").write_bytes(b"no weights")
        is_refused(lambda: client.load_model("second"), _code(package, "INVALID_ARGUMENT"), "cannot be served")
        infer("second")


def exchanged_under_way(given):
    """Requests that run while their model is loaded again are all answered."""
    package = tritonclient.grpc
    with _client(given, package) as (client, _):
        answers = queue.SimpleQueue()
        inputs = one_input(package, "input", "FP32", given.tensor)
        for _ in range(3):
            for _ in range(2):
                client.async_infer("first:tensor", inputs, lambda result, error: answers.put((result, error)))
            client.load_model("first", client_timeout=WAIT_S)
        for _ in range(6):
            result, error = answers.get(timeout=WAIT_S)
            assert error is None, error
            has_logits(result, given.of_tensor, "beside a load")


def not_ready_by_http(given):
    """is_model_ready of tritonclient.http is False for a model that was unloaded."""
    _is_not_ready(given, tritonclient.http)


def not_ready_by_grpc(given):
    """is_model_ready of tritonclient.grpc is False, and no error, for a model that was unloaded."""
    _is_not_ready(given, tritonclient.grpc)


def _is_not_ready(given, package):
    # Whoever waits for a model asks this in a loop.
    with _client(given, package) as (client, _):
        assert client.is_model_ready("first")
        client.unload_model("first")
        assert client.is_model_ready("first") is False
