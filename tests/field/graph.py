"""Exported graphs as checkpoints: ONNX files by their exporters, and Paddle's inference models.

    python graph.py write           the committed fixtures, and the golden logits of Paddle
    python graph.py check EFFNET    full models, imported and run by the program, against ONNX
                                    Runtime and Paddle: f32 logits within 1e-4 of the largest

Weights and images are those of `tests/golden/generator.py`. A fixture is a graph without its
weights, which stand in a file beside it that is not committed: the test makes one.

PaddleClas's model definition and Paddle2ONNX are taken from PyPI without what they depend on, which
they need for other things: `pip install --no-deps`, into a temporary folder.
"""

import gzip
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import types

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = pathlib.Path(__file__).parent
GOLDEN = HERE.parent / "golden"
FIXTURES = HERE.parent / "fixtures" / "graph"
sys.path.insert(0, str(GOLDEN))

import numpy as np

import generator

SEED = 1
CLASSES = 10
TOLERANCE = 1e-4
EXTRA = ("paddleclas==2.6.0", "paddle2onnx==2.1.0")


def image(h, w):
    return generator.image(10_000 * h + w, h, w)


def extra(folder):
    """Installs EXTRA into a folder."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
    subprocess.run([*pip, *EXTRA], check=True)
    return folder


# ---- Paddle: one process per model, whose parameters have fixed names ----


def paddle_model(extra_folder, variant):
    """PaddleClas's model, untrained: its one file, without the rest of the package."""
    import paddle

    def package(name, **members):
        module = types.ModuleType(name)
        module.__path__ = []
        vars(module).update(members)
        sys.modules[name] = module

    base = "clas.arch.backbone"
    for name in ("clas", "clas.arch", base, f"{base}.base", f"{base}.model_zoo", "clas.utils"):
        package(name)
    package(f"{base}.base.theseus_layer", TheseusLayer=paddle.nn.Layer)
    package("clas.utils.save_load", load_dygraph_pretrain=None)
    path = pathlib.Path(extra_folder) / "paddleclas/ppcls/arch/backbone/model_zoo/efficientnet.py"
    spec = importlib.util.spec_from_file_location(f"{base}.model_zoo.efficientnet", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if os.environ.get("FLAGS_enable_pir_api") == "0":
        # Paddle 3's own sigmoid and product cannot write Paddle 2's programs.
        module.F.sigmoid = old_sigmoid
        paddle.multiply = lambda x, y: x * y
    return getattr(module, f"EfficientNet{variant}")(class_num=CLASSES)


def old_sigmoid(x):
    from paddle.base.layer_helper import LayerHelper

    helper = LayerHelper("sigmoid")
    out = helper.create_variable_for_type_inference(x.dtype)
    helper.append_op(type="sigmoid", inputs={"X": x}, outputs={"Out": out})
    return out


PARTS = {"_ecn": "expand", "_dcn": "depthwise", "_pcn": "project"}
KINDS = {"_bn.weight": "gamma", "_bn.bias": "beta", "_bn._mean": "mean", "_bn._variance": "var"}


def canonical(key):
    """The network's own name of PaddleClas's tensor."""
    block = re.match(r"_ef\._?blocks?\.(\d+)\.\.(_\w+)\.(.+)$", key)
    if block:
        number, part, rest = block.groups()
        if part == "_se":
            layer = "se_reduce" if rest.startswith("_conv1") else "se_expand"
        else:
            layer = PARTS[part]
        layer = f"blocks.{number}.{layer}"
    elif key.startswith("_fc."):
        layer = "classifier"
    else:
        layer = "stem" if key.startswith("_ef._conv_stem") else "head_conv"
    for end, kind in KINDS.items():
        if key.endswith(end):
            return f"{layer}.{kind}"
    return f"{layer}.{key.rsplit('.', 1)[1]}"


def paddle_export(extra_folder, variant, folder):
    """Exports a filled model with and without softmax, as PaddleClas does and for its logits."""
    import paddle

    model = paddle_model(extra_folder, variant)
    state = model.state_dict()
    shapes = {canonical(key): list(value.shape) for key, value in state.items()}
    has_se = "blocks.0.se_reduce.weight" in shapes
    for key, value in state.items():
        name = canonical(key)
        shape = list(value.shape)
        # Paddle's Linear keeps [in, out].
        shape = shape[::-1] if name == "classifier.weight" else shape
        prefix = name.rsplit(".", 2)[0]
        skip = False
        if name.endswith("project.weight"):
            c_out, c_mid = shape[:2]
            expand = shapes.get(f"{prefix}.expand.weight")
            skip = (expand[1] if expand else c_mid) == c_out
        values = generator.tensor(SEED, name, shape, has_se, False, skip)
        value.set_value(values.T.copy() if name == "classifier.weight" else values)

    class Probabilities(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return paddle.nn.functional.softmax(self.model(x), axis=-1)

    spec = [paddle.static.InputSpec([None, 3, 224, 224], "float32")]
    for layer, name in ((model, "logits"), (Probabilities(), "inference")):
        layer.eval()
        static = paddle.jit.to_static(layer, input_spec=spec, full_graph=True)
        paddle.jit.save(static, str(pathlib.Path(folder) / name))


def paddle_run(prefix, images):
    """What Paddle's inference gives for a saved program."""
    from paddle import inference

    program = next(p for p in (f"{prefix}.json", f"{prefix}.pdmodel") if os.path.exists(p))
    config = inference.Config(program, f"{prefix}.pdiparams")
    config.disable_glog_info()
    # As it is: the default merges and reorders operations.
    config.switch_ir_optim(False)
    predictor = inference.create_predictor(config)
    outputs = []
    for x in images:
        handle = predictor.get_input_handle(predictor.get_input_names()[0])
        handle.copy_from_cpu(np.ascontiguousarray(x[None]))
        predictor.run()
        output = predictor.get_output_handle(predictor.get_output_names()[0])
        outputs.append(output.copy_to_cpu()[0])
    return outputs


PADDLE = [("B0_small", "pdmodel"), ("B0_small", "json"), ("B0", "pdmodel"), ("B0", "json")]
# At odd maps PaddleClas's B0 to B7 keep a row more than SAME frozen at the native size.
PADDLE_SIZES = [(224, 224), (64, 96), (97, 65)]


def paddle(extra_folder, variant, form, folder):
    """`paddle_export` and `paddle_run` in a process of their own; logits and probabilities."""
    flags = {"FLAGS_enable_pir_api": "1" if form == "json" else "0"}
    arguments = ["paddle", str(extra_folder), variant, str(folder)]
    command = [sys.executable, __file__, *arguments]
    subprocess.run(command, check=True, env=os.environ | flags, stdout=subprocess.DEVNULL)
    with np.load(folder / "outputs.npz") as outputs:
        return {name: outputs[name] for name in outputs.files}


def paddle_child(extra_folder, variant, folder):
    paddle_export(extra_folder, variant, folder)
    images = [image(h, w) for h, w in PADDLE_SIZES]
    outputs = {}
    for name in ("logits", "inference"):
        found = paddle_run(f"{folder}/{name}", images)
        outputs |= {f"{name}{index}": output for index, output in enumerate(found)}
    np.savez(f"{folder}/outputs.npz", **outputs)


# ---- ONNX ----

# (name, family, variant, exporter's options, size, open size)
ONNX = [
    ("torchvision-b0-torchscript17", "torchvision", "b0", {"opset": 17}, (96, 64), False),
    ("torchvision-b0-dynamo18", "torchvision", "b0", {"opset": 18, "dynamo": True}, (96, 96), False),
    ("torchvision-b0-unfolded13", "torchvision", "b0", {"opset": 13, "keep": True}, (64, 64), True),
    ("timm-b0-torchscript9", "timm", "b0", {"opset": 9}, (64, 64), False),
    ("timm-tf-b0-torchscript13", "timm-tf", "b0", {"opset": 13}, (97, 130), True),
    ("timm-tf-b0-dynamo21", "timm-tf", "b0", {"opset": 21, "dynamo": True}, (96, 96), False),
    ("timm-tf-lite0-torchscript11", "timm-tf", "lite0", {"opset": 11}, (66, 96), False),
    ("timm-lite0-half", "timm", "lite0", {"opset": 17, "half": True}, (64, 64), False),
    ("lukemelas-b1-torchscript11", "lukemelas", "b1", {"opset": 11}, (128, 128), True),
]
# Those whose graphs are committed.
COMMITTED = {
    "torchvision-b0-torchscript17",
    "torchvision-b0-dynamo18",
    "torchvision-b0-unfolded13",
    "timm-tf-b0-torchscript13",
    "timm-tf-lite0-torchscript11",
    "lukemelas-b1-torchscript11",
}


def export(path, family, variant, options, size, open_size):
    """A public model, filled, and exported by PyTorch."""
    import torch

    from network import Network

    model = Network(family, variant, CLASSES, SEED).model.float()
    if hasattr(model, "set_swish"):
        model.set_swish(memory_efficient=False)
    x = torch.from_numpy(image(*size))[None]
    kwargs = {"opset_version": options["opset"], "dynamo": options.get("dynamo", False)}
    if options.get("half"):
        model, x = model.half(), x.half()
    if options.get("keep"):
        kwargs |= {
            "training": torch.onnx.TrainingMode.PRESERVE,
            "do_constant_folding": False,
        }
    if open_size:
        kwargs |= {"input_names": ["x"], "dynamic_axes": {"x": {0: "n", 2: "h", 3: "w"}}}
    torch.onnx.export(model, (x,), str(path), **kwargs)


def onnx_run(path, x):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    feed = session.get_inputs()[0]
    x = x.astype(np.float16) if feed.type == "tensor(float16)" else x
    return session.run(None, {feed.name: x[None]})[0][0].astype(np.float32)


def strip(path):
    """The graph of an ONNX file with its larger tensors named as in `weights.bin`, without them."""
    import onnx
    from onnx.external_data_helper import set_external_data

    model = onnx.load(str(path))
    offset = 0
    tensors = list(model.graph.initializer)
    for node in model.graph.node:
        tensors += [a.t for a in node.attribute if a.type == onnx.AttributeProto.TENSOR]
    for tensor in tensors:
        if len(tensor.raw_data) > 256:
            length = len(tensor.raw_data)
            set_external_data(tensor, "weights.bin", offset, length)
            tensor.ClearField("raw_data")
            offset += length
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    return model.SerializeToString(deterministic=True), offset


def write_gzip(path, data):
    with open(path, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as out:
        out.write(data)
    print(f"{path.name}: {path.stat().st_size} bytes")


def write():
    FIXTURES.mkdir(exist_ok=True)
    records = []
    with tempfile.TemporaryDirectory() as temporary:
        temporary = pathlib.Path(temporary)
        tools = extra(temporary / "tools")
        for variant, form in PADDLE:
            folder = temporary / f"{variant}-{form}"
            folder.mkdir()
            outputs = paddle(tools, variant, form, folder)
            write_gzip(
                FIXTURES / f"paddle_{variant.lower()}.{form}.gz",
                (folder / f"inference.{form}").read_bytes(),
            )
            for index, (h, w) in enumerate(PADDLE_SIZES):
                logits = outputs[f"logits{index}"].tolist()
                records.append(
                    {
                        "fixture": f"paddle_{variant.lower()}.{form}",
                        "variant": variant.lower().replace("_", "-"),
                        "height": h,
                        "width": w,
                        "classes": CLASSES,
                        "weights_seed": SEED,
                        "image_seed": 10_000 * h + w,
                        "logits": [float(f"{logit:.9g}") for logit in logits],
                    }
                )
        text = ",\n".join(json.dumps(record) for record in records)
        (GOLDEN / "paddle-inference.json").write_text(f"[\n{text}\n]\n")
        for name, *model in ONNX:
            if name in COMMITTED:
                path = temporary / f"{name}.onnx"
                export(path, *model)
                graph, bytes_beside = strip(path)
                assert bytes_beside < 1 << 26
                write_gzip(FIXTURES / f"{name}.onnx.gz", graph)


# ---- The program ----


def effnet(program, *arguments):
    result = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"effnet {' '.join(map(str, arguments))}:\n{result.stderr}")
    return result.stdout


def imported(program, source, x, folder):
    """Logits of the program for a checkpoint, and what the packed file says of it."""
    packed, tensor, logits = folder / "packed.safetensors", folder / "x.npy", folder / "y.npy"
    report = effnet(program, "import", source, "--precision", "fp32", "-o", packed, "--json")
    np.save(tensor, x[None])
    effnet(program, "run", tensor, "--layout", "nchw", "--weights", packed, "--device", "cpu",
           "-o", logits)
    return np.load(logits)[0], json.loads(report)["metadata"]


def compare(name, found, expected, tolerance=TOLERANCE):
    largest = np.abs(expected).max()
    worst = np.abs(found - expected).max() / largest
    print(f"{name}: {worst:.1e} of the largest logit, {largest:.2f}", flush=True)
    if not worst <= tolerance:
        raise SystemExit(f"{name}: {worst:.1e} of the largest logit; allowed {tolerance:.0e}")


def softmax(x):
    x = np.exp(x - x.max())
    return x / x.sum()


def check(program):
    with tempfile.TemporaryDirectory() as temporary:
        temporary = pathlib.Path(temporary)
        tools = extra(temporary / "tools")
        for name, family, variant, options, size, open_size in ONNX:
            path = temporary / f"{name}.onnx"
            export(path, family, variant, options, size, open_size)
            # A graph for any size is compared at another one than it was exported at.
            for h, w in {size, (75, 106)} if open_size and family != "lukemelas" else {size}:
                x = image(h, w)
                found, metadata = imported(program, path, x, temporary)
                # ONNX Runtime rounds the maps of 49 convolutions to half precision, each by a part
                # of at most 2^-11: all in one direction, 49 times that.
                tolerance = 49 * 2**-11 if options.get("half") else TOLERANCE
                compare(f"{name} {h}x{w}", found, onnx_run(path, x), tolerance)
                assert metadata["variant"] == variant, metadata
                assert metadata["family"] == family, metadata
        for variant, form in PADDLE:
            folder = temporary / f"{variant}-{form}"
            folder.mkdir()
            outputs = paddle(tools, variant, form, folder)
            pair = [folder / f"inference.{form}", folder / "inference.pdiparams"]
            archives = [temporary / "model.tar", temporary / "model.tar.gz"]
            for archive, mode in zip(archives, ("w", "w:gz")):
                with tarfile.open(archive, mode) as out:
                    for file in pair:
                        out.add(file, f"{variant}_infer/{file.name}")
            sources = [*pair, folder, *archives]
            for index, (h, w) in enumerate(PADDLE_SIZES):
                x = image(h, w)
                # Every way to give the pair once; the folder holds a second pair, `logits`.
                for source in sources if index else sources[:1]:
                    found, metadata = imported(program, source, x, temporary)
                    name = f"Paddle {variant} {form} as {source.name} {h}x{w}"
                    compare(name, found, outputs[f"logits{index}"])
                    probabilities = outputs[f"inference{index}"]
                    assert np.abs(softmax(found) - probabilities).max() < TOLERANCE, name
                    assert metadata["family"] == "paddle-clas", metadata
            path = temporary / f"paddle2onnx-{variant}.onnx"
            command = [sys.executable, "-c", PADDLE2ONNX, tools, *pair, path]
            subprocess.run(command, check=True, capture_output=True)
            x = image(*PADDLE_SIZES[0])
            found, _ = imported(program, path, x, temporary)
            compare(f"Paddle2ONNX {variant} {form}", found, outputs["logits0"])


PADDLE2ONNX = """
import sys
tools, program, parameters, path = sys.argv[1:]
sys.path.append(tools)
import paddle2onnx
paddle2onnx.export(program, parameters, path, opset_version=13, optimize_tool="None")
"""


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write"]:
            write()
        case ["check", program]:
            check(program)
        case ["paddle", extra_folder, variant, folder]:
            paddle_child(extra_folder, variant, folder)
        case _:
            raise SystemExit(__doc__)
