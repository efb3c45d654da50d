"""Writes `<family>.json`, the logits of every variant from the public implementations, and
`fp16.json`, the same for a few with their weights rounded to f16.

    python generate.py [FAMILY | fp16]...

Each case fills a public model with the generator's weights, evaluates it in f64 on the generator's
image and stores the logits, together with what ties the Rust side to it: digests of some weights,
of the image, and of the public model's list of tensor names and shapes. Runs on one CPU in minutes.
"""

import json
import pathlib
import sys
import time

import numpy as np

import generator
from network import Network

HERE = pathlib.Path(__file__).parent
WEIGHTS_SEED = 1
# Small, so that the files stay small; 1000 once for every family.
CLASSES = 40

B = [f"b{n}" for n in range(9)]
LITE = [f"lite{n}" for n in range(5)]
NATIVE = dict(zip(B, (224, 240, 260, 300, 380, 456, 528, 600, 672))) | {
    "b0-small": 224, "lite0": 224, "lite1": 240, "lite2": 260, "lite3": 280, "lite4": 300
}
# Odd and even, square and not; the larger the variant, the smaller the image.
SMALL = {
    "b3": (150, 129), "b4": (97, 128), "b5": (65, 96), "b6": (96, 65), "b7": (64, 64),
    "b8": (33, 64), "lite3": (161, 98), "lite4": (96, 129),
}


def cases():
    """(family, variant, h, w, classes), each once."""
    families = {
        "timm": B + LITE,
        "timm-tf": B + LITE,
        "torchvision": B[:8],
        "lukemelas": B,
        "lite-pytorch": LITE,
        "paddle-clas": B[:8] + ["b0-small"],
        "transformers": B[:8],
    }
    for family, variants in families.items():
        for index, variant in enumerate(variants):
            native = NATIVE[variant]
            h, w = SMALL.get(variant, (native, native))
            # The conventions differ where sides are even: look from another side in each family.
            if family in ("timm-tf", "lukemelas", "transformers") and variant in SMALL:
                h, w = w, h
            yield family, variant, h, w, 1000 if index == 0 else CLASSES
    # The conventions against each other, at sizes odd, even, and neither.
    frozen = ("lukemelas", "paddle-clas", "transformers")
    for family in ("timm", "timm-tf", "torchvision", *frozen):
        # Frozen pads leave nothing of 30 pixels by the last stage.
        small = (45, 75) if family in frozen else (30, 75)
        for h, w in ((97, 65), (128, 160), small):
            yield family, "b0", h, w, CLASSES
    for family in ("timm", "timm-tf", "lite-pytorch"):
        yield family, "lite0", 75, 114, CLASSES
    # Frozen pads at sizes whose parity differs from the native one's at some stage.
    for family in frozen:
        yield family, "b1", 256, 256, CLASSES
        yield family, "b2", 128, 191, CLASSES
    yield "lite-pytorch", "lite2", 128, 191, CLASSES
    yield "paddle-clas", "b0-small", 97, 66, CLASSES
    # Sides like the native one modulo 32, which have its pads in every stage.
    keras = {
        "b0": (224, 224), "b1": (240, 240), "b2": (100, 132), "b3": (108, 140), "b4": (124, 92),
        "b5": (72, 104), "b6": (112, 80), "b7": (88, 88),
    }
    for variant, (h, w) in keras.items():
        yield "keras", variant, h, w, CLASSES
    yield "keras", "b0", 96, 160, 1000
    # Smaller than the network's own reduction: one pixel in the last stage.
    for family in ("timm", "timm-tf"):
        yield family, "b0", 7, 20, CLASSES
    # The largest activations that a test can afford.
    yield "timm-tf", "b4", 380, 380, CLASSES
    yield "lukemelas", "b7", 600, 600, CLASSES


# Cases of `cases` to be repeated with f16 weights.
FP16 = [
    ("timm", "b0", 128, 160),
    ("timm-tf", "lite0", 75, 114),
    ("torchvision", "b3", 150, 129),
    ("lukemelas", "b0", 97, 65),
    ("paddle-clas", "b0-small", 97, 66),
    ("lite-pytorch", "lite2", 128, 191),
]


def run(family, variant, h, w, classes, f16=False):
    seed = 10_000 * h + w
    # Keras's pads are those of the size that a model is built for.
    changes = {"size": (h, w)} if family == "keras" else {}
    net = Network(family, variant, classes, WEIGHTS_SEED, **changes)
    if f16:
        net.round_weights_to_f16()
    image = generator.image(seed, h, w)
    logits = net.logits(image)
    assert np.isfinite(logits).all()
    order = np.argsort(-logits)
    largest = np.abs(logits).max()
    assert 0.5 < largest < 50, f"logits of order one, found up to {largest}"
    # The first class must not hang on a rounding.
    gap = logits[order[0]] - logits[order[1]]
    assert gap > 1e-3 * largest, f"the two best classes are {gap} apart"
    case = {
        "name": f"{family} {variant} {h}x{w}",
        "family": family,
        "variant": variant,
        "height": h,
        "width": w,
        "classes": classes,
        "weights_seed": WEIGHTS_SEED,
        "image_seed": seed,
        "image_sha256": generator.digest(image),
        "names_sha256": net.names_sha256,
        "tensors_sha256": net.digests,
        "argmax": int(order[0]),
        "logits": [float(f"{value:.9g}") for value in logits],
    }
    return case, largest


def main():
    groups = {}
    for case in cases():
        groups.setdefault(case[0], []).append(case)
    groups["fp16"] = [(*case, CLASSES, True) for case in FP16]
    for group in sys.argv[1:] or groups:
        records = []
        for case in groups[group]:
            start = time.time()
            record, largest = run(*case)
            records.append(record)
            took = time.time() - start
            print(f"{record['name']}: max |logit| {largest:.2f}, {took:.1f} s", flush=True)
        names = [record["name"] for record in records]
        assert len(set(names)) == len(names), f"{group}: a case stands twice"
        text = ",\n".join(json.dumps(record) for record in records)
        (HERE / f"{group}.json").write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main()
