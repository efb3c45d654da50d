"""Every class of exception, as what it can be caught, and what it says."""

from __future__ import annotations

import errno
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import effnet


def test_classes_are_also_the_built_ins() -> None:
    for error, also in [
        (effnet.ImageError, ValueError),
        (effnet.ImageNotFoundError, FileNotFoundError),
        (effnet.ImageNotFoundError, effnet.ImageError),
        (effnet.WeightsError, ValueError),
        (effnet.WeightsNotFoundError, FileNotFoundError),
        (effnet.WeightsNotFoundError, effnet.WeightsError),
        (effnet.DeviceError, RuntimeError),
        (effnet.OutOfMemoryError, MemoryError),
    ]:
        assert issubclass(error, also) and issubclass(error, effnet.Error), error
        assert error.__module__ == "effnet"
    assert issubclass(effnet.ImageWarning, UserWarning)


@pytest.fixture
def broken(photos: list[Path], tmp_path: Path) -> Path:
    path = tmp_path / "broken.jpg"
    path.write_bytes(photos[0].read_bytes()[:100])
    return path


def test_images(small: effnet.Model, photos: list[Path], broken: Path) -> None:
    with pytest.raises(effnet.ImageError, match=f"^{broken}: ") as raised:
        small.classify([photos[0], broken])
    assert (raised.value.index, raised.value.name) == (1, str(broken))
    with pytest.raises(ValueError, match="^image 0: "):
        small.predict(b"no picture")
    with pytest.raises(effnet.ImageError, match="^image 2: "):
        small.features([photos[0], photos[1], b""])
    with pytest.raises(FileNotFoundError, match=r"^absent\.jpg: No such file") as missing:
        small.classify("absent.jpg")
    assert missing.value.errno == errno.ENOENT
    assert isinstance(missing.value, effnet.ImageError) and missing.value.name == "absent.jpg"
    with pytest.raises(effnet.ImageError, match="directory") as folder:
        small.classify(broken.parent)
    assert not isinstance(folder.value, FileNotFoundError)
    with pytest.raises(effnet.ImageError):
        small.classify("with\0nul.jpg")
    copy = pickle.loads(pickle.dumps(raised.value))
    assert (type(copy), str(copy)) == (effnet.ImageError, str(raised.value))
    assert (copy.index, copy.name) == (1, str(broken))
    copy = pickle.loads(pickle.dumps(missing.value))
    assert (type(copy), str(copy)) == (effnet.ImageNotFoundError, str(missing.value))


def test_on_error(small: effnet.Model, photos: list[Path], broken: Path) -> None:
    images: list[object] = [photos[0], broken, "absent.jpg", photos[1], 7, np.zeros((5, 5)), b"x"]
    good = small.classify([photos[0], photos[1]])
    found = small.classify(images, on_error="none")
    assert found == [good[0], None, None, good[1], None, None, None]
    found = small.classify(images, on_error="return")
    assert [found[0], found[3]] == good
    for index in [1, 2, 4, 5, 6]:
        error = found[index]
        assert isinstance(error, effnet.ImageError) and error.index == index
        assert str(error).startswith(f"{error.name}: ")
    assert isinstance(found[2], FileNotFoundError)
    assert "expected a path" in str(found[4]) and "found int" in str(found[4])
    assert "expected a uint8 array" in str(found[5])
    # Numbers come as a list then, so that something else can stand in a place.
    for call, width in [(small.predict, 1000), (small.features, 1280)]:
        rows = call(images, on_error="none")
        assert [None if row is None else row.shape for row in rows] == [
            (width,), None, None, (width,), None, None, None,
        ]  # fmt: skip
        assert np.array_equal(rows[3], call(photos[1]))
    rows = small.preprocess(images, on_error="return")
    assert rows[0].shape == (32, 32, 3) and isinstance(rows[1], effnet.ImageError)
    assert small.classify(broken, on_error="none") is None
    assert isinstance(small.predict(broken, on_error="return"), effnet.ImageError)
    with pytest.raises(ValueError, match="'raise', 'none', 'return', found 'ignore'"):
        small.classify(images, on_error="ignore")
    with pytest.raises(TypeError, match=r"^image 4: expected a path.*found int"):
        small.classify([images[0], images[3], images[0], images[3], 7])
    with pytest.raises(ValueError, match=r"^image 1: expected a uint8 array.*alpha"):
        small.classify([images[0], np.zeros((5, 5, 4), np.uint8)])
    with pytest.raises(ValueError, match=r"numpy\.repeat"):
        small.classify(np.zeros((5, 5), np.uint8))
    with pytest.raises(ValueError, match=r"transpose\(1, 2, 0\)"):
        small.classify(np.zeros((3, 5, 5), np.uint8))


