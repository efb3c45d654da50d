"""Lists and labels as the usual libraries write them.

    python lists.py write           writes tests/fixtures/lists/
    python lists.py check EFFNET    evaluates folders and lists of real libraries with the program

`check` makes a random Lite0 of twelve classes with timm, lets the program classify random pictures,
and files each under the class that was found: in folders that torchvision's ImageFolder numbers,
and in lists of pandas and of Python's csv. Every evaluation must then give 100 %. Exit status 0, or
a failure that says which did not.
"""

import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = pathlib.Path(__file__).parent
FIXTURES = HERE.parent / "fixtures" / "lists"

import pandas
from torchvision.datasets import ImageFolder

SEED = 1
CLASSES = 12
PICTURES = 40


def tables(rows, folder):
    """`rows` of a path, a class and a split, as pandas and csv write them; gives the files."""
    frame = pandas.DataFrame(rows, columns=["filename", "label", "split"])
    gaps = frame.assign(label=frame.label.astype(float))
    frame.to_csv(folder / "pandas.csv", index=False)
    frame.to_csv(folder / "pandas_index.csv")
    frame.to_csv(folder / "pandas_excel.csv", index=False, sep=";", encoding="utf-8-sig")
    frame.to_csv(folder / "pandas_utf16.tsv", index=False, sep="\t", encoding="utf-16")
    frame.to_csv(folder / "pandas_bare.csv", index=False, header=False)
    frame.to_csv(folder / "pandas_spaces.txt", index=False, header=False, sep=" ")
    gaps.to_csv(folder / "pandas_float.csv", index=False)
    frame.to_json(folder / "pandas_records.jsonl", orient="records", lines=True)
    frame.to_json(folder / "pandas_records.json", orient="records")
    dummies = pandas.get_dummies(frame.label.map(lambda c: f"class {c}"), dtype=int)
    dummies.insert(0, "image_id", frame.filename)
    dummies.to_csv(folder / "pandas_dummies.csv", index=False)
    with open(folder / "csv_quoted.csv", "w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    return sorted(path for path in folder.iterdir() if path.is_file())


def labels(folder):
    """Classes `class 0` to `class 11` as the libraries write them; gives the files."""
    from timm.models import create_model, save_for_hf
    from transformers import EfficientNetConfig

    names = [f"class {index}" for index in range(CLASSES)]
    with tempfile.TemporaryDirectory() as root:
        # Sorted as text, so that the places are not the numbers.
        for name in names:
            (pathlib.Path(root) / name).mkdir()
        found = ImageFolder(root, allow_empty=True).class_to_idx
        assert found["class 10"] == 2
        (folder / "torchvision_class_to_idx.json").write_text(json.dumps(found))
    config = EfficientNetConfig(id2label=dict(enumerate(names)))
    with tempfile.TemporaryDirectory() as place:
        config.save_pretrained(place)
        shutil.copy(pathlib.Path(place) / "config.json", folder / "transformers_config.json")
        model = create_model("efficientnet_lite0", num_classes=CLASSES)
        save_for_hf(model, place, model_config={"label_names": names})
        shutil.copy(pathlib.Path(place) / "config.json", folder / "timm_config.json")


def write():
    shutil.rmtree(FIXTURES, ignore_errors=True)
    FIXTURES.mkdir(parents=True)
    tables([("a, b.png", 10, "val"), ("sub dir/c.png", 2, "val"), ("é.png", 0, "val")], FIXTURES)
    (FIXTURES / "labels").mkdir()
    labels(FIXTURES / "labels")


def check(effnet):
    import numpy
    import torch
    from PIL import Image
    from safetensors.torch import save_file
    from timm.models import create_model

    def run(*arguments):
        done = subprocess.run([effnet, "-q", *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{arguments}: exit status {done.returncode}\n{done.stderr}")
        return done.stdout

    failures = []

    def right(what, *arguments):
        report = json.loads(run("eval", *network, "--json", *arguments))
        if report["top1"] != 100.0 or report["images"] != PICTURES:
            failures.append(f"{what}: {report['top1']} % of {report['images']}: {report['notes']}")

    torch.manual_seed(SEED)
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        packed = place / "packed.safetensors"
        network = ["--weights", packed, "--device", "cpu"]
        # A larger classifier, so that pictures differ in their classes.
        state = create_model("tf_efficientnet_lite0", num_classes=CLASSES).eval().state_dict()
        state["classifier.weight"] = torch.randn(state["classifier.weight"].shape)
        save_file(state, place / "model.safetensors")
        model = place / "model.safetensors"
        run("import", model, "-o", packed, "--size", 64, "--family", "timm-tf")
        random = numpy.random.default_rng(SEED)
        pictures = place / "pictures"
        pictures.mkdir()
        for index in range(PICTURES):
            small = random.integers(0, 256, (1 + index % 7, 2 + index % 5, 3), dtype=numpy.uint8)
            Image.fromarray(small).resize((64, 64)).save(pictures / f"p, {index}.png")
        own = {form: place / f"own.{form}" for form in ("json", "csv")}
        for form, file in own.items():
            file.write_text(run("classify", *network, f"--{form}", pictures))
        found = [json.loads(line) for line in own["json"].read_text().splitlines()]
        classes = [line["top"][0]["index"] for line in found]
        assert len(set(classes)) >= 3 and max(classes) > 1, sorted(set(classes))
        for file in own.values():
            right(file.name, file)

        names = [f"class {index}" for index in range(CLASSES)]
        named = place / "names.txt"
        named.write_text("\n".join(names))
        rows = [(pathlib.Path(line["path"]).name, c, "val") for line, c in zip(found, classes)]
        lists = place / "lists"
        lists.mkdir()
        for file in tables(rows, lists):
            right(file.name, pictures, "--list", file, "--labels", named)

        # Folders as ImageFolder numbers them: by their names, with its own class_to_idx or without.
        for kind, folders in (("numbers", [str(i) for i in range(CLASSES)]), ("names", names)):
            root = place / kind
            for name in folders:
                (root / name).mkdir(parents=True)
            numbered = ImageFolder(root, allow_empty=True)
            for line, c in zip(found, classes):
                shutil.copy(line["path"], root / numbered.classes[c])
            mapping = place / f"{kind}.json"
            mapping.write_text(json.dumps(numbered.class_to_idx))
            right(f"{kind} with class_to_idx", root, "--labels", mapping)
            options = ["--classes-by", "name"] if kind == "numbers" else []
            right(f"{kind} by their order", root, *options)
    if failures:
        sys.exit("\n".join(failures))
    print("lists and folders of pandas, csv and torchvision: all right")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write"]:
            write()
        case ["check", effnet]:
            check(effnet)
        case _:
            sys.exit(__doc__)
