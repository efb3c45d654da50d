import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import GenericAlias, TracebackType
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypedDict, TypeVar, final, overload

import numpy as np
import numpy.typing as npt

from ._errors import (
    DeviceError as DeviceError,
    Error as Error,
    ImageError as ImageError,
    ImageNotFoundError as ImageNotFoundError,
    ImageWarning as ImageWarning,
    OutOfMemoryError as OutOfMemoryError,
    WeightsError as WeightsError,
    WeightsNotFoundError as WeightsNotFoundError,
)
from ._reports import (
    ImportReport as ImportReport,
    Profile as Profile,
    PullReport as PullReport,
    Verification as Verification,
)

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

__version__: str

class _Picture(Protocol):
    """A picture of Pillow."""

    @property
    def mode(self) -> str: ...
    @property
    def size(self) -> tuple[int, int]: ...
    def tobytes(self) -> bytes: ...

class _DLPack(Protocol):
    """A tensor of PyTorch, JAX and the like, in the memory of the CPU."""

    def __dlpack__(self) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...

_T_co = TypeVar("_T_co", covariant=True)
_Floats: TypeAlias = npt.NDArray[np.float32]
_Levels: TypeAlias = npt.NDArray[np.uint8]
_Tensor: TypeAlias = _Floats | _DLPack
_Path: TypeAlias = str | os.PathLike[str]
# One image whose type says that it is one.
_Image: TypeAlias = _Path | bytes | bytearray | memoryview | _Picture
_Images: TypeAlias = Sequence[_Image | _Levels | _DLPack]
# One image or several: their shape says which.
_Array: TypeAlias = npt.NDArray[Any] | _DLPack
_Raise: TypeAlias = Literal["raise"]
_None: TypeAlias = Literal["none"]
_Return: TypeAlias = Literal["return"]
_OnError: TypeAlias = Literal["raise", "none", "return"]
_Precision: TypeAlias = Literal["fp16", "fp32", "tf32"]
_Stored: TypeAlias = Literal["fp16", "fp32"]
_Kernels: TypeAlias = Literal["fused", "layerwise"]
_Layout: TypeAlias = Literal["NHWC", "NCHW"]
_By: TypeAlias = Literal["launch", "layer", "block", "stage", "op"]
_Size: TypeAlias = int | tuple[int, int]

class _Device(TypedDict):
    device: str
    name: str | None
    capability: str | None
    driver: str | None
    memory_bytes: int | None
    memory_free_bytes: int | None
    usable: bool
    code: str | None
    target: str | None
    auto: bool
    why_not: str | None

@final
class Prediction:
    __match_args__: tuple[
        Literal["index"], Literal["label"], Literal["probability"], Literal["logit"]
    ] = ...
    def __new__(
        cls, index: int, label: str | None, probability: float | None, logit: float
    ) -> Prediction: ...
    @property
    def index(self) -> int: ...
    @property
    def label(self) -> str | None: ...
    @property
    def probability(self) -> float | None: ...
    @property
    def logit(self) -> float: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(
        self,
    ) -> tuple[type[Prediction], tuple[int, str | None, float | None, float]]: ...

@final
class Outputs:
    __match_args__: tuple[Literal["logits"], Literal["features"], Literal["probabilities"]] = ...
    @property
    def logits(self) -> _Floats: ...
    @property
    def features(self) -> _Floats: ...
    @property
    def probabilities(self) -> _Floats | None: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...

@final
class Stream(Generic[_T_co]):
    def __class_getitem__(cls, key: Any) -> GenericAlias: ...
    @property
    def ahead(self) -> int: ...
    def __iter__(self) -> Stream[_T_co]: ...
    def __next__(self) -> _T_co: ...
    def close(self) -> None: ...
    def __enter__(self) -> Stream[_T_co]: ...
    def __exit__(
        self,
        *_exception: type[BaseException] | BaseException | TracebackType | None,
    ) -> None: ...

_Best: TypeAlias = list[Prediction]

