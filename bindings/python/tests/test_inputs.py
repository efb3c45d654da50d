"""Images in every form give the same numbers, and one image is told from several."""

from __future__ import annotations

import collections
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import effnet


def levels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_one_photograph_in_every_form(model: effnet.Model, photos: list[Path]) -> None:
    path = photos[0]
    encoded = path.read_bytes()
    pixels = levels(path)
    expected = model.predict(path)
    assert expected.shape == (1000,) and expected.dtype == np.float32
    with Image.open(path) as picture:
        forms = {
            "str": str(path),
            "PathLike": path,
            "np.str_": np.str_(path),
            "bytes": encoded,
            "bytearray": bytearray(encoded),
            "memoryview": memoryview(encoded),
            "PIL": picture,
            "uint8": pixels,
            "strided": np.asfortranarray(pixels),
            "reversed twice": pixels[::-1].copy()[::-1],
        }
        for name, image in forms.items():
            assert model.predict(image).tobytes() == expected.tobytes(), name
    found = model.predict(list(forms.values())[2:])
    assert found.shape == (len(forms) - 2, 1000)


@pytest.mark.parametrize(
    "interpolation",
    ["pillow-bicubic", "pillow-bilinear", "opencv-bilinear", "tensorflow-bicubic"],
)
def test_levels_are_resized_as_a_file_of_them_is(
    checkpoint: Path, tmp_path: Path, interpolation: str
) -> None:
    report = effnet.import_checkpoint(
        checkpoint, tmp_path / "w.safetensors", interpolation=interpolation
    )
    model = effnet.load(report, device="cpu", size=64)
    random = np.random.default_rng(7)
    for shape in [(64, 64), (40, 97), (201, 133), (1, 1)]:
        pixels = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        assert np.array_equal(model.preprocess(pixels), model.preprocess(file.getvalue()))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
def test_pictures_of_every_mode(small: effnet.Model, photos: list[Path], mode: str) -> None:
    with Image.open(photos[0]) as picture:
        other = picture.convert("L").convert(mode) if mode == "I;16" else picture.convert(mode)
    assert np.array_equal(small.predict(other), small.predict(np.asarray(other.convert("RGB"))))


def test_a_list_gives_a_list_and_one_gives_one(small: effnet.Model, photos: list[Path]) -> None:
    one = small.classify(photos[0], top_k=2)
    assert [type(found) for found in one] == [effnet.Prediction] * 2
    for images in [
        [photos[0]],
        (photos[0],),
        collections.UserList([photos[0]]),
        np.array([str(photos[0])]),
        np.array([photos[0]], dtype=object),
        levels(photos[0])[None],
    ]:
        assert small.classify(images, top_k=2) == [one]
    assert small.classify([]) == []
    assert small.predict([]).shape == (0, 1000)
    assert small.predict(photos[0]).shape == (1000,)
    assert small.predict([photos[0]]).shape == (1, 1000)
    assert small.features(photos[0]).shape == (1280,)
    assert small.features([photos[0]] * 2).shape == (2, 1280)
    assert small.preprocess(photos[0]).shape == (32, 32, 3)
    assert small.preprocess([photos[0]] * 2).shape == (2, 32, 32, 3)
    # What Python calls a sequence of images, it cannot be asked for by its length alone.
    with pytest.raises(TypeError, match=r"model\.stream"):
        small.classify(path for path in photos)


def test_more_images_than_the_batch(small: effnet.Model, photos: list[Path]) -> None:
    alone = [small.predict(photo) for photo in photos]
    for n in [1, 3, 4, 5, 9, 30]:
        images = [photos[i % 3] for i in range(n)]
        found = small.predict(images)
        assert all(np.array_equal(row, alone[i % 3]) for i, row in enumerate(found))
        best = small.classify(images, top_k=1)
        assert [found[0].index for found in best] == [alone[i % 3].argmax() for i in range(n)]


def test_outputs_own_their_memory(small: effnet.Model, photos: list[Path]) -> None:
    x = small.preprocess(photos)
    outputs = small.run(x)
    for array in [x, *outputs, small.predict(photos), small.features(photos[0])]:
        assert array.flags.owndata and array.flags.writeable and array.flags.c_contiguous
    first = outputs.logits.copy()
    small.run(x[::-1])
    assert np.array_equal(outputs.logits, first)


def test_predictions(model: effnet.Model, photos: list[Path]) -> None:
    best = model.classify(photos[0])
    logits = model.predict(photos[0])
    assert [found.index for found in best] == list(np.argsort(-logits, kind="stable")[:5])
    assert [found.logit for found in best] == [float(logits[found.index]) for found in best]
    assert model.labels is not None
    assert [found.label for found in best] == [model.labels[found.index] for found in best]
    outputs = model.run(model.preprocess(photos[0])[None])
    assert outputs.probabilities is not None
    for found in best:
        assert np.float32(found.probability) == outputs.probabilities[0, found.index]
    assert len(model.classify(photos[0], top_k=5000)) == 1000


def test_an_orientation_is_the_files_affair(checkpoint: Path, tmp_path: Path) -> None:
    """Pixels are taken as they are, also of a picture whose file says that it is turned."""
    report = effnet.import_checkpoint(checkpoint, tmp_path / "w.safetensors", exif=True)
    model = effnet.load(report, device="cpu", size=32)
    random = np.random.default_rng(1)
    picture = Image.fromarray(random.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as turned:
        as_it_is = model.preprocess(turned)
    assert np.array_equal(as_it_is, model.preprocess(np.asarray(picture)))
    by_file = model.preprocess(tmp_path / "turned.png")
    assert np.array_equal(by_file, model.preprocess(np.asarray(picture.rotate(-90, expand=True))))
    assert not np.array_equal(by_file, as_it_is)


def test_bytes_of_a_path_like(small: effnet.Model, photos: list[Path]) -> None:
    class Bytes:
        def __fspath__(self) -> bytes:
            return os.fsencode(photos[0])

    class Text:
        def __fspath__(self) -> str:
            return str(photos[0])

    assert small.classify(Text()) == small.classify(photos[0])
    with pytest.raises(TypeError):
        small.classify(Bytes())
