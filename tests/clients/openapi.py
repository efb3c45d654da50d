"""The server's own description, src/serve/openapi.yaml, against `effnet serve`.

    python openapi.py EFFNET WEIGHTS_FOLDER

The folder has lite0.safetensors, packed weights of 1000 classes. The document has to be valid, its examples have to
work, and whatever schemathesis makes of it has to be answered as it says. Needs schemathesis and
openapi-spec-validator; talks to 127.0.0.1 alone, and takes about a minute and a half.
"""

import gzip
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import jsonschema
import schemathesis
import schemathesis.cli
import yaml
from hypothesis import strategies as st
from openapi_spec_validator import validate

DOCUMENT = Path(__file__).resolve().parents[2] / "src" / "serve" / "openapi.yaml"
METHODS = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE"]
LENGTH = "Inference-Header-Content-Length"
KEY = "a key"
BEST = "/v2/models/lite0/classify?top_k=1"
GIF = bytes.fromhex("47494638376101000100800000ffffffffffff2c00000000010001000002024401003b")


class Server:
    def __init__(self, effnet, weights, folder, *options):
        self.log = Path(folder, "log")
        command = [effnet, "serve", "--models", weights, "--device", "cpu", "--batch", "4", "--http", "127.0.0.1:0"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen([*command, "--grpc", "none", *options], stderr=log)

    def __enter__(self):
        until = time.monotonic() + 60
        while not (found := re.search(r"http://\S+?:\d+", self.log.read_text())):
            if self.process.poll() is not None or time.monotonic() > until:
                self.__exit__()
                raise AssertionError(f"no address in {self.log.read_text()!r}")
            time.sleep(0.05)
        self.url = found.group()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def ask(self, method, path, body=None, **headers):
        """Status, headers and body of an answer."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, data=body, headers=headers, method=method)
        try:
            answer = urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.headers, answer.read()


class Document:
    def __init__(self):
        self.all = yaml.safe_load(DOCUMENT.read_text())
        validate(self.all)

    def at(self, value):
        """What a reference refers to."""
        while "$ref" in value:
            place, value = value["$ref"], self.all
            for part in place.removeprefix("#/").split("/"):
                value = value[part]
        return value

    def operations(self):
        for path, item in self.all["paths"].items():
            for method, operation in item.items():
                yield path, method.upper(), operation

    def examples(self, content):
        """Examples of a body or of an answer: content type, schema, summary and value of each."""
        for kind, media in content.get("content", {}).items():
            schema = media["schema"]
            found = [self.at(example) for example in media.get("examples", {}).values()]
            found += [{"value": owner["example"]} for owner in (media, self.at(schema)) if "example" in owner]
            for example in found:
                yield kind, schema, example.get("summary", ""), example["value"]

    def check(self, schema, value):
        jsonschema.Draft202012Validator({**schema, "components": self.all["components"]}).validate(value)


def filled(path):
    """A path with the model's name, which schemathesis cannot guess, and its version."""
    return path.replace("{name}", "lite0").replace("{version}", "1")


def packed(value, kind):
    """An example as the bytes of a body. Those of images have no byte above 127."""
    return json.dumps(value).encode() if kind == "application/json" else value.encode("ascii")


def examples_work(document, server):
    """Answers' examples are as their schemas say; requests' examples are, and are answered with 200."""
    sent = 0
    for path, method, operation in document.operations():
        for answer in map(document.at, operation["responses"].values()):
            for _, schema, _, value in document.examples(answer):
                document.check(schema, value)
        for kind, schema, summary, value in document.examples(document.at(operation.get("requestBody", {}))):
            document.check(schema, value)
            length = re.search(f"{LENGTH}: (\\d+)", summary)
            headers = {"Content-Type": kind.replace("*", "bmp"), **({LENGTH: length.group(1)} if length else {})}
            body = packed(value, kind)
            for encoding, pack in [("identity", bytes), ("gzip", gzip.compress), ("deflate", zlib.compress)]:
                # What unloads the model comes last of all.
                if path.endswith("/unload"):
                    continue
                status, _, answer = server.ask(method, filled(path), pack(body), Content_Encoding=encoding, **headers)
                assert status == 200, (path, summary, encoding, status, answer)
                sent += 1
        if method == "GET":
            status, found, answer = server.ask(method, filled(path))
            assert status == 200, (path, status, answer)
            kinds = document.at(operation["responses"]["200"])["content"]
            assert found.get_content_type() in kinds, (path, found["Content-Type"])
    assert sent > 20, sent
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.gif"\r\n\r\n'
    form = head + GIF + b"\r\n--b--\r\n"
    status, _, answer = server.ask("POST", BEST, form, Content_Type="multipart/form-data; boundary=b")
    assert status == 200, answer
    print(f"{sent} examples of requests: answered")


def errors(document, server):
    """Other methods and paths are answered as the document says."""
    error = {"$ref": "#/components/schemas/Error"}
    for path, item in document.all["paths"].items():
        for method in METHODS:
            if method.lower() in item:
                continue
            status, found, answer = server.ask(method, filled(path))
            assert status == 405 and found["Allow"], (method, path, status)
            document.check(error, json.loads(answer))
    status, _, answer = server.ask("GET", "/v2/nothing")
    assert status == 404, status
    document.check(error, json.loads(answer))


def keys(document, server):
    """Without a key 401, but for operations that the document says need none; with one as ever."""
    needed = [{}, {"Authorization": "Bearer another"}]
    for path, method, operation in document.operations():
        is_free = operation.get("security") == []
        for headers in needed:
            status, found, answer = server.ask(method, filled(path), **headers)
            assert (status == 200) if is_free else (status == 401), (method, path, status)
            if not is_free:
                assert found["WWW-Authenticate"] == "Bearer", (path, found)
                document.check({"$ref": "#/components/schemas/Error"}, json.loads(answer))
        for headers in [{"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}]:
            assert server.ask(method, filled(path), **headers)[0] != 401, (method, path)


def binary_request(draw):
    """JSON, a line's end and binary data, most of it as the protocol has it."""
    shapes = st.lists(st.integers(-1, 3), max_size=4)
    elements = draw(st.lists(st.sampled_from([GIF, b""]) | st.binary(max_size=9), max_size=3))
    data = b"".join(struct.pack("<I", len(element)) + element for element in elements)
    data = draw(st.just(data) | st.binary(max_size=40))
    right = {"name": "image", "datatype": "BYTES", "shape": [len(elements)]}
    near = st.fixed_dictionaries({
        "name": st.sampled_from(["image", "pixels", "input"]),
        "datatype": st.sampled_from(["BYTES", "UINT8", "FP32"]),
        "shape": shapes,
    })
    sizes = st.just(len(data)) | st.integers(-1, 1 << 64)
    given = draw(st.just(right) | near) | {"parameters": {"binary_data_size": draw(sizes)}}
    wish = st.fixed_dictionaries({
        "name": st.sampled_from(["logits", "probabilities", "features"]),
        "parameters": st.fixed_dictionaries({}, optional={
            "binary_data": st.booleans(), "classification": st.integers(0, 1 << 64)
        }),
    })
    wishes = draw(st.lists(wish, max_size=3))
    request = {"inputs": [given], "outputs": wishes, "parameters": {"binary_data_output": draw(st.booleans())}}
    return json.dumps(request).encode() + b"\n" + data


def prepare():
    """What schemathesis cannot know: images, and binary data with the header that says where they begin."""
    images = st.just(GIF) | st.binary(max_size=60) | st.builds(lambda n: GIF[:n], st.integers(0, len(GIF)))
    schemathesis.openapi.media_type("image/*", images)
    schemathesis.openapi.media_type("application/octet-stream", images | st.composite(binary_request)())

    @schemathesis.hook
    def map_case(context, case):
        is_binary = case.media_type == "application/octet-stream" and isinstance(case.body, bytes)
        if is_binary and case.path.endswith("/infer") and LENGTH not in (case.headers or {}):
            case.headers = {**(case.headers or {}), LENGTH: str(case.body.find(b"\n") + 1)}
        return case


def generated(document, server, folder):
    """What schemathesis makes of the document: no answer that the document does not have."""
    parameters = document.all["components"]["parameters"]
    # Else nearly all requests would be for models that are not there, or with bodies that do not unpack.
    parameters["Name"]["schema"] = {"enum": ["lite0", "lite0:pixels", "lite0:tensor", "none"]}
    parameters["Encoding"]["schema"] = {"enum": ["identity"]}
    Path(folder, "openapi.yaml").write_text(yaml.safe_dump(document.all))
    # A full queue and a late answer are 503, what is not there 501; a device that fails, 500, is no answer here.
    Path(folder, "schemathesis.toml").write_text(
        '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", 501, 503]\n'
    )
    os.chdir(folder)
    prepare()
    arguments = ["--config-file", "schemathesis.toml", "run", "openapi.yaml", "--url", server.url]
    arguments += ["--phases", "coverage,fuzzing", "--max-examples", "150", "--seed", "1"]
    arguments += ["--generation-database", "none", "--request-timeout", "30", "--no-color", "--warnings", "off"]
    # After an unload all other requests would be answered with 404 alone.
    arguments += ["--exclude-path-regex", "/unload$"]
    # A schema cannot say that a tensor's data fill its shape, nor that Paddle's errors have the status 200.
    arguments += ["--exclude-checks", "positive_data_acceptance,negative_data_rejection"]
    try:
        schemathesis.cli.schemathesis.main(arguments, standalone_mode=False)
    except SystemExit as end:
        assert not end.code, f"schemathesis: {end.code}"


def lives(document, server):
    """The server answers as before, and unloads and loads its model."""
    assert server.process.poll() is None, server.process.returncode
    assert "panicked" not in server.log.read_text(), server.log.read_text()
    for path, method, expected in [
        ("/v2/health/ready", "GET", 200),
        (BEST, "POST", 200),
        ("/v2/repository/models/lite0/unload", "POST", 200),
        (BEST, "POST", 404),
        ("/v2/repository/models/lite0/load", "POST", 200),
        (BEST, "POST", 200),
    ]:
        status, _, answer = server.ask(method, path, GIF if "classify" in path else None, Content_Type="image/gif")
        assert status == expected, (path, status, answer)
    document.check({"$ref": "#/components/schemas/Classes"}, json.loads(answer))


def main():
    effnet, weights = [str(Path(argument).resolve()) for argument in sys.argv[1:]]
    # No proxy stands before the loopback.
    os.environ["NO_PROXY"] = "*"
    document = Document()
    with tempfile.TemporaryDirectory() as folder:
        with Server(effnet, weights, folder) as server:
            examples_work(document, server)
            errors(document, server)
            generated(document, server, folder)
            lives(document, server)
        Path(folder, "keys").write_text(f"{KEY}\n")
        with Server(effnet, weights, folder, "--api-key-file", str(Path(folder, "keys"))) as server:
            keys(document, server)
        os.chdir("/")
    print("openapi.yaml: valid, and what the server does")


if __name__ == "__main__":
    main()
