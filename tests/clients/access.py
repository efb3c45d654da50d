"""Who may ask, and over what: keys, and TLS with a certificate that signs itself."""

import asyncio
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

import gevent.ssl
import grpc
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from http_clients import curl_command, curl_run
from requests_of_triton import has_logits, is_refused, one_input
from server import LeftOut

WAIT_S = 60


def keys(given):
    """With --api-key-file a request has to bring a key, probes do not, and requests without one are refused."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("first key\nsecond-key\n")
        file.flush()
        with given.serve("--api-key-file", file.name) as server:
            _keys_by_http(server, given)
            _keys_by_grpc(server, given)
            _keys_by_curl(server)


def _keys_by_curl(server):
    for path, header, status in [
        ("/v2/models/lite0", None, "401"),
        ("/v2/models/lite0", "Authorization: Bearer second-key", "200"),
        ("/v2/models/lite0", "Authorization: bearer first key", "200"),
        ("/v2/models/lite0", "X-API-Key: second-key", "200"),
        ("/v2/models/lite0", "Authorization: Bearer second-ke", "401"),
        ("/v2/models/lite0", "Authorization: Basic c2Vjb25kLWtleQ==", "401"),
        ("/v2/models/nobody", None, "401"),
        ("/metrics", None, "401"),
        ("/v2/health/live", None, "200"),
        ("/v2/health/ready", None, "200"),
    ]:
        headers = ["-H", header] if header else []
        told = curl_command("--output", "-", "--write-out", "\n%{http_code}", *headers, server.url(path)).decode()
        assert told.rsplit("\n", 1)[1] == status, f"GET {path}, {header}: {told}, expected {status}"


def _keys_by_http(server, given):
    inputs = one_input(tritonclient.http, "input", "FP32", given.tensor[:1])
    with tritonclient.http.InferenceServerClient(server.http) as client:
        assert client.is_server_live() and client.is_server_ready()
        for headers in [{"Authorization": "Bearer second-key"}, {"X-API-Key": "first key"}]:
            assert client.is_model_ready("lite0", headers=headers)
            has_logits(client.infer("lite0:tensor", inputs, headers=headers), given.of_tensor[:1], headers)
        for headers in [None, {"Authorization": "Bearer nobody"}]:
            assert not client.is_model_ready("lite0", headers=headers)
            is_refused(lambda: client.infer("lite0:tensor", inputs, headers=headers), "401", "expected a key")


def _keys_by_grpc(server, given):
    inputs = one_input(tritonclient.grpc, "input", "FP32", given.tensor[:1])
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        for headers in [{"authorization": "Bearer second-key"}, {"x-api-key": "first key"}]:
            assert client.is_server_live(headers=headers) and client.is_model_ready("lite0", headers=headers)
            has_logits(client.infer("lite0:tensor", inputs, headers=headers), given.of_tensor[:1], headers)
        for headers in [None, {"authorization": "Bearer nobody"}]:
            for call in [
                lambda: client.infer("lite0:tensor", inputs, headers=headers),
                lambda: client.get_server_metadata(headers=headers),
                lambda: client.load_model("lite0", headers=headers),
            ]:
                is_refused(call, "StatusCode.UNAUTHENTICATED", "expected a key")
    with grpc.insecure_channel(server.grpc) as channel:
        _is_serving(channel)


def _is_serving(channel):
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=WAIT_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING, answer


def tls(given):
    """With --tls-cert and --tls-key curl and all of tritonclient's clients, given the certificate, are answered."""
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = _certificate(folder)
        with given.serve("--tls-cert", certificate, "--tls-key", key) as server:
            assert server.scheme == "https"
            _tls_by_http(server, given, certificate)
            _tls_by_grpc(server, given, certificate)
            asyncio.run(asyncio.wait_for(_tls_by_aio(server, given, certificate), WAIT_S))
            _tls_by_curl(server, certificate)


def _certificate(folder):
    """A certificate of 127.0.0.1 and its key, as the program openssl makes them."""
    if shutil.which("openssl") is None:
        raise LeftOut("openssl is not installed (Debian: openssl)")
    certificate, key = Path(folder, "cert.pem"), Path(folder, "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = subprocess.run([*command, "-keyout", key, "-out", certificate], capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stderr
    return certificate, key


def _tls_by_curl(server, certificate):
    assert b'"effnet"' in curl_command("--fail", "--cacert", certificate, server.url("/v2"))
    for options, what in [
        (["--fail", server.url("/v2")], "a certificate that is not trusted"),
        (["--fail", f"http://{server.http}/v2"], "a request that is not encrypted"),
    ]:
        assert curl_run(*options).returncode != 0, f"{what} had an answer"


def _tls_by_http(server, given, certificate):
    inputs = one_input(tritonclient.http, "input", "FP32", given.tensor)
    options = {
        "ssl": True,
        "ssl_options": {},
        "ssl_context_factory": lambda: gevent.ssl.create_default_context(cafile=certificate),
    }
    with tritonclient.http.InferenceServerClient(server.http, **options) as client:
        assert client.is_server_live()
        has_logits(client.infer("lite0:tensor", inputs), given.of_tensor, "https")


def _tls_by_grpc(server, given, certificate):
    inputs = one_input(tritonclient.grpc, "input", "FP32", given.tensor)
    options = {"ssl": True, "root_certificates": str(certificate)}
    with tritonclient.grpc.InferenceServerClient(server.grpc, **options) as client:
        assert client.is_server_live(client_timeout=WAIT_S)
        has_logits(client.infer("lite0:tensor", inputs, client_timeout=WAIT_S), given.of_tensor, "gRPC with TLS")
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    with grpc.secure_channel(server.grpc, credentials) as channel:
        _is_serving(channel)
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        is_refused(lambda: client.is_server_live(client_timeout=WAIT_S), "StatusCode.UNAVAILABLE", "")


async def _tls_by_aio(server, given, certificate):
    context = ssl.create_default_context(cafile=certificate)
    inputs = one_input(tritonclient.http.aio, "input", "FP32", given.tensor)
    async with tritonclient.http.aio.InferenceServerClient(server.http, ssl=True, ssl_context=context) as client:
        has_logits(await client.infer("lite0:tensor", inputs), given.of_tensor, "https, aio")
    options = {"ssl": True, "root_certificates": str(certificate)}
    inputs = one_input(tritonclient.grpc.aio, "input", "FP32", given.tensor)
    async with tritonclient.grpc.aio.InferenceServerClient(server.grpc, **options) as client:
        has_logits(await client.infer("lite0:tensor", inputs), given.of_tensor, "gRPC with TLS, aio")