@final
class Model:
    # A text and bytes are sequences too: the first that fits counts, and takes them for one image.
    @overload
    def classify(  # type: ignore[overload-overlap]
        self, images: _Image, *, top_k: int = 5, on_error: _Raise = "raise"
    ) -> _Best: ...
    @overload
    def classify(  # type: ignore[overload-overlap]
        self, images: _Image, *, top_k: int = 5, on_error: _None
    ) -> _Best | None: ...
    @overload
    def classify(  # type: ignore[overload-overlap]
        self, images: _Image, *, top_k: int = 5, on_error: _Return
    ) -> _Best | ImageError: ...
    @overload
    def classify(
        self, images: _Images, *, top_k: int = 5, on_error: _Raise = "raise"
    ) -> list[_Best]: ...
    @overload
    def classify(
        self, images: _Images, *, top_k: int = 5, on_error: _None
    ) -> list[_Best | None]: ...
    @overload
    def classify(
        self, images: _Images, *, top_k: int = 5, on_error: _Return
    ) -> list[_Best | ImageError]: ...
    @overload
    def classify(self, images: _Array, *, top_k: int = 5, on_error: _OnError = "raise") -> Any: ...
    @overload
    def predict(self, images: _Image | _Images, *, on_error: _Raise = "raise") -> _Floats: ...
    @overload
    def predict(  # type: ignore[overload-overlap]
        self, images: _Image, *, on_error: _None
    ) -> _Floats | None: ...
    @overload
    def predict(  # type: ignore[overload-overlap]
        self, images: _Image, *, on_error: _Return
    ) -> _Floats | ImageError: ...
    @overload
    def predict(self, images: _Images, *, on_error: _None) -> list[_Floats | None]: ...
    @overload
    def predict(self, images: _Images, *, on_error: _Return) -> list[_Floats | ImageError]: ...
    @overload
    def predict(self, images: _Array, *, on_error: _OnError = "raise") -> Any: ...
    @overload
    def features(self, images: _Image | _Images, *, on_error: _Raise = "raise") -> _Floats: ...
    @overload
    def features(  # type: ignore[overload-overlap]
        self, images: _Image, *, on_error: _None
    ) -> _Floats | None: ...
    @overload
    def features(  # type: ignore[overload-overlap]
        self, images: _Image, *, on_error: _Return
    ) -> _Floats | ImageError: ...
    @overload
    def features(self, images: _Images, *, on_error: _None) -> list[_Floats | None]: ...
    @overload
    def features(self, images: _Images, *, on_error: _Return) -> list[_Floats | ImageError]: ...
    @overload
    def features(self, images: _Array, *, on_error: _OnError = "raise") -> Any: ...
    @overload
    def preprocess(self, images: _Image | _Images, *, on_error: _Raise = "raise") -> _Floats: ...
    @overload
    def preprocess(  # type: ignore[overload-overlap]
        self, images: _Image, *, on_error: _None
    ) -> _Floats | None: ...
    @overload
    def preprocess(  # type: ignore[overload-overlap]
        self, images: _Image, *, on_error: _Return
    ) -> _Floats | ImageError: ...
    @overload
    def preprocess(self, images: _Images, *, on_error: _None) -> list[_Floats | None]: ...
    @overload
    def preprocess(self, images: _Images, *, on_error: _Return) -> list[_Floats | ImageError]: ...
    @overload
    def preprocess(self, images: _Array, *, on_error: _OnError = "raise") -> Any: ...
    def run(self, x: _Tensor, *, layout: _Layout = "NHWC") -> Outputs: ...
    def __call__(self, x: _Tensor, *, layout: _Layout = "NHWC") -> Outputs: ...
    @overload
    def stream(
        self,
        images: Iterable[Any],
        *,
        top_k: int = 5,
        output: Literal["predictions"] = "predictions",
        on_error: _Raise = "raise",
        ahead: int | None = None,
    ) -> Stream[_Best]: ...
    @overload
    def stream(
        self,
        images: Iterable[Any],
        *,
        top_k: int = 5,
        output: Literal["predictions"] = "predictions",
        on_error: _None,
        ahead: int | None = None,
    ) -> Stream[_Best | None]: ...
    @overload
    def stream(
        self,
        images: Iterable[Any],
        *,
        top_k: int = 5,
        output: Literal["predictions"] = "predictions",
        on_error: _Return,
        ahead: int | None = None,
    ) -> Stream[_Best | ImageError]: ...
    @overload
    def stream(
        self,
        images: Iterable[Any],
        *,
        top_k: int = 5,
        output: Literal["logits", "features"],
        on_error: _Raise = "raise",
        ahead: int | None = None,
    ) -> Stream[_Floats]: ...
    @overload
    def stream(
        self,
        images: Iterable[Any],
        *,
        top_k: int = 5,
        output: Literal["logits", "features"],
        on_error: _None,
        ahead: int | None = None,
    ) -> Stream[_Floats | None]: ...
    @overload
    def stream(
        self,
        images: Iterable[Any],
        *,
        top_k: int = 5,
        output: Literal["logits", "features"],
        on_error: _Return,
        ahead: int | None = None,
    ) -> Stream[_Floats | ImageError]: ...
    def profile(
        self,
        *,
        by: _By = "layer",
        warm_up_ms: int = 200,
        duration: float = 1.0,
        iterations: int = 10,
        copy_mib: int = 256,
    ) -> Profile: ...
    def close(self) -> None: ...
    def __enter__(self) -> Model: ...
    def __exit__(
        self,
        *_exception: type[BaseException] | BaseException | TracebackType | None,
    ) -> None: ...
    @property
    def closed(self) -> bool: ...
    @property
    def labels(self) -> tuple[str, ...] | None: ...
    @property
    def classes(self) -> int: ...
    @property
    def input_shape(self) -> tuple[int, int, int, int]: ...
    @property
    def output_shapes(self) -> tuple[tuple[int, int], tuple[int, int]]: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def batch(self) -> int: ...
    @property
    def variant(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def file(self) -> Path: ...
    @property
    def device(self) -> str: ...
    @property
    def device_name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def activation(self) -> str: ...
    @property
    def metadata(self) -> dict[str, Any]: ...
    @property
    def _session_seconds(self) -> float: ...

def load(
    path_or_name: _Path,
    *,
    device: str = "auto",
    precision: _Precision | None = None,
    batch: int = 1,
    size: _Size | None = None,
    threads: int | None = None,
    path: _Kernels = "fused",
    decode_threads: int | None = None,
    warmup: bool = True,
) -> Model: ...
def import_checkpoint(
    src: _Path,
    dst: _Path | None = None,
    *,
    precision: _Stored = "fp16",
    variant: str | None = None,
    family: str | None = None,
    name: str | None = None,
    key: str | None = None,
    labels: _Path | Sequence[str] | None = None,
    activation: Literal["softmax", "sigmoid", "none"] | None = None,
    padding: Literal["symmetric", "same", "same-frozen", "same-cropped"] | None = None,
    bn_eps: float | None = None,
    size: _Size | None = None,
    crop_pct: float | None = None,
    margin: int | None = None,
    interpolation: Literal[
        "pillow-bicubic", "pillow-bilinear", "opencv-bilinear", "tensorflow-bicubic"
    ]
    | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    exif: bool | None = None,
) -> ImportReport: ...
def pull(
    name: str,
    *,
    output: _Path | None = None,
    precision: _Stored = "fp16",
    url: str | None = None,
    sha256: str | None = None,
    progress: Callable[[int, int | None], object] | None = None,
) -> PullReport: ...
def catalogue() -> list[dict[str, Any]]: ...
def devices() -> list[_Device]: ...
def verify(
    path_or_name: _Path,
    *,
    device: str = "auto",
    path: _Kernels = "fused",
    precision: _Precision | None = None,
    size: _Size | None = None,
    image: _Path | bytes | None = None,
    input: Literal["f32", "u8"] = "f32",
) -> Verification: ...
