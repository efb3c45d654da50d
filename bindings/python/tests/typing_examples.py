"""What people write, as a type checker has to understand it; nothing of it is run."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from typing_extensions import assert_type

import effnet

model: effnet.Model = effnet.load("lite0.safetensors", device="cpu", size=(64, 32))

assert_type(model.classify("cat.jpg"), list[effnet.Prediction])
assert_type(model.classify(Path("cat.jpg"), on_error="none"), list[effnet.Prediction] | None)
assert_type(model.classify(b"", on_error="return"), list[effnet.Prediction] | effnet.ImageError)
assert_type(model.classify(["cat.jpg"]), list[list[effnet.Prediction]])
assert_type(model.classify(["cat.jpg"], on_error="none"), list[list[effnet.Prediction] | None])
assert_type(model.predict("cat.jpg"), npt.NDArray[np.float32])
assert_type(model.predict(["cat.jpg"], on_error="none"), list[npt.NDArray[np.float32] | None])
for predictions in model.stream(Path(".").glob("*.jpg")):
    assert_type(predictions, list[effnet.Prediction])
for row in model.stream(["cat.jpg"], output="features", on_error="return"):
    assert_type(row, npt.NDArray[np.float32] | effnet.ImageError)
assert_type(
    model(np.zeros((1, 64, 32, 3), np.float32)).probabilities, npt.NDArray[np.float32] | None
)
assert_type(effnet.load(effnet.pull("lite0")).labels, tuple[str, ...] | None)
assert_type(effnet.devices()[0]["usable"], bool)

try:
    model.classify("cat.jpg")
except effnet.ImageError as error:
    assert_type(error.index, int | None)
