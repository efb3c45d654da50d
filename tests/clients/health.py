"""grpc.health.v1.Health and reflection, by grpcio's own clients; and how a server ends."""

import queue
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import grpc
import tritonclient.grpc as triton
from descriptor import described
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from requests_of_triton import has_logits, one_input

SERVICE = "inference.GRPCInferenceService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
WAIT_S = 30
END_S = 40


def check(given):
    """Health.Check: the server and its service are SERVING, another service is unknown."""
    with given.serve() as server, grpc.insecure_channel(server.grpc) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert [_asked(health, service) for service in ["", SERVICE]] == [SERVING, SERVING]
        try:
            found = _asked(health, "nobody")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error
        else:
            raise AssertionError(f"a service that is not there: {found}")


def _asked(health, service):
    return health.Check(health_pb2.HealthCheckRequest(service=service), timeout=WAIT_S).status


def reflection(given):
    """Reflection: the services, the descriptor as it is in the sources, and a request made with nothing else."""
    with given.serve() as server, grpc.insecure_channel(server.grpc) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = set(database.get_services())
        assert {SERVICE, "grpc.health.v1.Health"} <= services, services
        assert {SERVICE, "grpc.health.v1.Health"} <= set(_services_by_v1(channel))
        (expected,) = described().file
        assert database.FindFileContainingSymbol(SERVICE) == expected
        assert database.FindFileByName("inference.proto") == expected
        pool = descriptor_pool.DescriptorPool(database)
        method = pool.FindServiceByName(SERVICE).FindMethodByName("ModelMetadata")
        ask, answer = [message_factory.GetMessageClass(kind) for kind in [method.input_type, method.output_type]]
        call = channel.unary_unary(
            f"/{SERVICE}/ModelMetadata",
            request_serializer=ask.SerializeToString,
            response_deserializer=answer.FromString,
        )
        found = call(ask(name="lite0:pixels"), timeout=WAIT_S)
        assert (found.name, found.inputs[0].datatype) == ("lite0:pixels", "UINT8"), found


def _services_by_v1(channel):
    """The services by grpc.reflection.v1, whose messages are those of v1alpha under another name."""
    call = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    ask = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = call(iter([ask]), timeout=WAIT_S)
    return [service.name for service in answer.list_services_response.service]


def drains(given):
    """After SIGTERM the server is not ready at once, answers for --drain-delay, and exits with 0."""
    with given.serve("--drain-delay", "5") as server, grpc.insecure_channel(server.grpc) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watched = queue.SimpleQueue()
        watch = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=WAIT_S)
        threading.Thread(target=_watch, args=[watch, watched], daemon=True).start()
        assert watched.get(timeout=WAIT_S) == SERVING
        server.process.send_signal(signal.SIGTERM)
        assert watched.get(timeout=WAIT_S) == NOT_SERVING
        assert [_asked(health, service) for service in ["", SERVICE]] == [NOT_SERVING, NOT_SERVING]
        assert _status(server, "ready") == 503 and _status(server, "live") == 200
        with triton.InferenceServerClient(server.grpc) as client:
            assert client.is_server_live() and not client.is_server_ready() and not client.is_model_ready("lite0")
            answer = client.infer("lite0:tensor", one_input(triton, "input", "FP32", given.tensor))
            has_logits(answer, given.of_tensor, "while the server drains")
        watch.cancel()
        assert server.process.wait(timeout=WAIT_S) == 0


def _watch(watch, watched):
    try:
        for answer in watch:
            watched.put(answer.status)
    except grpc.RpcError as error:
        watched.put(error.code())


def _status(server, which):
    """The status of a probe by HTTP; none where no answer comes."""
    try:
        return urllib.request.urlopen(server.url(f"/v2/health/{which}"), timeout=END_S).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def answers_what_it_took(given):
    """Requests that are under way when SIGTERM comes are answered, and the exit status is 0."""
    with given.serve("--drain-delay", "0") as server, triton.InferenceServerClient(server.grpc) as client:
        answers = queue.SimpleQueue()
        inputs = one_input(triton, "input", "FP32", given.tensor)
        for _ in range(4):
            client.async_infer("lite0:tensor", inputs, lambda result, error: answers.put((result, error)))
        while client.get_inference_statistics("lite0").model_stats[0].execution_count == 0:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        for _ in range(4):
            result, error = answers.get(timeout=WAIT_S)
            assert error is None, error
            has_logits(result, given.of_tensor, "after SIGTERM")
        assert server.process.wait(timeout=WAIT_S) == 0


def ends_beside_watch(given):
    """A client whose Health.Watch stays open does not keep the server from ending."""
    with given.serve("--drain-delay", "0") as server, grpc.insecure_channel(server.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=""), timeout=3 * END_S)
        assert next(watch).status == SERVING
        _ends(server, lambda: next(watch).status == NOT_SERVING)


def ends_beside_reflection(given):
    """A client whose reflection stays open does not keep the server from ending."""
    is_over = threading.Event()

    def asks():
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        is_over.wait(3 * END_S)

    with given.serve("--drain-delay", "0") as server, grpc.insecure_channel(server.grpc) as channel:
        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(asks())
        assert next(answers).list_services_response.service
        try:
            _ends(server)
        finally:
            is_over.set()


def ends_beside_silence(given):
    """A connection to the port of gRPC on which nothing comes does not keep the server from ending."""
    with given.serve("--drain-delay", "0") as server, _connected(server.grpc):
        # A request by HTTP comes later than the connection, which by then is taken.
        assert _status(server, "live") == 200
        _ends(server)


def silence(given):
    """A connection to the port of gRPC on which nothing comes gives its place to others after a while."""
    with given.serve("--max-connections", "1") as server, _connected(server.grpc):
        time.sleep(0.5)
        assert _status(server, "live") == 200, f"no answer by HTTP in {END_S} s beside a silent connection"


def _connected(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=WAIT_S)


def _ends(server, then=lambda: True):
    """After SIGTERM the server exits with 0, in a little more than the 30 s that it waits for a slow client."""
    server.process.send_signal(signal.SIGTERM)
    assert then()
    try:
        assert server.process.wait(timeout=END_S) == 0
    except subprocess.TimeoutExpired:
        raise AssertionError(f"the server still ran {END_S} s after SIGTERM") from None
