#!/usr/bin/env python3
"""Checkpoints of real timm under the names that trainers and hubs give them, through the program.

    pip install -r tests/field/requirements.txt
    cargo build
    tests/field/evidence.py check target/debug/effnet

Each case saves a full B0 as its library does, imports it with the program, and holds the family, the
recipe, the labels and the line of evidence to what was saved. Then photographs go both ways, through
timm's own transform and model and through `effnet classify`: every logit must be within 1e-4 of the
largest (f32 on both sides, sums in another order). Wrong families, eps and recipes, taken on purpose,
must be far outside.
"""

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import timm
import timm.data
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.models import save_for_hf
from timm.utils import CheckpointSaver

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/golden"))
import families
import generator
import network as golden

PHOTOS = ROOT / "tests/fixtures/images/photos"
# As a part of the largest |logit|.
TOLERANCE = 1e-4


def model_of(name, **options):
    """A model with the generated weights of the golden logits, whose values stay of order one."""
    model = timm.create_model(name, **options).eval()
    state = model.state_dict()
    names = families.canonical_names("timm", state)
    shapes = {canonical: tuple(state[key].shape) for key, canonical in names.items()}
    for key, canonical in names.items():
        skip = golden.Network.skips(shapes, canonical.rsplit(".", 2)[0])
        values = generator.tensor(20, canonical, shapes[canonical], True, False, skip)
        state[key] = torch.from_numpy(values)
    model.load_state_dict(state)
    return model


class Check:
    """The program, and a folder for what it reads and writes."""

    def __init__(self, effnet, folder):
        self.effnet, self.folder, self.faults = effnet, Path(folder), []
        self.images = []
        for photo in sorted(PHOTOS.glob("*.jpg")):
            # PNG, so that both sides have the same pixels whatever decodes a JPEG.
            image = Image.open(photo).convert("RGB")
            path = self.folder / f"{photo.stem}.png"
            image.save(path)
            self.images.append(path)

    def run(self, *args):
        return subprocess.run([self.effnet, *map(str, args)], capture_output=True, text=True)

    def expect(self, title, what, found, expected):
        if found != expected:
            self.faults.append(f"{title}: {what}: expected {expected}, found {found}")

    def imported(self, title, source, *options):
        """The report of an import in f32, or none after a fault."""
        packed = self.folder / "packed.safetensors"
        packed.unlink(missing_ok=True)
        ran = self.run("import", source, "--precision", "fp32", "-o", packed, "--json", *options)
        if ran.returncode != 0:
            self.faults.append(f"{title}: import: {ran.stderr.strip()}")
            return None
        return json.loads(ran.stdout)

    def logits(self, classes):
        packed = self.folder / "packed.safetensors"
        common = ["classify", "--device", "cpu", "--weights", packed, "--json"]
        ran = self.run(*common, "--topk", max(classes, 1), *self.images)
        if ran.returncode != 0:
            raise SystemExit(f"classify: {ran.stderr}")
        lines = [json.loads(line) for line in ran.stdout.splitlines()]
        by_class = lambda line: sorted(line["top"], key=lambda top: top["index"])
        logits = np.array([[top["logit"] for top in by_class(line)] for line in lines])
        probabilities = [[top["probability"] for top in by_class(line)] for line in lines]
        return logits, probabilities, lines[0]["activation"]

    def reference(self, model, data):
        transform = timm.data.create_transform(**data)
        batch = torch.stack([transform(Image.open(path)) for path in self.images])
        with torch.no_grad():
            return model(batch).numpy()

    def near(self, title, found, expected, wanted=True):
        far = np.abs(found - expected).max() / np.abs(expected).max()
        print(f"  {title}: off by {far:.1e} of the largest")
        if (far <= TOLERANCE) != wanted:
            self.faults.append(f"{title}: off by {far:.1e} of the largest of {expected.shape}")