def test_pictures_that_pillow_cannot_finish(
    small: effnet.Model, photos: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "short.jpg"
    data = photos[0].read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with Image.open(path) as picture:
        found = small.classify([photos[0], picture], on_error="return")
        assert isinstance(found[1], effnet.ImageError) and found[1].index == 1
    with Image.open(path) as picture, pytest.raises(effnet.ImageError, match="^image 0: "):
        small.classify(picture)


def test_faults_that_leave_a_picture_are_warnings(small: effnet.Model, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    grey = random.integers(0, 65536, (20, 20), dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    with pytest.warns(effnet.ImageWarning, match=r"deep\.png: ") as caught:
        best = small.classify(tmp_path / "deep.png")
    assert len(best) == 5 and caught[0].filename == __file__
    with warnings.catch_warnings(), pytest.raises(effnet.ImageWarning):
        warnings.simplefilter("error", effnet.ImageWarning)
        small.classify([tmp_path / "deep.png"])


def test_weights(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.safetensors: No such file") as raised:
        effnet.load(tmp_path / "nowhere.safetensors")
    assert isinstance(raised.value, effnet.WeightsNotFoundError)
    assert raised.value.errno == errno.ENOENT
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"no weights")
    with pytest.raises(effnet.WeightsError, match="not a valid safetensors file") as invalid:
        effnet.load(other)
    assert not isinstance(invalid.value, FileNotFoundError)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(effnet.WeightsError):
        effnet.load(cut)
    with pytest.raises(effnet.WeightsError, match="found a folder|a directory|folder"):
        effnet.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        effnet.import_checkpoint(tmp_path / "absent.pth", tmp_path / "x.safetensors")
    with pytest.raises(effnet.WeightsError):
        effnet.import_checkpoint(other, tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()
    with pytest.raises(effnet.WeightsError, match="unknown model 'lite99'.*effnet.catalogue"):
        effnet.pull("lite99")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EFFNET_CACHE", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match="no packed weights named 'lite0'"):
        effnet.load("lite0")


def test_arguments_of_load(weights: Path) -> None:
    for options, message in [
        ({"device": "gpu"}, "unknown device 'gpu': expected auto, cuda"),
        ({"precision": "int8"}, "precision: expected 'fp16', 'fp32', 'tf32', found 'int8'"),
        ({"device": "cpu", "precision": "fp16"}, "the CPU computes in fp32, found fp16"),
        ({"device": "cpu", "path": "layerwise"}, "the CPU runs no kernels"),
        ({"path": "slow"}, "path: expected 'fused', 'layerwise', found 'slow'"),
        ({"batch": 0}, "batch: expected a whole number from 1 to"),
        ({"batch": -1}, "found -1"),
        ({"batch": 10**9}, "batch: expected a whole number from 1 to"),
        ({"threads": 0}, "threads: expected a whole number from 1 to 1024, found 0"),
        ({"decode_threads": 5000}, "decode_threads: "),
        ({"size": 0}, "size: expected a whole number from 1 to"),
        ({"size": (224, 5000)}, "size: .*found 5000"),
    ]:
        with pytest.raises(ValueError, match=message):
            effnet.load(weights, **options)
    for options in [{"size": "224"}, {"size": (1, 2, 3)}, {"batch": "two"}, {"batch": 1.5}]:
        with pytest.raises(TypeError):
            effnet.load(weights, **options)
    for path in [3, None, b"lite0", ["lite0"]]:
        with pytest.raises(TypeError, match=r"path of a packed file.*name"):
            effnet.load(path)
    with pytest.raises(ValueError, match="empty"):
        effnet.load("")


def test_devices_that_are_not_there(weights: Path) -> None:
    with pytest.raises(RuntimeError, match="there is no GPU 1023|no CUDA driver|no GPU") as raised:
        effnet.load(weights, device="cuda:1023")
    assert isinstance(raised.value, effnet.DeviceError)


def test_memory_that_does_not_suffice(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The library's own way to say how much there is.
    model = effnet.load(weights, device="cpu", size=512, batch=64)
    monkeypatch.setenv("EFFNET_MEMORY_MIB", "16")
    with pytest.raises(MemoryError, match="EFFNET_MEMORY_MIB") as raised:
        model.predict([np.zeros((8, 8, 3), np.uint8)] * 2)
    assert isinstance(raised.value, effnet.OutOfMemoryError)
    with pytest.raises(effnet.OutOfMemoryError):
        model.run(np.zeros((64, 512, 512, 3), np.float32))
    monkeypatch.delenv("EFFNET_MEMORY_MIB")
    assert model.predict([np.zeros((8, 8, 3), np.uint8)] * 2).shape == (2, 1000)


def test_more_results_than_memory_has_room_for(small: effnet.Model, photos: list[Path]) -> None:
    class Endless:
        def __len__(self) -> int:
            return 10**12

        def __getitem__(self, index: int) -> Path:
            return photos[0]

    with pytest.raises(MemoryError):
        small.predict(Endless())

    class Liar(list[Path]):
        def __len__(self) -> int:
            return 5

    for images in [photos, photos * 2]:
        with pytest.raises(RuntimeError, match="the sequence had 5 images at first"):
            small.predict(Liar(images))


def test_a_closed_model(weights: Path, photos: list[Path]) -> None:
    with effnet.load(weights, device="cpu", size=32) as model:
        stream = model.stream(photos * 50)
        next(stream)
        assert not model.closed
    assert model.closed and "closed" in repr(model)
    model.close()
    for call in [
        lambda: model.classify(photos[0]),
        lambda: model.predict([]),
        lambda: model.run(np.zeros((1, 32, 32, 3), np.float32)),
        lambda: model.stream(photos),
        lambda: model.metadata,
        lambda: model.profile(),
        lambda: next(stream),
        lambda: model.__enter__(),
    ]:
        with pytest.raises(effnet.Error, match="the model is closed"):
            call()
    # What is known of it is still known.
    assert model.variant == "lite0" and model.labels is not None


def test_what_is_not_made_by_hand(small: effnet.Model) -> None:
    for made in [effnet.Model, effnet.Stream, effnet.Outputs]:
        with pytest.raises(TypeError, match="cannot create|No constructor"):
            made()
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(small)
