#!/usr/bin/env python3
"""Times effnet's CPU executor against ONNX Runtime's CPU provider, in alternating runs.

Both run the same architecture at its native size, batch 1, in f32, on the same number of threads,
with random weights: dense f32 arithmetic takes the same time whatever the values are. ONNX models
are exported from timm (`efficientnet_*`, and `efficientnet_lite*` for the Lite family).

    cargo build --release --example time_network
    pip install torch timm onnx onnxruntime
    benches/compare_onnxruntime.py target/release/examples/time_network b0 lite0 b4

A round runs effnet for a while, then ONNX Runtime for a while; the table shows the median and the
least time of each over all rounds, and the ratios effnet / ONNX Runtime.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time


def timm_name(variant):
    return "efficientnet_" + variant.replace("-", "_")


def onnx_session(variant, size, threads, folder):
    import onnxruntime
    import timm
    import torch

    path = os.path.join(folder, variant + ".onnx")
    model = timm.create_model(timm_name(variant), exportable=True).eval()
    torch.onnx.export(model, torch.zeros(1, 3, size, size), path, input_names=["x"], opset_version=17)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Else its threads go on spinning during effnet's turn.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class Effnet:
    """A process that, for each line with a number of runs, answers with a line of milliseconds."""

    def __init__(self, program, variant, threads):
        command = [program, variant, str(threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.size = int(self.process.stdout.readline())

    def times(self, runs):
        self.process.stdin.write(f"{runs}\n")
        self.process.stdin.flush()
        return [float(ms) for ms in self.process.stdout.readline().split()]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def onnx_times(session, x, runs):
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        session.run(None, {"x": x})
        times.append(1e3 * (time.perf_counter() - start))
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the time_network example")
    parser.add_argument("variants", nargs="+", help="b0 to b4, lite0 to lite4, ...")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--runs", type=int, default=5, help="runs of each in a round")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()

    import numpy
    import onnxruntime

    print(f"ONNX Runtime {onnxruntime.__version__}, {arguments.threads} threads, milliseconds")
    columns = ["variant", "effnet", "least", "ORT", "least", "ratio", "ratio of least"]
    print(("{:>9}" * 6 + "{:>16}").format(*columns))
    with tempfile.TemporaryDirectory() as folder:
        for variant in arguments.variants:
            ours = Effnet(arguments.program, variant, arguments.threads)
            session = onnx_session(variant, ours.size, arguments.threads, folder)
            x = numpy.random.default_rng(0).standard_normal((1, 3, ours.size, ours.size))
            x = x.astype(numpy.float32)
            ours.times(2)
            onnx_times(session, x, 2)
            effnet, ort = [], []
            for _ in range(arguments.rounds):
                effnet += ours.times(arguments.runs)
                ort += onnx_times(session, x, arguments.runs)
            ours.close()
            medians = statistics.median(effnet), statistics.median(ort)
            least = min(effnet), min(ort)
            print(
                f"{variant:>9}{medians[0]:9.2f}{least[0]:9.2f}{medians[1]:9.2f}{least[1]:9.2f}"
                f"{medians[0] / medians[1]:9.2f}{least[0] / least[1]:16.2f}"
            )


if __name__ == "__main__":
    main()
