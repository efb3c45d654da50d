"""Compares what C programs found with what `effnet` finds, float by float as bytes.

    compare.py classes EXAMPLE.tsv EFFNET.jsonl    examples/c/classify.c; `effnet classify --json`
    compare.py floats BARE NPY                     bare floats; an array of `effnet run`
"""

import ast
import json
import struct
import sys


def as_bytes(number):
    return struct.pack("<f", float(number))


def classes(example, effnet):
    found = {}
    with open(example, encoding="utf-8") as lines:
        for line in lines:
            path, index, probability, logit, label = line.rstrip("\n").split("\t")
            row = (int(index), as_bytes(probability), as_bytes(logit), label)
            found.setdefault(path, []).append(row)
    expected = {}
    with open(effnet, encoding="utf-8") as lines:
        for line in lines:
            image = json.loads(line)
            rows = expected.setdefault(image["path"], [])
            for top in image["top"]:
                numbers = as_bytes(top["probability"]), as_bytes(top["logit"])
                rows.append((top["index"], *numbers, top["label"] or ""))
    assert expected, f"{effnet}: no image"
    for path, rows in expected.items():
        assert len(rows) == 1000, f"{path}: expected 1000 classes, found {len(rows)}"
        assert found.get(path) == rows, f"{path}: {example} differs from {effnet}"
    assert found.keys() == expected.keys(), f"{example}: other images than {effnet}"


def floats(bare, npy):
    with open(bare, "rb") as file:
        found = file.read()
    with open(npy, "rb") as file:
        array = file.read()
    assert array[:8] == b"\x93NUMPY\x01\x00", f"{npy}: no .npy of version 1"
    (header_len,) = struct.unpack("<H", array[8:10])
    header = ast.literal_eval(array[10 : 10 + header_len].decode("latin-1"))
    assert header["descr"] == "<f4" and not header["fortran_order"], header
    expected = array[10 + header_len :]
    assert len(expected) > 1000, f"{npy}: {header}"
    assert found == expected, f"{bare}: differs from {npy}"


if __name__ == "__main__":
    {"classes": classes, "floats": floats}[sys.argv[1]](*sys.argv[2:])
