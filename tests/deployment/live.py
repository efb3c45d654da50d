"""The commands of the manifests, run: their probes are asked, requests answered, SIGTERM drains them."""

import re
import subprocess
import time

import grpc
from facts import container, option, port_number, port_of, probes
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support import COFFEE, PHOTOS, Server, ask, best_label, check, free_port

READY = "/v2/health/ready"
SERVING = health_pb2.HealthCheckResponse.SERVING


class Place:
    """Where a pod's paths and ports are on this machine."""

    def __init__(self, model, folder):
        # `model` is the InferenceService's name, or what a folder's file is named after.
        self.model, self.folder = model, folder
        self.ports = {}

    def port(self, number):
        """The port here that stands for a port of the pod."""
        return self.ports.setdefault(number, free_port())

    def arguments(self, box):
        """The pod's arguments with paths and ports of this machine; nothing else is replaced."""
        found = []
        for argument in box["args"]:
            argument = argument.replace("{{.Name}}", self.model)
            argument = re.sub(r"=(/mnt)?/models", f"={self.folder}", argument)
            argument = re.sub(r"=0\.0\.0\.0:(\d+)$", lambda found: f"=127.0.0.1:{self.port(int(found[1]))}", argument)
            found.append(argument)
        return found


def asked(probe, box, place):
    """Whether a probe of a container is answered with success, as the kubelet sees it."""
    limit_s = probe.get("timeoutSeconds", 1)
    if "grpc" in probe:
        port = place.port(port_number(probe["grpc"]["port"], box))
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            request = health_pb2.HealthCheckRequest(service=probe["grpc"].get("service", ""))
            try:
                return health_pb2_grpc.HealthStub(channel).Check(request, timeout=limit_s).status == SERVING
            except grpc.RpcError:
                return False
    port = place.port(port_number(probe["httpGet"]["port"], box))
    status, _ = ask(f"http://127.0.0.1:{port}{probe['httpGet']['path']}", limit_s=limit_s)
    return 200 <= status < 400


def wrong_probes(box, place):
    """Findings about probes of a server that is ready."""
    return [f"{name} fails at a server that is ready" for name, probe in probes(box) if not asked(probe, box, place)]


def walk(effnet, where, spec, folder, model, grace_s, seen):
    """Runs one pod's command from its start to its end; `seen` gets the text of its metrics. Returns findings.

    `seen(text, box, place)` is called while the server is ready.
    """
    box, place = container(spec), Place(model, folder)
    environment = {each["name"]: each["value"] for each in box.get("env", [])}
    http = f"http://127.0.0.1:{place.port(port_of(option(box['args'], 'http')))}"
    classify = f"{http}/v2/models/{model}/classify"
    photo = (PHOTOS / "coffee.jpg").read_bytes()
    drain_s = int(option(box["args"], "drain-delay"))
    named = dict(probes(box))
    start = named.get("startupProbe", named["readinessProbe"])
    with Server([effnet, *place.arguments(box)], env=environment) as server:
        # The kubelet gives up after so many failures.
        limit_s = start.get("periodSeconds", 10) * start.get("failureThreshold", 3)
        server.until(lambda: asked(start, box, place), limit_s, "ready, as its probe sees it,")
        found = wrong_probes(box, place)
        status, body = ask(classify, photo)
        check(status == 200 and best_label(body) == COFFEE, f"{where}: {classify}: {status} {body[:200]!r}")
        _, metrics = ask(f"{http}/metrics")
        seen(metrics.decode(), box, place)

        server.terminate()
        told = time.monotonic()
        server.until(lambda: not asked(named["readinessProbe"], box, place), drain_s, "not ready after SIGTERM")
        if ask(f"{http}{READY}")[0] != 503:
            found.append("not ready is not 503")
        if "livenessProbe" in named and not asked(named["livenessProbe"], box, place):
            found.append("livenessProbe fails while the server drains: the kubelet would kill it")
        # Endpoints take so long to be taken away: requests still come, and are answered.
        answered = 0
        while time.monotonic() - told < drain_s - 2:
            status, body = ask(classify, photo)
            check(status == 200 and best_label(body) == COFFEE, f"{where}: draining, classify: {status} {body[:200]!r}")
            answered += 1
            time.sleep(0.5)
        try:
            status = server.process.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            status = f"none within {grace_s} s, when the kubelet would kill it"
        if status != 0:
            found.append(f"status after SIGTERM: {status}, expected 0")
    check(answered, f"{where}: a drain of {drain_s} s left no time for a request")
    print(f"{where}: ready, probed, {answered} requests answered while it drained, status {status}")
    return [f"{where}: {each}" for each in found]
