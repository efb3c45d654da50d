"""Nothing is left of ten thousand calls: no memory, no reference, no thread."""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import effnet

# A leak of a row of logits a call, 4 KB, comes to 40 MB, and one of an image of 16x16 to 30 MB.
CALLS = 10_000
MOST_BYTES = 8 << 20

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which Linux has")


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def picture() -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


@linux
@pytest.mark.parametrize(
    "name",
    [
        "run",
        "strided",
        "classify",
        "list",
        "array",
        "features",
        "error",
        "returned",
        "type",
        "stream",
    ],
)
def test_ten_thousand_calls(weights: Path, name: str) -> None:
    model = effnet.load(weights, device="cpu", size=16, batch=2, decode_threads=2)
    encoded = picture()
    pixels = np.zeros((16, 16, 3), np.uint8)
    x = np.zeros((1, 16, 16, 3), np.float32)
    wide = np.zeros((1, 16, 16, 4), np.float32)[..., :3]
    broken = b"no picture"

    def fails() -> None:
        with pytest.raises(effnet.ImageError):
            model.classify(broken)

    def fails_by_type() -> None:
        with pytest.raises(TypeError):
            model.run(pixels)

    calls: dict[str, Callable[[], object]] = {
        "run": lambda: model.run(x).probabilities,
        "strided": lambda: model.run(wide),
        "classify": lambda: model.classify(encoded),
        "list": lambda: model.classify([encoded, pixels, encoded]),
        "array": lambda: model.predict(pixels[None]),
        "features": lambda: model.features([encoded], on_error="none"),
        "error": fails,
        "returned": lambda: model.classify([broken, encoded], on_error="return"),
        "type": fails_by_type,
        "stream": lambda: next(model.stream([encoded] * 6)),
    }
    call = calls[name]
    watched = [encoded, pixels, x, broken, model, model.labels, *(model.labels or ())[:3]]
    # Each of these takes three images or six.
    calls_made = CALLS // 3 if name in ("list", "stream") else CALLS
    # Starts the threads that decode.
    model.classify([encoded] * 4)
    for _ in range(CALLS // 10):
        call()
    gc.collect()
    before, references = resident(), [sys.getrefcount(one) for one in watched]
    threads = len(os.listdir("/proc/self/task"))
    for _ in range(calls_made):
        call()
    gc.collect()
    # A stream that was dropped lets go of its last images when a thread has looked at them.
    model.classify([encoded] * 4)
    gc.collect()
    assert [sys.getrefcount(one) for one in watched] == references
    # Those of models that are gone may have ended meanwhile.
    assert len(os.listdir("/proc/self/task")) <= threads
    grown = resident() - before
    assert grown < MOST_BYTES, f"{grown} bytes more after {calls_made} calls"


@linux
def test_models_that_were_loaded_and_let_go(weights: Path) -> None:
    encoded = picture()

    def use(closed: bool) -> None:
        model = effnet.load(weights, device="cpu", size=16, threads=3, decode_threads=3)
        model.classify([encoded] * 4)
        if closed:
            model.close()

    for turn in range(10):
        use(turn % 2 == 0)
    gc.collect()
    before, files = resident(), len(os.listdir("/proc/self/fd"))
    for turn in range(40):
        use(turn % 2 == 0)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == files
    # One model takes some 40 MB.
    assert resident() - before < 60 << 20
