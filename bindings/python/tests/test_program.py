"""The same bytes as the command line's."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import effnet

Tensors = Callable[[int, int], np.ndarray]


def run(program: Path, *arguments: object, folder: Path) -> str:
    command = [str(program), *(str(argument) for argument in arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("device", "options", "size"),
    [
        ("cpu", {}, 224),
        ("cpu", {"threads": 1}, 32),
        ("emulator", {}, 32),
        ("emulator", {"precision": "fp32", "path": "layerwise"}, 32),
        ("emulator", {"precision": "tf32"}, 32),
    ],
)
def test_logits_and_features(
    program: Path,
    weights: Path,
    tensors: Tensors,
    tmp_path: Path,
    device: str,
    options: dict[str, object],
    size: int,
) -> None:
    x = tensors(3, size)
    np.save(tmp_path / "x.npy", x)
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    run(
        program, "run", "x.npy", "--weights", weights, "--device", device, "--batch", 2,
        "-o", "logits.npy", "--features", "features.npy", *flags, folder=tmp_path,
    )  # fmt: skip
    model = effnet.load(weights, device=device, size=size, batch=2, **options)
    outputs = model.run(x)
    assert model.device == device
    assert outputs.logits.tobytes() == np.load(tmp_path / "logits.npy").tobytes()
    assert outputs.features.tobytes() == np.load(tmp_path / "features.npy").tobytes()


def test_classes(
    program: Path, weights: Path, model: effnet.Model, photos: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photos[0].read_bytes()[:100])
    images = [*photos, broken, tmp_path / "absent.jpg"]
    command = [str(program), "classify", "--weights", str(weights), "--device", "cpu", "--json"]
    done = subprocess.run(
        [*command, *map(str, images)], capture_output=True, text=True, timeout=600
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    found = model.classify(images, on_error="return")
    assert len(rows) == len(found) == len(images)
    for row, best, path in zip(rows, found, images):
        assert row["path"] == str(path)
        if isinstance(best, effnet.ImageError):
            assert best.name == str(path) and row["top"] == []
            # The program says the path apart, and looks for files before it opens them.
            assert str(best) == f"{path}: {row['error']}" or not path.exists()
            continue
        assert row["error"] is None
        assert [
            (top["index"], top["label"], np.float32(top["probability"]), np.float32(top["logit"]))
            for top in row["top"]
        ] == [(p.index, p.label, np.float32(p.probability), np.float32(p.logit)) for p in best]


def test_catalogue_and_devices(program: Path, tmp_path: Path) -> None:
    lines = run(program, "pull", "--list", "--json", folder=tmp_path).splitlines()
    assert effnet.catalogue() == [json.loads(line) for line in lines]

    def lasting(rows: list[dict[str, object]]) -> list[dict[str, object]]:
        return [{**row, "memory_free_bytes": None} for row in rows]

    lines = run(program, "devices", "--json", folder=tmp_path).splitlines()
    assert lasting(effnet.devices()) == lasting([json.loads(line) for line in lines])


def test_import(program: Path, checkpoint: Path, weights: Path, tmp_path: Path) -> None:
    run(program, "import", checkpoint, "-o", "w.safetensors", folder=tmp_path)
    assert (tmp_path / "w.safetensors").read_bytes() == weights.read_bytes()
