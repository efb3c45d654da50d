#!/usr/bin/env python3
"""Checks exported ONNX files: ONNX's checker, and ONNX Runtime against effnet's CPU executor.

    cargo build --release --bin effnet --example onnx_reference
    pip install -r tests/onnx/requirements.txt
    tests/onnx/check.py target/release

Every variant, with generated weights in three conventions (symmetric pads, SAME, and SAME frozen at
the native size while the input has another), is exported in every form; with --checkpoint, public
checkpoints too. For each file:

- `onnx.checker.check_model(full_check=True)`: every node against its operator's definition, and
  every recorded shape and type against what the checker infers;
- ONNX Runtime's logits (and features, where exported) on two images against the CPU executor's.
  Allowed in FP32: 1e-4 of the largest. Allowed in FP16: 4 * 2^-12 * sqrt(n) of it, where n counts the
  f16 weights and the f16 tensors between nodes: rounding to f16 changes a number by a part of rms
  below 2^-12, errors are independent, and the worst class lies within about four deviations
  (`tests/golden/README.md`). Some networks magnify errors: for those, 2^13 times what was found in
  FP32, because f16 rounds 2^13 times as coarsely in the same places; but never more than 0.1.

Then the check itself is checked: pads moved by one pixel, batch-norms with a usual epsilon, relu for
relu6 or swish, and others, each in a file that was right, must all be found.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time

import numpy
import onnx
import onnxruntime

VARIANTS = [f"b{n}" for n in range(9)] + ["b0-small"] + [f"lite{n}" for n in range(5)]
FAMILIES = ["timm", "timm-tf", "lukemelas"]
IMAGES = 2
FP32_TOLERANCE = 1e-4
FP16_MOST = 0.1
# Each precision with both kinds of batch-norms, of batches and, in FP16, of reductions.
FORMS = {
    "fp32 folded": ["--batch", str(IMAGES)],
    "fp32 separate": "--batch-norm separate --dynamic-batch --features".split(),
    "fp16 folded": "--precision fp16 --dynamic-batch --features".split(),
    "fp16 separate": ["--precision", "fp16", "--batch-norm", "separate", "--reductions", "fp16"]
    + ["--batch", str(IMAGES)],
    "fp32 opset 13": "--batch-norm separate --dynamic-batch --opset 13".split(),
    "fp16 opset 21": "--precision fp16 --dynamic-batch --opset 21".split(),
}


class Failure(Exception):
    """A file that is not right."""


def size_of(variant, family, native):
    """Small, and even at the first stride-2 convolutions, where the conventions differ."""
    if variant == "b8":
        # At larger sizes its generated weights magnify rounding: in f32, ONNX Runtime and the CPU
        # executor are 1e-3 from f64, at 128x96.
        return (64, 33) if family == "lukemelas" else (33, 64)
    if family == "lukemelas":
        return 96, 128  # not the native size: the pads are
    return native if native[0] <= 240 else (128, 96)


class Network:
    """Packed weights, and what the CPU executor makes of two images."""

    def __init__(self, programs, weights, size, folder):
        self.effnet = os.path.join(programs, "effnet")
        self.weights, self.size, self.folder = weights, size, folder
        command = [os.path.join(programs, "examples", "onnx_reference"), "run", weights]
        subprocess.run(command + ["%dx%d" % size, str(IMAGES), folder], check=True)
        self.input = self.read("input", 3, *size)
        self.expected = {name: self.read(name, -1) for name in ["logits", "features"]}

    def read(self, name, *shape):
        values = numpy.fromfile(os.path.join(self.folder, name + ".f32"), numpy.float32)
        return values.reshape(IMAGES, *shape)

    def export(self, options):
        path = os.path.join(self.folder, "network.onnx")
        command = [self.effnet, "export", "onnx", "--weights", self.weights, "-o", path, "--json"]
        command += ["--size", "%dx%d" % self.size] + options
        report = json.loads(subprocess.check_output(command))
        if report["output_bytes"] != os.path.getsize(path):
            raise Failure(f"reported {report['output_bytes']} bytes")
        return onnx.load(path)


def rounded(model):
    """How many f16 tensors there are: weights, and values between nodes."""
    half = onnx.TensorProto.FLOAT16
    weights = sum(len(t.dims) > 1 and t.data_type == half for t in model.graph.initializer)
    values = sum(v.type.tensor_type.elem_type == half for v in model.graph.value_info)
    return weights + values


def tolerance(model, fp32_difference):
    n = rounded(model)
    if n == 0:
        return FP32_TOLERANCE
    return min(FP16_MOST, max(4 * 2**-12 * math.sqrt(n), 2**13 * fp32_difference))


def run(model, images):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"input": images})


def difference(network, model, images=IMAGES):
    """The largest difference of any output as a part of its largest value."""
    found = run(model, network.input[:images])
    worst = 0.0
    for output, values in zip(model.graph.output, found, strict=True):
        expected = network.expected[output.name][:images]
        if values.shape != expected.shape or values.dtype != numpy.float32:
            raise Failure(f"{output.name}: {values.dtype} {values.shape}")
        if not numpy.isfinite(values).all():
            raise Failure(f"{output.name}: not finite")
        worst = max(worst, float(abs(values - expected).max() / abs(expected).max()))
    return worst


def check(network, form, fp32_difference):
    """The difference that a form of a network has, and the one that it may have."""
    model = network.export(FORMS[form])
    onnx.checker.check_model(model, full_check=True)
    opset = int(FORMS[form][-1]) if "--opset" in FORMS[form] else 17
    if [entry.version for entry in model.opset_import] != [opset]:
        raise Failure(f"not opset {opset}")
    found, allowed = difference(network, model), tolerance(model, fp32_difference)
    if "--dynamic-batch" in FORMS[form]:
        # The same file takes another number of images.
        found = max(found, difference(network, model, images=1))
    if not found <= allowed:
        raise Failure(f"{found:.2e} of the largest value, allowed {allowed:.1e}")
    return found, allowed


def nodes(model, op_type):
    return [node for node in model.graph.node if node.op_type == op_type]


def attribute(node, name):
    return next(a for a in node.attribute if a.name == name)


def shift_pads(model):
    """One convolution's window a pixel up and left."""
    for node in nodes(model, "Conv"):
        pads = attribute(node, "pads").ints
        if len(set(pads)) > 1:
            pads[:] = [pads[2], pads[3], pads[0], pads[1]]
            return
    node = next(n for n in nodes(model, "Conv") if attribute(n, "kernel_shape").ints[0] > 1)
    pads = attribute(node, "pads").ints
    pads[:] = [pads[0] + 1, pads[1] + 1, pads[2] - 1, pads[3] - 1]


