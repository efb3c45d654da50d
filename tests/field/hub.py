"""Checkpoints of Hugging Face's libraries and of Keras, and of networks that are not of the family.

    python hub.py write           writes tests/fixtures/hub/
    python hub.py check EFFNET    imports full checkpoints with the program and compares logits

`check` makes random models with the real libraries, saves them as these save them, imports them,
runs them on random images, and asks for logits within 1e-4 of the largest in f32. Exit status 0, or
a failure by name. Runs on a CPU in minutes.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import timm
import torch
import torchvision
import transformers
from PIL import Image

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures" / "hub"
# Width, depth, native size, hidden width, and blocks with symmetric pads, as published.
CONFIGS = {
    "b0": (1.0, 1.0, 224, 1280, []),
    "b1": (1.0, 1.1, 240, 1280, [16]),
    "b2": (1.1, 1.2, 260, 1408, [5, 8, 16]),
}
# The networks whose tensors `write` records, as timm and torchvision call them.
STRANGERS = [
    "efficientnetv2_rw_t", "efficientnet_es", "mixnet_s", "mobilenetv2_100",
    "mobilenetv3_large_100", "mobilenetv4_conv_small", "tf_efficientnet_cc_b0_4e",
    "efficientnet_b0_gn", "efficientnet_b0_g16_evos", "efficientnet_x_b3", "semnasnet_100",
    "fbnetc_100", "ghostnet_100", "resnet18", "test_efficientnet_evos",
]
TORCHVISION_STRANGERS = ["efficientnet_v2_s", "mobilenet_v2", "mobilenet_v3_large"]


def transformers_config(variant, classes, **changes):
    width, depth, size, hidden, padding = CONFIGS[variant]
    return transformers.EfficientNetConfig(
        width_coefficient=width, depth_coefficient=depth, image_size=size, hidden_dim=hidden,
        num_labels=classes, **{"depthwise_padding": padding, **changes},
    )


def google_processor(size):
    """The processor of Google's repositories, as their conversion writes it."""
    return transformers.EfficientNetImageProcessorPil(
        size={"height": size, "width": size},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.47853944, 0.4732864, 0.47434163],
        do_center_crop=False,
    )


