"""The way through CUDA's driver library, on one whose GPU is the PTX emulator."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

TEXT = """
import effnet, numpy as np, os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
photos = [os.path.join(os.path.dirname(photo), name) for name in ("chelsea.jpg", "rocket.jpg")] * 3
gpu = effnet.load(weights, device="cuda", size=32, batch=2)
assert repr(gpu) == "<effnet.Model lite0 on cuda:0, 32x32, fp16, batch 2>", gpu
assert effnet.devices()[0]["device"] == "cuda:0" and effnet.devices()[0]["auto"]
cpu = effnet.load(weights, device="cpu", size=32, batch=2)
logits = gpu.predict(photos)
emulated = effnet.load(weights, device="emulator", size=32, batch=2).predict(photos[:2])
assert np.array_equal(logits[:2], emulated)
assert np.abs(logits - cpu.predict(photos)).max() < np.abs(logits).max() / 32
x = gpu.preprocess(photos)
assert np.array_equal(x, cpu.preprocess(photos))
outputs = gpu.run(x)
assert np.array_equal(outputs.logits, logits)
assert np.array_equal(outputs.features, gpu.features(photos))
best = [found[0].index for found in gpu.classify(photos, top_k=1)]
assert best == list(logits.argmax(1))
rows = list(gpu.stream([*photos, b"broken", *photos], output="logits", on_error="none", ahead=8))
assert rows.pop(6) is None and np.array_equal(np.stack(rows), np.concatenate([logits] * 2))
child = os.fork()
if child == 0:
    try:
        gpu.predict(photos)
    except effnet.DeviceError as error:
        assert "fork" in str(error)
        del gpu
        os._exit(7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
try:
    effnet.load(weights, device="cuda:1")
except effnet.DeviceError as error:
    assert "there is no GPU 1" in str(error), error
else:
    raise AssertionError
try:
    effnet.load(weights, device="cuda", size=2048, batch=64)
except effnet.DeviceError as error:
    assert "run a smaller batch" in str(error), error
else:
    raise AssertionError
gpu.close()
print("well")
"""


def test_a_gpu(script: Callable[..., subprocess.CompletedProcess[str]], driver: Path) -> None:
    done = script(TEXT, timeout=300, libraries=driver)
    assert done.stdout == "well\n", done