def trained(check):
    """timm's training script: model_best.pth.tar with arch, args and the state dict."""
    title = "timm's CheckpointSaver"
    model = model_of("tf_efficientnet_b0", num_classes=3)
    folder = check.folder / "20240131-101112-run"
    folder.mkdir()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    args = argparse.Namespace(
        model="tf_efficientnet_b0", num_classes=3, img_size=192, interpolation="bilinear",
        mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 0.25], crop_pct=0.9, input_size=None, lr=0.1,
    )
    saver = CheckpointSaver(model, optimizer, args=args, checkpoint_dir=str(folder))
    saver.save_checkpoint(0, metric=1.0)
    report = check.imported(title, folder / "model_best.pth.tar")
    if not report:
        return
    evidence = report["evidence"]
    check.expect(title, "family", report["metadata"]["family"], "timm-tf")
    check.expect(title, "notes", report["notes"], [])
    start = "family timm-tf: its own 'arch' says tf_efficientnet_b0; recipe: its training arguments'"
    check.expect(title, "evidence", evidence.startswith(start), True)
    data = timm.data.resolve_data_config(vars(args), model=model, use_test_size=True)
    expected = check.reference(model, data)
    check.near(title, check.logits(3)[0], expected)
    # The tolerance finds a wrong family, and a wrong recipe.
    for option in (["--family", "timm"], ["--crop-pct", "0.875"], ["--bn-eps", "1e-5"]):
        if check.imported(title, folder / "model_best.pth.tar", *option):
            check.near(f"{title}, wrong {option[0]}", check.logits(3)[0], expected, wanted=False)


def hub(check):
    """A snapshot of the Hub's cache: config.json beside links to blobs, in both formats."""
    model = model_of("tf_efficientnet_b0", num_classes=3)
    data = dict(input_size=(3, 240, 240), interpolation="bilinear", crop_pct=0.95,
                mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), crop_mode="squash")
    hub = check.folder / "hub/models--someone--pets"
    snapshot, blobs = hub / "snapshots/0a1b2c", hub / "blobs"
    labels = ["ant", "bee", "cat"]
    save_for_hf(model, snapshot, model_config=dict(label_names=labels), data_config=data,
                safe_serialization="both")
    blobs.mkdir()
    for index, path in enumerate(sorted(snapshot.iterdir())):
        blob = blobs / f"{index:064x}"
        path.rename(blob)
        path.symlink_to(os.path.relpath(blob, snapshot))
    expected = check.reference(model, data)
    for name in ("model.safetensors", "pytorch_model.bin"):
        title = f"a snapshot's {name}"
        report = check.imported(title, snapshot / name)
        if report:
            check.expect(title, "notes", report["notes"], [])
            check.expect(title, "labels", report["metadata"]["labels"], {"names": labels})
            line = ("family timm-tf: config.json beside it says tf_efficientnet_b0; recipe: "
                    "config.json's 240x240, bilinear, mean 0.5")
            check.expect(title, "evidence", report["evidence"], line)
            check.near(title, check.logits(3)[0], expected)


def names(check):
    """Plain state dicts under the names of folders and files."""
    plain, tf = (model_of(f"{prefix}efficientnet_b0", num_classes=3) for prefix in ("", "tf_"))
    for model, name, family, notes in (
        (tf, "models--timm--tf_efficientnet_b0.ns_jft_in1k/snapshots/0/model.safetensors", "timm-tf", 0),
        (tf, "tf_efficientnet_b0-224/last/checkpoint.safetensors", "timm-tf", 0),
        (tf, "x/tf_efficientnet_b0.safetensors", "timm-tf", 0),
        (plain, "y/my_efficientnet_b0.safetensors", "timm", 0),
        (plain, "z/model.safetensors", "timm", 1),
    ):
        path = check.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(model.state_dict(), path)
        report = check.imported(name, path)
        if report:
            check.expect(name, "family", report["metadata"]["family"], family)
            check.expect(name, "number of notes", len(report["notes"]), notes)
            data = timm.data.resolve_data_config({}, model=model, use_test_size=True)
            check.near(name, check.logits(3)[0], check.reference(model, data))


