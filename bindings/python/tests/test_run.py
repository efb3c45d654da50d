"""Ready tensors: what is taken, what is refused and in which words, what comes out."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import effnet

Tensors = Callable[[int, int], np.ndarray]


def test_shapes_and_unpacking(small: effnet.Model, tensors: Tensors) -> None:
    for n in [0, 1, 4, 5, 11]:
        outputs = small.run(tensors(n, 32))
        logits, features, probabilities = outputs
        assert logits.shape == (n, 1000) and features.shape == (n, 1280)
        assert probabilities is not None and probabilities.shape == (n, 1000)
        assert {logits.dtype, features.dtype, probabilities.dtype} == {np.dtype(np.float32)}
        assert np.allclose(probabilities.sum(1), 1, atol=1e-6)
        assert outputs.probabilities is probabilities and len(outputs) == 3
    assert repr(outputs) == "Outputs(logits=float32 [11, 1000], features=float32 [11, 1280])"
    assert np.array_equal(small(tensors(2, 32)).logits, small.run(tensors(2, 32)).logits)


def test_an_image_does_not_depend_on_its_batch(small: effnet.Model, tensors: Tensors) -> None:
    x = tensors(6, 32)
    together = small.run(x)
    for i in range(6):
        alone = small.run(x[i : i + 1])
        assert alone.logits.tobytes() == together.logits[i : i + 1].tobytes()
        assert alone.features.tobytes() == together.features[i : i + 1].tobytes()


def test_layouts_and_strides(small: effnet.Model, tensors: Tensors) -> None:
    x = tensors(3, 32)
    expected = small.run(x).logits
    channels_first = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    wide = np.zeros((3, 32, 32, 4), np.float32)
    wide[..., :3] = x
    raw = np.zeros(x.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(np.float32).reshape(x.shape)
    unaligned[...] = x
    assert not unaligned.flags.aligned
    readonly = x.copy()
    readonly.flags.writeable = False
    for form, layout in [
        (channels_first, "NCHW"),
        (x.transpose(0, 3, 1, 2), "NCHW"),
        (wide[..., :3], "NHWC"),
        (np.asfortranarray(x), "NHWC"),
        (x[::-1].copy()[::-1], "NHWC"),
        (unaligned, "NHWC"),
        (readonly, "NHWC"),
    ]:
        assert np.array_equal(small.run(form, layout=layout).logits, expected)


class Lent:
    """Lends an array through DLPack, and is no array itself."""

    def __init__(self, array: np.ndarray, device: tuple[int, int] = (1, 0)) -> None:
        self.array, self.device = array, device

    def __dlpack__(self, **options: object) -> object:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


def test_dlpack(small: effnet.Model, tensors: Tensors, photos: list[Path]) -> None:
    x = tensors(2, 32)
    assert np.array_equal(small.run(Lent(x)).logits, small.run(x).logits)
    pixels = np.random.default_rng(3).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    assert small.classify(Lent(pixels)) == small.classify(pixels)
    assert small.classify([Lent(pixels)]) == [small.classify(pixels)]
    with pytest.raises(ValueError, match=r"memory of the CPU.*type 2.*x\.cpu\(\)"):
        small.run(Lent(x, device=(2, 0)))
    with pytest.raises(TypeError, match="found float32"):
        small.classify(Lent(x[0]))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((1, 32, 32, 3), np.uint8), TypeError, r"found uint8.*model\.preprocess"),
        (np.zeros((1, 32, 32, 3), np.int64), TypeError, r"found int64.*model\.classify"),
        (np.zeros((1, 32, 32, 3), np.float64), TypeError, r"float64.*astype\(numpy\.float32\)"),
        (np.zeros((1, 32, 32, 3), np.float16), TypeError, r"float16.*astype\(numpy\.float32\)"),
        (np.zeros((1, 32, 32, 3), ">f4"), TypeError, r"expected a float32 array"),
        (np.zeros((1, 32, 32, 3), bool), TypeError, r"found bool"),
        (np.zeros((32, 32, 3), np.float32), ValueError, r"x\[None\]"),
        (np.zeros((1, 3, 32, 32), np.float32), ValueError, r'layout="NCHW"'),
        (np.zeros((1, 64, 64, 3), np.float32), ValueError, r"\[n, 32, 32, 3\].*size=\(h, w\)"),
        (np.zeros((1, 32, 32, 4), np.float32), ValueError, r"found float32 \[1, 32, 32, 4\]"),
        (np.zeros((0,), np.float32), ValueError, r"found float32 \[0\]"),
        (np.float32(1), TypeError, r"expected a float32 array"),
        ([[1.0]], TypeError, r"found list"),
        ("cat.jpg", TypeError, r"found str; images go to model\.classify"),
        (None, TypeError, r"found NoneType"),
    ],
)
def test_what_is_no_input(
    small: effnet.Model, x: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        small.run(x)
    assert "expected" in str(raised.value)


def test_layouts_by_name(small: effnet.Model, tensors: Tensors) -> None:
    with pytest.raises(ValueError, match="'NHWC' or 'NCHW', found 'nchw'"):
        small.run(tensors(1, 32), layout="nchw")
    with pytest.raises(ValueError, match='leave layout="NCHW" out'):
        small.run(tensors(1, 32), layout="NCHW")


def test_values_that_are_no_numbers(small: effnet.Model, tensors: Tensors) -> None:
    """They spoil their own image alone, and its probabilities say so."""
    x = tensors(3, 32)
    expected = small.run(x)
    x[1, 5, 5, 0] = np.nan
    outputs = small.run(x)
    assert outputs.probabilities is not None and expected.probabilities is not None
    for i in [0, 2]:
        assert np.array_equal(outputs.logits[i], expected.logits[i])
        assert np.array_equal(outputs.probabilities[i], expected.probabilities[i])
    assert np.isnan(outputs.logits[1]).any()
    assert np.isnan(outputs.probabilities[1]).all()


def test_a_rectangle(weights: Path, tensors: Tensors) -> None:
    model = effnet.load(weights, device="cpu", size=(64, 32))
    assert model.size == (64, 32) and model.input_shape == (1, 64, 32, 3)
    x = np.concatenate([tensors(1, 32), tensors(2, 32)[:1]], axis=1)
    assert np.array_equal(
        model.run(x).logits, model.run(x.transpose(0, 3, 1, 2), layout="NCHW").logits
    )


def test_without_a_classifier(
    weights: Path, small: effnet.Model, tmp_path: Path, photos: list[Path], tensors: Tensors
) -> None:
    model = effnet.load(headless(weights, tmp_path), device="cpu", size=32)
    assert model.classes == 0 and model.labels is None and model.activation == "none"
    outputs = model.run(tensors(2, 32))
    assert outputs.logits.shape == (2, 0) and outputs.probabilities is None
    assert np.array_equal(outputs.features, small.run(tensors(2, 32)).features)
    assert outputs.features.any()
    assert model.features(photos[0]).shape == (1280,)
    for call in [model.classify, model.predict, model.stream]:
        with pytest.raises(effnet.WeightsError, match="no classifier"):
            call([photos[0]])
    assert next(model.stream(photos, output="features")).shape == (1280,)


def headless(weights: Path, folder: Path) -> Path:
    """The packed file without its classifier, as an import of such a checkpoint writes it."""
    data = weights.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = json.loads(header["__metadata__"]["effnet"])
    names = [name for name in header if name.startswith("classifier")]
    assert names, sorted(header)[:5]
    metadata.update(classes=0, labels="none")
    metadata.pop("activation", None)
    # One output, of zeros, stands for the missing classifier.
    body, tensors, offset = b"", {}, 0
    for name, entry in sorted(
        ((n, e) for n, e in header.items() if n != "__metadata__"),
        key=lambda item: item[1]["data_offsets"][0],
    ):
        begin, end = entry["data_offsets"]
        values = data[8 + length + begin : 8 + length + end]
        shape = entry["shape"]
        if name in names:
            shape = [1 if side == 1000 else side for side in shape]
            size = len(values) // 1000
            values = bytes(size)
        tensors[name] = {
            "dtype": entry["dtype"],
            "shape": shape,
            "data_offsets": [offset, offset + len(values)],
        }
        body += values
        offset += len(values)
    tensors["__metadata__"] = {"effnet": json.dumps(metadata)}
    text = json.dumps(tensors).encode()
    text += b" " * (-len(text) % 8)
    path = folder / "headless.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path
