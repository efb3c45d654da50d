"""The clients that people have, unmodified, against `effnet serve`.

    python test.py EFFNET WEIGHTS_FOLDER

The folder has lite0.safetensors, packed weights of 1000 classes. Every logit that is served is compared with what
`effnet run` or `effnet classify` gives for the same image, byte for byte. requirements.txt has the packages.

Each part starts servers of its own, on the loopback, and is given up with them after some minutes. A part that
cannot run on this machine is left out, which is told where it would have run and again at the end. The exit status
is 1 where a part failed.
"""

import signal
import sys
import time
import traceback

# A run leaves no files beside the sources.
sys.dont_write_bytecode = True

import access
import descriptor
import grpc_clients
import health
import http_clients
import kserve_clients
import perf
import repository
from server import LeftOut, given

PARTS = [
    ("the descriptor is that of its source", descriptor.of_its_source),
    ("the descriptor has tritonclient's numbers and types", descriptor.of_tritonclient),
    ("the server's messages have the descriptor's", descriptor.of_the_server),
    ("tritonclient.http", http_clients.tritonclient),
    ("tritonclient.http.aio", http_clients.tritonclient_aio),
    ("tritonclient.grpc", grpc_clients.tritonclient),
    ("tritonclient.grpc.aio", grpc_clients.tritonclient_aio),
    ("a deadline on the wire", grpc_clients.deadline),
    ("kserve by HTTP", kserve_clients.rest),
    ("kserve by gRPC", kserve_clients.grpc),
    ("Paddle Serving's pipeline", http_clients.paddle),
    ("curl: a body, a raw input, a form", http_clients.curl),
    ("long requests that are refused", http_clients.long_refusals),
    ("a folder of models by HTTP", repository.by_http),
    ("a folder of models by gRPC", repository.by_grpc),
    ("requests beside a load", repository.exchanged_under_way),
    ("an unloaded model is not ready, by HTTP", repository.not_ready_by_http),
    ("an unloaded model is not ready, by gRPC", repository.not_ready_by_grpc),
    ("keys", access.keys),
    ("TLS", access.tls),
    ("health", health.check),
    ("reflection", health.reflection),
    ("SIGTERM: not ready, answers, the end", health.drains),
    ("SIGTERM beside requests under way", health.answers_what_it_took),
    ("SIGTERM beside an open Health.Watch", health.ends_beside_watch),
    ("SIGTERM beside an open reflection", health.ends_beside_reflection),
    ("SIGTERM beside a silent connection", health.ends_beside_silence),
    ("a silent connection gives its place up", health.silence),
    ("statistics as perf_analyzer reads them", perf.statistics),
    ("perf_analyzer by HTTP", perf.by_http),
    ("perf_analyzer by gRPC", perf.by_grpc),
]


def main():
    effnet, weights = sys.argv[1:]
    # Whoever ends this program ends its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    known = given(effnet, weights)
    failed, left_out = [], []
    for name, part in PARTS:
        began = time.monotonic()
        try:
            part(known)
        except LeftOut as reason:
            left_out.append(f"{name}: {reason}")
            print(f"LEFT OUT  {name}: {reason}", flush=True)
        except Exception:
            failed.append(name)
            print(f"FAILED    {name}\n{traceback.format_exc()}", flush=True)
        else:
            print(f"ok        {name}, {time.monotonic() - began:.1f} s", flush=True)
    print(f"{len(PARTS) - len(failed) - len(left_out)} parts of {len(PARTS)} as expected")
    for what in left_out:
        print(f"LEFT OUT  {what}")
    for name in failed:
        print(f"FAILED    {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
