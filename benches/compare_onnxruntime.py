#!/usr/bin/env python3
"""Times effnet's CPU executor against ONNX Runtime's CPU provider, in alternating runs.

Both run the same network with the same weights on the same image, at the variant's native size,
batch 1, in f32, on the same number of threads. The network is timm's (`efficientnet_*`) with the
weights that it is initialised with; effnet imports its state dict, ONNX Runtime its ONNX export.

    cargo build --release --bins --examples
    pip install torch timm onnx onnxruntime
    benches/compare_onnxruntime.py target/release b0 lite0 b4

A round runs effnet for a while, then ONNX Runtime for a while; the table shows the median and the
least time of each over all rounds, the ratios effnet / ONNX Runtime, and the largest difference of
their logits as a part of the largest logit.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time


class Effnet:
    """A process that prints logits, then answers a number of runs with as many times."""

    def __init__(self, folder, weights, image, threads):
        command = [os.path.join(folder, "examples", "time_network"), weights, image, str(threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.logits = self.line()

    def line(self):
        return [float(word) for word in self.process.stdout.readline().split()]

    def times(self, runs):
        self.process.stdin.write(f"{runs}\n")
        self.process.stdin.flush()
        return self.line()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class OnnxRuntime:
    def __init__(self, path, image, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Else its threads go on spinning during effnet's turn.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(path, options, providers=providers)
        self.inputs = {"x": image}
        self.logits = self.session.run(None, self.inputs)[0][0]

    def times(self, runs):
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            self.session.run(None, self.inputs)
            times.append(1e3 * (time.perf_counter() - start))
        return times


def both(variant, program_folder, threads, folder):
    """The same network, weights and image in both runtimes."""
    import numpy
    import timm
    import torch

    effnet = os.path.join(program_folder, "effnet")
    info = json.loads(subprocess.check_output([effnet, "info", variant, "--json"]))
    side = info["native_size"]["h"]
    torch.manual_seed(0)
    name = "efficientnet_" + variant.replace("-", "_")
    model = timm.create_model(name, exportable=True).eval()
    checkpoint, weights, onnx, raw = (
        os.path.join(folder, variant + ending) for ending in (".pth", ".safetensors", ".onnx", ".f32")
    )
    torch.save(model.state_dict(), checkpoint)
    command = [effnet, "import", checkpoint, "--family", "timm", "--precision", "fp32"]
    command += ["--size", f"{side}x{side}", "-o", weights]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    image = torch.randn(1, 3, side, side)
    torch.onnx.export(model, image, onnx, input_names=["x"], opset_version=17)
    image.permute(0, 2, 3, 1).contiguous().numpy().astype(numpy.float32).tofile(raw)
    ours = Effnet(program_folder, weights, raw, threads)
    return ours, OnnxRuntime(onnx, image.numpy(), threads)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", help="the folder of the release build, target/release")
    parser.add_argument("variants", nargs="+", help="b0 to b7, lite0 to lite4")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--runs", type=int, default=5, help="runs of each in a round")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()

    import onnxruntime

    print(f"ONNX Runtime {onnxruntime.__version__}, {arguments.threads} threads, milliseconds")
    columns = ["variant", "effnet", "least", "ORT", "least", "ratio", "ratio of least", "logits"]
    print(("{:>9}" * 6 + "{:>16}{:>10}").format(*columns))
    with tempfile.TemporaryDirectory() as folder:
        for variant in arguments.variants:
            ours, ort = both(variant, arguments.programs, arguments.threads, folder)
            largest = max(abs(logit) for logit in ort.logits)
            difference = max(abs(a - b) for a, b in zip(ours.logits, ort.logits, strict=True))
            our_times, ort_times = [], []
            ours.times(2)
            for _ in range(arguments.rounds):
                our_times += ours.times(arguments.runs)
                ort_times += ort.times(arguments.runs)
            ours.close()
            medians = statistics.median(our_times), statistics.median(ort_times)
            least = min(our_times), min(ort_times)
            print(
                f"{variant:>9}{medians[0]:9.2f}{least[0]:9.2f}{medians[1]:9.2f}{least[1]:9.2f}"
                f"{medians[0] / medians[1]:9.2f}{least[0] / least[1]:16.2f}"
                f"{difference / largest:10.1e}"
            )


if __name__ == "__main__":
    main()
