"""perf_analyzer, Triton's load generator, by HTTP and by gRPC.

The program is in a wheel of an earlier tritonclient for Linux on x86-64. pip installs that wheel, once, into a
folder of its own within the virtual environment, where the clients that are tested do not find it. The program
loads Debian's libb64-0d and libssl3, which pip does not have, and CUDA's runtime; it needs no GPU.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import tritonclient.grpc
import tritonclient.http
from requests_of_triton import requests
from server import LeftOut

REQUIREMENTS = Path(__file__).with_name("perf_requirements.txt")
PACKAGES = {"libb64.so.0d": "libb64-0d", "libssl.so.3": "libssl3", "libcrypto.so.3": "libssl3"}


def statistics(given):
    """What perf_analyzer asks of the statistics: the name that it asked for, and equal counts of the compute times."""
    faults = []
    with given.serve() as server:
        by_http = tritonclient.http.InferenceServerClient(server.http)
        by_grpc = tritonclient.grpc.InferenceServerClient(server.grpc)
        for name, inputs, _ in requests(tritonclient.grpc, given):
            by_grpc.infer(name, inputs)
            found = [by_http.get_inference_statistics(name), by_grpc.get_inference_statistics(name, as_json=True)]
            for protocol, answer in zip(["HTTP", "gRPC"], found):
                (answer,) = answer["model_stats"]
                times = answer["inference_stats"]
                counts = [int(times[f"compute_{part}"]["count"]) for part in ["input", "infer", "output"]]
                if answer["name"] != name:
                    faults.append(f"{protocol}: statistics of {name} are named {answer['name']}")
                if len(set(counts)) != 1:
                    faults.append(f"{protocol}: counts of compute_input, compute_infer, compute_output are {counts}")
        by_http.close()
        by_grpc.close()
    assert not faults, "\n".join(faults)


def by_http(given):
    """perf_analyzer by HTTP: it ends with 0 and reports a throughput."""
    _measures(given, "http")


def by_grpc(given):
    """perf_analyzer by gRPC: it ends with 0 and reports a throughput."""
    _measures(given, "grpc")


def _measures(given, protocol):
    with tempfile.TemporaryDirectory() as folder:
        program, environment = _installed(Path(folder, "perf_analyzer"))
        with given.serve() as server:
            address = server.grpc if protocol == "grpc" else server.http
            command = [program, "-m", "lite0:pixels", "-i", protocol, "-u", address, "--concurrency-range", "4"]
            # Three short windows are enough, however much they differ: no figure is kept.
            command += ["-p", "1000", "-s", "999", "--max-trials", "3"]
            ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=folder)
    told = ended.stdout + ended.stderr
    assert ended.returncode == 0, f"perf_analyzer ended with {ended.returncode}:\n{told}"
    found = re.search(r"^Concurrency: 4, throughput: ([0-9.]+) infer/sec", told, re.M)
    assert found and float(found.group(1)) > 0, f"perf_analyzer reported no throughput:\n{told}"
    # It reads these of the server's statistics, before and after.
    assert re.search(r"^ +Inference count: [1-9]", told, re.M), f"perf_analyzer found no statistics:\n{told}"
    assert re.search(r"^ +Execution count: [1-9]", told, re.M), f"perf_analyzer found no statistics:\n{told}"


def _installed(elsewhere):
    """The program, and the environment that it runs in. Without a virtual environment it goes `elsewhere`."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise LeftOut(f"perf_analyzer is for Linux on x86-64, this is {platform.system()} on {platform.machine()}")
    is_virtual = sys.prefix != sys.base_prefix
    folder = Path(sys.prefix, "perf_analyzer") if is_virtual else elsewhere
    done = folder / "requirements.txt"
    if not done.exists() or done.read_text() != REQUIREMENTS.read_text():
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--target", folder, "--requirement", REQUIREMENTS], check=True, timeout=300)
        shutil.copy(REQUIREMENTS, done)
    program = folder / "bin/perf_analyzer"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder / "nvidia/cuda_runtime/lib")}
    needed = subprocess.run(["ldd", program], env=environment, capture_output=True, text=True, timeout=60).stdout
    missing = re.findall(r"^\s*(\S+) => not found", needed, re.M)
    if missing:
        packages = ", ".join(sorted({PACKAGES.get(library, library) for library in missing}))
        raise LeftOut(f"perf_analyzer needs {', '.join(missing)}, which this machine has not (Debian: {packages})")
    return program, environment
