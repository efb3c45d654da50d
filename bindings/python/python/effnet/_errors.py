"""The exceptions, each also the built-in that people catch."""

from __future__ import annotations

import errno


class Error(Exception):
    """Base of this package's exceptions."""


class ImageError(Error, ValueError):
    """One image has no result. The others of the same call are not affected by it.

    Attributes:
        index: The image's place among the inputs, from 0.
        name: Its path, or ``image N`` for one that has none.
    """

    index: int | None = None
    name: str | None = None


class ImageNotFoundError(ImageError, FileNotFoundError):
    """There is no file of an image's name."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.errno = errno.ENOENT


class WeightsError(Error, ValueError):
    """A checkpoint or a packed file cannot be used."""


class WeightsNotFoundError(WeightsError, FileNotFoundError):
    """There are no weights at a path or of a name."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.errno = errno.ENOENT


class DeviceError(Error, RuntimeError):
    """A device cannot be used, or a run on it failed."""


class OutOfMemoryError(Error, MemoryError):
    """The memory of the host or of a device does not suffice."""


class ImageWarning(UserWarning):
    """An image was decoded although its file has a fault."""


for _class in (
    Error,
    ImageError,
    ImageNotFoundError,
    WeightsError,
    WeightsNotFoundError,
    DeviceError,
    OutOfMemoryError,
    ImageWarning,
):
    # They are told and pickled by their public names.
    _class.__module__ = "effnet"
del _class