def usual_epsilon(model):
    for node in nodes(model, "BatchNormalization"):
        attribute(node, "epsilon").f = 1e-3


def other_activation(model):
    """Relu for the first relu6, or for the sigmoid of the first swish."""
    node = (nodes(model, "Clip") or nodes(model, "Sigmoid"))[0]
    node.op_type = "Relu"
    del node.input[1:]


def no_skip(model):
    node = nodes(model, "Add")[-1]
    node.op_type = "Identity"
    del node.input[1:]


def no_gate(model):
    gate = [node for node in nodes(model, "Mul") if node.name.endswith(".gated")]
    if not gate:
        return False
    gate[-1].op_type = "Identity"
    del gate[-1].input[1:]


def untransposed_kernel(model):
    """One depthwise kernel with its rows for columns."""
    name = "blocks.0.depthwise.weight"
    tensor = next(t for t in model.graph.initializer if t.name == name)
    values = onnx.numpy_helper.to_array(tensor).swapaxes(2, 3)
    tensor.CopyFrom(onnx.numpy_helper.from_array(numpy.ascontiguousarray(values), name))


WRONG = (Failure, onnx.checker.ValidationError, onnx.shape_inference.InferenceError)
FAULTS = [shift_pads, usual_epsilon, other_activation, no_skip, no_gate, untransposed_kernel]


def check_faults(network, label):
    """Every fault in an otherwise right file must be found."""
    for fault in FAULTS:
        model = network.export(FORMS["fp32 separate"])
        if fault(model) is False:
            continue
        found = difference(network, model)
        line = f"{label:<24}{'fault: ' + fault.__name__:<28}{found:10.1e}"
        if found <= FP32_TOLERANCE:
            raise Failure(line + "  NOT FOUND")
        print(line + "  found", flush=True)


def cases(arguments, folder):
    """Label, weights and size of every network."""
    reference = os.path.join(arguments.programs, "examples", "onnx_reference")
    effnet = os.path.join(arguments.programs, "effnet")
    weights = os.path.join(folder, "weights.safetensors")
    for checkpoint in arguments.checkpoint:
        command = [effnet, "import", checkpoint, "--precision", "fp32", "-o", weights, "--json"]
        metadata = json.loads(subprocess.check_output(command))["metadata"]
        size = metadata["recipe"]["size"]
        yield metadata["name"].split("/")[-1], weights, (size["h"], size["w"])
    for variant in arguments.variants or VARIANTS:
        info = json.loads(subprocess.check_output([effnet, "info", variant, "--json"]))
        native = info["native_size"]["h"], info["native_size"]["w"]
        for family in FAMILIES:
            subprocess.run([reference, "pack", variant, family, weights], check=True)
            yield f"{variant} {family}", weights, size_of(variant, family, native)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", help="the folder of the build, as target/release")
    parser.add_argument("variants", nargs="*", help="b0 to b8, b0-small, lite0 to lite4 [all]")
    parser.add_argument("--checkpoint", action="append", default=[], help="one to import and check")
    arguments = parser.parse_args()

    print(f"ONNX {onnx.__version__}, ONNX Runtime {onnxruntime.__version__}")
    print(f"{'network':<24}{'form':<16}{'size':>9}{'allowed':>10}{'found':>10}{'s':>7}")
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for label, weights, size in cases(arguments, folder):
            network = Network(arguments.programs, weights, size, folder)
            fp32_difference = 0.0
            for form in FORMS:
                start = time.monotonic()
                line = f"{label:<24}{form:<16}{'%dx%d' % size:>9}"
                try:
                    found, allowed = check(network, form, fp32_difference)
                    if form.startswith("fp32"):
                        fp32_difference = max(fp32_difference, found)
                    seconds = time.monotonic() - start
                    print(f"{line}{allowed:10.1e}{found:10.1e}{seconds:7.1f}", flush=True)
                except WRONG as error:
                    failures += 1
                    print(f"{line}  FAILED: {error}", flush=True)
            if label.split()[0] in ("b0", "lite0") or label in ("b0-small timm",):
                try:
                    check_faults(network, label)
                except Failure as error:
                    failures += 1
                    print(error, flush=True)
    if failures:
        sys.exit(f"{failures} failed")
    print("all as expected")


if __name__ == "__main__":
    main()