def classifiers(check):
    """Other classifiers: one output, many, none, another name, no bias, a sequence."""
    def saved(model, name, change=lambda state: state):
        path = check.folder / name / "tf_efficientnet_b0.pth"
        path.parent.mkdir()
        torch.save(change(model.state_dict()), path)
        return path

    def renamed(to, bias=True):
        def change(state):
            new = collections.OrderedDict()
            for key, value in state.items():
                if bias or key != "classifier.bias":
                    new[key.replace("classifier.", to)] = value
            return new
        return change

    def without_bias(model):
        torch.nn.init.zeros_(model.classifier.bias)
        return model

    tf = lambda classes: model_of("tf_efficientnet_b0", num_classes=classes)
    cases = [
        ("one output", tf(1), lambda state: state, 1, "sigmoid"),
        ("three outputs", tf(3), lambda state: state, 3, "softmax"),
        ("a sequence", tf(3), renamed("classifier.1."), 3, "softmax"),
        ("fc", tf(3), renamed("fc."), 3, "softmax"),
        ("no bias", without_bias(tf(3)), renamed("classifier.", bias=False), 3, "softmax"),
    ]
    for title, model, change, classes, activation in cases:
        report = check.imported(title, saved(model, title, change))
        if not report:
            continue
        check.expect(title, "classes", report["metadata"]["classes"], classes)
        data = timm.data.resolve_data_config({}, model=model, use_test_size=True)
        logits, probabilities, found = check.logits(classes)
        check.expect(title, "activation", found, activation)
        expected = check.reference(model, data)
        check.near(title, logits, expected)
        expected = torch.from_numpy(expected)
        expected = expected.sigmoid() if activation == "sigmoid" else expected.softmax(1)
        check.near(f"{title}, probabilities", np.array(probabilities), expected.numpy())

    title = "no classifier"
    model = tf(0)
    if check.imported(title, saved(model, title)):
        packed, output = check.folder / "packed.safetensors", check.folder / "features.onnx"
        ran = check.run("classify", "--weights", packed, check.images[0])
        check.expect(title, "status of classify", ran.returncode, 2)
        check.expect(title, "what is missing", "without" in ran.stderr, True)
        ran = check.run("export", "onnx", "--weights", packed, "-o", output)
        check.expect(title, "status of export", (ran.returncode, ran.stderr[:200]), (0, ran.stderr[:200]))
        data = timm.data.resolve_data_config({}, model=model, use_test_size=True)
        transform = timm.data.create_transform(**data)
        session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
        batch = [transform(Image.open(path))[None].numpy() for path in check.images]
        found = np.concatenate([session.run(["features"], {"input": image})[0] for image in batch])
        check.near(title, found, check.reference(model, data))

    for channels in (1, 4):
        title = f"{channels} channels"
        model = model_of("tf_efficientnet_b0", num_classes=3, in_chans=channels)
        path = saved(model, title)
        ran = check.run("import", path, "-o", check.folder / "packed.safetensors")
        check.expect(title, "status", ran.returncode, 2)
        start = f"conv_stem.weight: expected [32, 3, 3, 3], found [32, {channels}, 3, 3]"
        check.expect(title, "message", start in ran.stderr, True)
        if channels == 1:
            # The advice is true: of a grey image, the padded weights compute the same.
            def pad(state):
                weight = state["conv_stem.weight"]
                state["conv_stem.weight"] = torch.nn.functional.pad(weight, (0, 0, 0, 0, 0, 2))
                return state

            grey = [Image.open(path).convert("L") for path in check.images]
            for image, path in zip(grey, check.images):
                image.save(path)
            options = ("--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5")
            if check.imported(title, saved(model, "padded", pad), *options):
                data = dict(input_size=(1, 224, 224), interpolation="bicubic", crop_pct=0.875,
                            mean=(0.5,), std=(0.5,))
                check.near(title, check.logits(3)[0], check.reference(model, data))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=["check"])
    parser.add_argument("effnet", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        check = Check(args.effnet.resolve(), folder)
        for part in (trained, hub, names, classifiers):
            print(part.__name__)
            part(check)
    for fault in check.faults:
        print(f"FAULT {fault}", file=sys.stderr)
    return 1 if check.faults else 0


if __name__ == "__main__":
    sys.exit(main())