def fill(model, seed=0):
    """Random weights under which activations and logits are of order one."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=rng)
            elif name.endswith("running_mean"):
                tensor.uniform_(-0.2, 0.2, generator=rng)
            elif tensor.dim() > 1:
                fan_in = tensor[0].numel()
                tensor.normal_(0, (1.5 / fan_in) ** 0.5, generator=rng)
            elif name.endswith("weight"):
                tensor.uniform_(0.75, 1.25, generator=rng)
            elif name.endswith("bias"):
                tensor.uniform_(-0.2, 0.2, generator=rng)
    return model.eval()


def stranger(name, library):
    """Names and shapes of a network: the weights of the first blocks, one tensor of each other
    block, and what is in no block."""
    with torch.device("meta"):
        if library == "timm":
            model = timm.create_model(name)
        else:
            model = getattr(torchvision.models, name)()
    kept, seen = {}, set()
    squeezes = False
    for key, tensor in model.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        block = re.match(r"((?:[a-z_]+\.)?\w*\d+\.\d+)\.", key)
        first = block and re.search(r"(^|\D)[01]\.[01]$", block[1]) and tensor.dim() > 1
        squeeze = ".se." in key and not squeezes
        squeezes = squeezes or squeeze
        if block is None or first or squeeze or block[1] not in seen or "routing" in key:
            kept[key] = list(tensor.shape)
        if block:
            seen.add(block[1])
    return kept


def write():
    FIXTURES.mkdir(parents=True, exist_ok=True)
    found = {f"timm/{name}": stranger(name, "timm") for name in STRANGERS}
    for name in TORCHVISION_STRANGERS:
        found[f"torchvision/{name}"] = stranger(name, "torchvision")
    lines = [
        json.dumps(name) + ": " + json.dumps(shapes, separators=(",", ":"))
        for name, shapes in found.items()
    ]
    (FIXTURES / "strangers.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    # Pads that are those of no published size, and the names of three classes.
    names = {0: "cat", 1: "dog", 2: "bird"}
    config = transformers_config("b0", 3, depthwise_padding=[3, 11], id2label=names)
    config.architectures = ["EfficientNetForImageClassification"]
    config.save_pretrained(FIXTURES)
    google_processor(240).save_pretrained(FIXTURES)


class Check:
    """The program under test, and a folder for its files."""

    def __init__(self, effnet, folder):
        self.effnet, self.folder = os.path.abspath(effnet), pathlib.Path(folder)

    def run(self, *args):
        done = subprocess.run(
            [self.effnet, *map(str, args)], capture_output=True, text=True, cwd=self.folder
        )
        return done.returncode, done.stdout, done.stderr

    def imported(self, path):
        packed = self.folder / "packed.safetensors"
        status, out, err = self.run("import", path, "--precision", "fp32", "-o", packed, "--json")
        assert status == 0, f"import {path}: {err}"
        return packed, json.loads(out)

    def logits(self, packed, image):
        """Logits of one image [3, h, w], already normalised."""
        np.save(self.folder / "x.npy", image[None].astype(np.float32))
        status, _, err = self.run(
            "run", "x.npy", "--layout", "nchw", "--weights", packed, "--device", "cpu",
            "-o", "logits.npy",
        )
        assert status == 0, f"run: {err}"
        return np.load(self.folder / "logits.npy")[0]


def close(found, expected, what):
    largest = np.abs(expected).max()
    worst = np.abs(found - expected).max() / largest
    print(f"{what}: {worst:.1e} of the largest logit, {largest:.3g}")
    assert np.isfinite(found).all() and worst < 1e-4, what


def check_transformers(check):
    rng = np.random.default_rng(0)
    cases = [
        ("b0", [(224, 224), (97, 130)], {}),
        ("b1", [(240, 240), (256, 256)], {}),
        ("b2", [(128, 191)], {}),
        # Pads that no published size has, and the default, which is of even sides only.
        ("b0", [(160, 129)], {"depthwise_padding": [3, 11]}),
        ("b1", [(240, 240)], {"depthwise_padding": []}),
        ("b0", [(96, 96)], {"batch_norm_eps": 0.01}),
    ]
    for number, (variant, sizes, changes) in enumerate(cases):
        model = transformers.EfficientNetForImageClassification(
            transformers_config(variant, 7, **changes)
        )
        fill(model, number)
        folder = check.folder / f"transformers-{number}"
        # Shards, where one file would do.
        model.save_pretrained(folder, max_shard_size="6MB" if number == 0 else "5GB")
        google_processor(CONFIGS[variant][2]).save_pretrained(folder)
        packed, report = check.imported(folder)
        assert report["metadata"]["family"] == "transformers", report
        assert report["metadata"]["variant"] == variant, report
        for h, w in sizes:
            image = rng.standard_normal((3, h, w)).astype(np.float32)
            with torch.no_grad():
                expected = model(torch.from_numpy(image)[None]).logits[0].numpy()
            what = f"transformers {variant} {h}x{w} {changes}"
            close(check.logits(packed, image), expected, what)
        if number == 0:
            shards = sorted(folder.glob("model-*.safetensors"))
            assert len(shards) > 1, shards
            check_photograph(check, packed, folder, model)
            shards[-1].rename(shards[-1].with_suffix(".away"))
            status, _, err = check.run("import", folder, "-o", "x")
            assert status != 0 and shards[-1].name in err, err


def check_photograph(check, packed, folder, model):
    """From pixels to logits, by transformers' own processor as it was saved."""
    y, x = np.mgrid[0:180, 0:301]
    pixels = np.stack([x * 255 // 300, y * 255 // 179, (x * 7 + y * 13) % 256], -1)
    pixels = pixels.astype(np.uint8)
    image = Image.fromarray(pixels)
    image.save(check.folder / "photograph.png")
    processor = transformers.EfficientNetImageProcessorPil.from_pretrained(folder)
    inputs = processor(images=image, return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).logits[0].numpy()
    status, out, err = check.run(
        "classify", "photograph.png", "--weights", packed, "--device", "cpu", "--json", "--topk", "7"
    )
    assert status == 0, err
    found = {top["index"]: top["logit"] for top in json.loads(out.splitlines()[0])["top"]}
    found = np.array([found[n] for n in range(7)])
    close(found, expected, "transformers' processor, from a photograph")


def check_keras(check):
    """The program's own two lines convert each of Keras's files; then the logits are Keras's."""
    import keras

    rng = np.random.default_rng(1)
    for variant, side in (("b0", 224), ("b1", 240)):
        build = getattr(keras.applications, f"EfficientNet{variant.upper()}")
        model = build(weights=None, classifier_activation=None)
        fan_in = lambda shape: np.prod(shape[:-1]) if shape[-1] > 1 else np.prod(shape[:-2])
        for weight in model.weights:
            name, shape = weight.path, weight.shape
            if name.startswith("normalization"):
                continue
            if len(shape) > 1:
                values = rng.normal(0, (1.5 / fan_in(shape)) ** 0.5, shape)
            elif name.endswith(("variance", "gamma")):
                values = rng.uniform(0.75, 1.25, shape)
            else:
                values = rng.uniform(-0.2, 0.2, shape)
            weight.assign(values.astype(np.float32))
        image = rng.uniform(0, 255, (side, side, 3)).astype(np.float32)
        expected = keras.ops.convert_to_numpy(model(image[None], training=False))[0]
        endings = (".keras", ".h5", ".weights.h5") if variant == "b0" else (".keras",)
        for ending in endings:
            path = check.folder / f"{variant}{ending}"
            model.save_weights(path) if "weights" in ending else model.save(path)
            status, _, err = check.run("import", path, "-o", "x")
            assert status != 0 and "two lines of Python" in err, err
            load = re.search(r"model = (keras\.models\.load_model\(\S+\))", err)
            by_weights = re.search(r"model = (keras\.applications\.\S+\(\S+\))", err)
            save = re.search(r"(numpy\.savez\(.*?model\.weights}\))", err)
            first = (by_weights if "weights" in ending else load)[1].replace("FILE", str(path))
            target = str(check.folder / "model.npz")
            second = save[1].replace("model.npz", target)
            names = {"keras": keras, "numpy": np}
            exec(f"model = {first}\n{second}", names)
            packed, report = check.imported(target)
            metadata = report["metadata"]
            assert (metadata["family"], metadata["variant"]) == ("keras", variant), metadata
            recipe = metadata["recipe"]
            mean, std = np.array(recipe["mean"]), np.array(recipe["std"])
            ready = (image / 255 - mean) / std
            found = check.logits(packed, ready.transpose(2, 0, 1))
            close(found, expected, f"keras {variant}{ending}")


def check_strangers(check):
    for name in ("efficientnetv2_rw_t", "efficientnet_es", "mixnet_s", "efficientnet_b0_gn"):
        path = check.folder / f"{name}.pth"
        torch.save(timm.create_model(name).state_dict(), path)
        status, _, err = check.run("import", path, "-o", "x")
        assert status != 0 and "looks like" in err, f"{name}: {err}"
        print(f"{name}: {err.strip().splitlines()[0][-90:]}")


def main():
    if sys.argv[1:] == ["write"]:
        write()
    elif len(sys.argv) == 3 and sys.argv[1] == "check":
        with tempfile.TemporaryDirectory() as folder:
            check = Check(sys.argv[2], folder)
            check_transformers(check)
            check_keras(check)
            check_strangers(check)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
