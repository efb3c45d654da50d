"""Streams: in order, ahead by so much and no more, and they end as whoever reads them wants."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import effnet


def test_order_and_outputs(small: effnet.Model, photos: list[Path]) -> None:
    images = [photos[i % 3] for i in range(23)]
    assert list(small.stream(images, top_k=2)) == small.classify(images, top_k=2)
    assert list(small.stream(iter(images))) == small.classify(images)
    logits = np.stack(list(small.stream((path for path in images), output="logits")))
    assert np.array_equal(logits, small.predict(images))
    features = np.stack(list(small.stream(images, output="features")))
    assert np.array_equal(features, small.features(images))
    assert list(small.stream([])) == []


def test_as_few_as_asked_for_are_taken_ahead(weights: Path, photos: list[Path]) -> None:
    for batch, ahead, most in [(1, 1, 1), (1, 5, 5), (4, 1, 4), (4, 6, 8), (3, None, None)]:
        model = effnet.load(weights, device="cpu", size=32, batch=batch, decode_threads=2)
        taken = 0

        def images() -> Iterator[Path]:
            nonlocal taken
            for path in itertools.cycle(photos):
                taken += 1
                yield path

        stream = model.stream(images(), ahead=ahead)
        assert taken == 0, "nothing is taken before it is asked for"
        assert stream.ahead == (most if most else 6)
        for results in range(1, 40):
            next(stream)
            # Those of the run that has been are through, and their results wait.
            assert results <= taken <= results + stream.ahead + batch - 1
        assert taken > 39 - 1


def test_errors_of_images(small: effnet.Model, photos: list[Path]) -> None:
    images = [photos[0], b"broken", photos[1], "absent.jpg", 5, photos[2]]
    good = small.classify(photos)
    stream = small.stream(images)
    assert next(stream) == good[0]
    with pytest.raises(effnet.ImageError) as raised:
        next(stream)
    assert (raised.value.index, raised.value.name) == (1, "image 1")
    # The next ones can be asked for.
    assert next(stream) == good[1]
    with pytest.raises(FileNotFoundError):
        next(stream)
    with pytest.raises(TypeError, match="image 4"):
        next(stream)
    assert next(stream) == good[2]
    assert next(stream, None) is None and next(stream, None) is None
    assert list(small.stream(images, on_error="none")) == [
        good[0], None, good[1], None, None, good[2],
    ]  # fmt: skip
    returned = list(small.stream(images, on_error="return"))
    assert [returned[i].index for i in [1, 3, 4]] == [1, 3, 4]


def test_what_the_iterable_raises_comes_after_what_it_gave(
    small: effnet.Model, photos: list[Path]
) -> None:
    def images() -> Iterator[Path]:
        yield from photos
        yield photos[0]
        yield photos[1]
        raise KeyError("this is a test's")

    stream = small.stream(images())
    assert [next(stream) for _ in range(5)] == small.classify([*photos, *photos[:2]])
    with pytest.raises(KeyError, match="this is a test's"):
        next(stream)
    assert list(stream) == []

    def interrupted() -> Iterator[Path]:
        yield photos[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(small.stream(interrupted()))


def test_dropped_and_closed(small: effnet.Model, photos: list[Path]) -> None:
    ended = []

    def images() -> Iterator[Path]:
        try:
            yield from itertools.cycle(photos)
        finally:
            ended.append(True)

    stream = small.stream(images())
    next(stream)
    del stream
    gc.collect()
    assert ended == [True]
    with small.stream(images()) as stream:
        next(stream)
    assert ended == [True, True] and list(stream) == []
    stream.close()
    # The model is whole afterwards.
    assert small.classify(photos[0]) == small.classify([photos[0]])[0]


def test_a_stream_in_its_own_iterable_is_collected(small: effnet.Model, photos: list[Path]) -> None:
    class Images:
        stream: effnet.Stream[list[effnet.Prediction]] | None = None

        def __iter__(self) -> Images:
            return self

        def __next__(self) -> Path:
            return photos[0]

    images = Images()
    images.stream = small.stream(images)
    next(images.stream)
    gone = weakref.ref(images.stream)
    del images
    gc.collect()
    assert gone() is None


def test_a_stream_that_is_asked_while_it_works(small: effnet.Model, photos: list[Path]) -> None:
    stream: effnet.Stream[list[effnet.Prediction]]

    def images() -> Iterator[Path]:
        yield photos[0]
        with pytest.raises(RuntimeError, match="being asked for a result already"):
            next(stream)
        with pytest.raises(RuntimeError, match="being asked for a result"):
            stream.close()
        yield photos[1]

    stream = small.stream(images())
    assert list(stream) == small.classify(photos[:2])


def test_images_are_decoded_while_nobody_asks(weights: Path, photos: list[Path]) -> None:
    """What was taken ahead is decoded by threads of the stream's own, without Python's lock."""
    model = effnet.load(weights, device="cpu", size=32, decode_threads=2)
    read = threading.Semaphore(0)
    opened = []

    class Watched:
        def __init__(self, number: int) -> None:
            self.number = number

        def __fspath__(self) -> str:
            opened.append(self.number)
            read.release()
            return str(photos[self.number % 3])

    stream = model.stream((Watched(number) for number in range(20)), ahead=8)
    next(stream)
    assert len(opened) >= 8
    others = list(stream)
    assert len(others) == 19 and opened == list(range(20))


def test_what_cannot_be_streamed(small: effnet.Model, photos: list[Path]) -> None:
    for images in ["cat.jpg", photos[0], b"bytes", np.zeros((5, 5, 3), np.uint8), 3, {"a": 1}]:
        with pytest.raises(TypeError, match=r"expected an iterable of images|not iterable"):
            small.stream(images)
    with pytest.raises(ValueError, match="ahead: expected a whole number from 1"):
        small.stream(photos, ahead=0)
    with pytest.raises(ValueError, match="output: expected 'predictions'"):
        small.stream(photos, output="classes")
    with pytest.raises(ValueError, match="top_k: expected a whole number from 1"):
        small.stream(photos, top_k=0)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 9, 9, 3), dtype=np.uint8)
    assert list(small.stream(pixels)) == small.classify(pixels)
