"""Logits equal to timm's, on networks with random weights that pass through a checkpoint file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import effnet

torch: Any = pytest.importorskip("torch", reason="requirements-timm.txt is not installed")
timm: Any = pytest.importorskip("timm", reason="requirements-timm.txt is not installed")

# As a part of the largest number. Both sides compute in f32 and sum in another order, 2^-24 of each
# of some hundred partial sums a map, through up to 60 maps in a row: 1e-4 holds that with room, as
# it does in the library's own comparison with published implementations. Weights that are packed in
# fp16 are rounded to it on timm's side as well, so that nothing else is left.
TOLERANCE = 1e-4


def network(name: str) -> Any:
    torch.manual_seed(17)
    model = timm.create_model(name, pretrained=False)
    # Scales and statistics as training leaves them: every part of a batch-norm counts, and no map
    # fades away on its way through the network.
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.75, 1.25)
            torch.nn.init.uniform_(module.bias, -0.25, 0.25)
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 224, 224))
    return model.eval()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["efficientnet_lite0", "tf_efficientnet_lite0", "efficientnet_b0"])
def test_logits_and_features(name: str, precision: str, tmp_path: Path) -> None:
    model = network(name)
    checkpoint = tmp_path / "checkpoint.pth"
    torch.save(model.state_dict(), checkpoint)
    family = "timm-tf" if name.startswith("tf_") else "timm"
    report = effnet.import_checkpoint(
        checkpoint, tmp_path / "packed.safetensors", precision=precision, family=family
    )
    ours = effnet.load(report, device="cpu", batch=2)
    height, width = ours.size
    x = torch.randn(3, 3, height, width)

    def theirs() -> list[np.ndarray]:
        with torch.inference_mode():
            features = model.forward_head(model.forward_features(x), pre_logits=True)
            return [model(x).numpy(), features.numpy()]

    exact = theirs()
    if precision == "fp16":
        for module in model.modules():
            if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
                module.weight.data = module.weight.data.half().float()
    expected = theirs()
    # PyTorch's tensor is lent through DLPack.
    outputs = ours.run(x, layout="NCHW")
    found = [outputs.logits, outputs.features]
    for mine, other in zip(found, expected):
        assert difference(mine, other) < TOLERANCE
    assert np.array_equal(found[0].argmax(1), expected[0].argmax(1))
    # The tolerance tells other inputs apart, and fp16 from fp32.
    assert difference(found[0][:1], expected[0][1:2]) > 100 * TOLERANCE
    if precision == "fp16":
        assert difference(found[0], exact[0]) > TOLERANCE


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest, as a part of the largest number."""
    return float(np.abs(a - b).max() / np.abs(b).max())


def test_preprocessing(tmp_path: Path, photos: list[Path]) -> None:
    from PIL import Image

    model = network("efficientnet_lite0")
    checkpoint = tmp_path / "checkpoint.pth"
    torch.save(model.state_dict(), checkpoint)
    report = effnet.import_checkpoint(checkpoint, tmp_path / "packed.safetensors", family="timm")
    ours = effnet.load(report, device="cpu")
    settings = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**settings, is_training=False)
    for photo in photos:
        with Image.open(photo) as picture:
            theirs = transform(picture.convert("RGB")).numpy().transpose(1, 2, 0)
        # Bit for bit but for Pillow's other order of rows and columns since 13: one level.
        level = 1 / 255 / min(settings["std"])
        assert np.abs(ours.preprocess(photo) - theirs).max() <= 1.01 * level
