"""EfficientNets on CUDA GPUs and on the CPU, from packed weights to classes.

Example:
    >>> import effnet
    >>> model = effnet.load("lite0.safetensors", device="cpu")
    >>> for prediction in model.classify("cat.jpg", top_k=2):
    ...     print(prediction.index, prediction.label, f"{prediction.probability:.2f}")
    282 tiger cat 0.37
    285 Egyptian cat 0.37
"""

from __future__ import annotations

from ._effnet import (
    Model,
    Outputs,
    Prediction,
    Stream,
    __version__,
    catalogue,
    devices,
    import_checkpoint,
    load,
    pull,
    verify,
)
from ._errors import (
    DeviceError,
    Error,
    ImageError,
    ImageNotFoundError,
    ImageWarning,
    OutOfMemoryError,
    WeightsError,
    WeightsNotFoundError,
)
from ._reports import ImportReport, Profile, PullReport, Verification

__all__ = [
    "DeviceError",
    "Error",
    "ImageError",
    "ImageNotFoundError",
    "ImageWarning",
    "ImportReport",
    "Model",
    "OutOfMemoryError",
    "Outputs",
    "Prediction",
    "Profile",
    "PullReport",
    "Stream",
    "Verification",
    "WeightsError",
    "WeightsNotFoundError",
    "__version__",
    "catalogue",
    "devices",
    "import_checkpoint",
    "load",
    "pull",
    "verify",
]
