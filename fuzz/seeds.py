"""Seeds of the fuzz targets, from the files that the tests have.

    python seeds.py FOLDER [PACKED]

Each target gets a folder of that name in FOLDER. PACKED is any packed file, whose header is a seed
of `packed`. The standard library is enough.
"""

import gzip
import json
import pathlib
import struct
import sys
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
IMAGES = FIXTURES / "images"

# What a packed file says of itself.
NETWORK = {
    "layout_version": 1,
    "name": "seed",
    "variant": "lite0",
    "family": "lite-pytorch",
    "precision": "fp16",
    "padding": {"same_frozen": {"h": 224, "w": 224}},
    "bn_eps": 0.001,
    "recipe": {
        "interpolation": "pillow-bicubic",
        "framing": {"resize-then-crop": {"short_side": {"margin": 32}, "rounding": "torchvision"}},
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "exif_orientation": False,
        "size": {"h": 224, "w": 224},
    },
    "classes": 1000,
    "activation": "softmax",
    "labels": "imagenet1k",
    "source": {"file_name": "seed.pth", "sha256": "00", "container": "PyTorch legacy"},
}


def files(*folders):
    """Every file in these folders, with its bytes."""
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.is_file():
                yield path, path.read_bytes()


def checkpoint():
    for path, data in files(FIXTURES, FIXTURES / "trainers"):
        if path.suffix in (".npz", ".pdparams", ".safetensors", ".pth", ".pt", ".ckpt"):
            yield path.name, data


def pickle():
    for path, data in files(FIXTURES, FIXTURES / "trainers"):
        if path.suffix == ".pdparams":
            yield path.name, b"\0" + data[2:]
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.endswith("data.pkl"):
                        yield path.name, b"\2" + archive.read(name)
        elif path.suffix == ".pth":
            # The object begins behind magic number, protocol and system information.
            yield path.name, b"\1" + data.partition(b"s.\x80\x02")[2]


def request():
    """By HTTP as JSON, with binary data, raw; and by gRPC."""
    numbers = {"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 4, 3], "data": list(range(24))}
    wish = {"name": "logits", "parameters": {"classification": 2, "binary_data": True}}
    body = {"id": "7", "parameters": {"timeout": 5, "priority": 1}, "inputs": [numbers], "outputs": [wish]}
    yield "json", b"\1\0\0" + json.dumps(body).encode()
    image = {"name": "image", "datatype": "BYTES", "shape": [2, 1], "parameters": {"binary_data_size": 11}}
    head = json.dumps({"inputs": [image]}).encode()
    yield "binary", b"\3" + struct.pack("<H", len(head)) + head + b"\2\0\0\0ab\1\0\0\0c"
    yield "raw", b"\5\0\0" + bytes(96)
    tensor = b"\x0a\x06pixels\x12\x05UINT8\x1a\x04\1\2\4\3"
    yield "grpc", b"\7\0\0" + b"\x0a\1m" + b"\x2a" + bytes([len(tensor)]) + tensor + b"\x3a\x18" + bytes(24)


def graph():
    for path, data in files(FIXTURES / "graph"):
        data = gzip.decompress(data)
        form = {".onnx": 0, ".pdmodel": 1, ".json": 2}[pathlib.Path(path.stem).suffix]
        yield path.stem, bytes([form]) + (struct.pack("<I", len(data)) if form else b"") + data


def image():
    for path, data in files(IMAGES / "formats", IMAGES / "odd"):
        yield path.name, data


def jpeg():
    for path, data in files(IMAGES / "formats", IMAGES / "odd"):
        if data.startswith(b"\xff\xd8"):
            yield path.name, data


def network():
    variants = ["lite0", "b0", "b7", "lite4"]
    paddings = ["symmetric", "same_dynamic", {"same_cropped": {"h": 240, "w": 240}}]
    for form, variant in enumerate(variants):
        for padding in [NETWORK["padding"], *paddings]:
            text = json.dumps({**NETWORK, "variant": variant, "padding": padding})
            yield f"{variant}-{len(text)}", bytes([1 + form, form]) + text.encode()


def lists():
    forms = {".txt": 0, ".tsv": 0, ".csv": 1, ".json": 2, ".jsonl": 3}
    for path, data in files(FIXTURES / "lists", FIXTURES / "lists" / "labels"):
        yield path.name, bytes([forms[path.suffix]]) + data
    labels = ROOT / "src" / "labels" / "imagenet1k.txt"
    yield labels.name, b"\0" + labels.read_bytes()


def evidence():
    processor = (FIXTURES / "hub" / "preprocessor_config.json").read_bytes()
    facts = b"args.model=tf_efficientnet_b0\nargs.input_size=[3, 224, 224]\nargs.crop_pct=0.875\n"
    configs = [FIXTURES / "hub" / "config.json", *(FIXTURES / "lists" / "labels").iterdir()]
    for path in configs:
        for form in range(3):
            config = bytes([form]) + path.read_bytes()
            yield f"{form}-{path.name}", b"\0".join([config, processor, facts])


def packed():
    if len(sys.argv) > 2:
        with open(sys.argv[2], "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            yield "header", file.read(length)


def ptx():
    for path, data in files(ROOT / "crates" / "ptx-emulator" / "tests" / "fixtures"):
        yield path.name, data


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    targets = [checkpoint, evidence, graph, image, jpeg, lists, network, packed, pickle, ptx, request]
    for target in targets:
        folder = pathlib.Path(sys.argv[1]) / target.__name__
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in target():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
