"""What the wheel carries, and how it is imported."""

from __future__ import annotations

import doctest
import importlib.metadata
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import effnet


def test_it_is_the_installed_package() -> None:
    folder = Path(effnet.__file__).parent
    assert folder.parent.name == "site-packages", folder
    names = {path.name for path in folder.iterdir() if not path.name.startswith("__pycache__")}
    assert names == {
        "__init__.py", "__init__.pyi", "_effnet.abi3.so", "_errors.py", "_reports.py", "py.typed",
    }  # fmt: skip


def test_metadata() -> None:
    distribution = importlib.metadata.distribution("effnet")
    assert distribution.version == effnet.__version__
    assert distribution.metadata["Requires-Python"] == ">=3.10"
    assert distribution.requires == ["numpy>=1.23"]
    wheel = distribution.read_text("WHEEL")
    assert wheel is not None and "Tag: cp310-abi3-" in wheel, wheel
    files = [str(file) for file in distribution.files or []]
    assert not [file for file in files if "tests" in file or file.endswith((".rs", ".toml"))]


def test_an_import_brings_nothing_else_along() -> None:
    text = "import sys, effnet; print([m for m in ('numpy', 'PIL', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done


def test_everything_public_is_documented() -> None:
    assert sorted(effnet.__all__) == effnet.__all__
    for name in effnet.__all__:
        public = getattr(effnet, name)
        if name == "__version__":
            continue
        assert inspect.getdoc(public), name
        if inspect.isclass(public) and not issubclass(public, BaseException):
            for attribute, value in vars(public).items():
                if not attribute.startswith("_") and not isinstance(value, (str, type)):
                    assert inspect.getdoc(value), f"{name}.{attribute}"
    assert inspect.signature(effnet.load).parameters["device"].default == "auto"


def test_the_examples_run(
    weights: Path, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(weights, tmp_path / "lite0.safetensors")
    for name, photo in [("cat.jpg", photos[0]), ("coffee.jpg", photos[1])]:
        shutil.copy(photo, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    finder = doctest.DocTestFinder(exclude_empty=True)
    parser = doctest.DocTestParser()
    readme = Path(__file__).parents[1] / "README.md"
    found = [
        *finder.find(effnet, "effnet", module=False),
        *finder.find(effnet.load, "effnet.load", module=False),
        parser.get_doctest(readme.read_text(), {}, "README.md", str(readme), 0),
    ]
    run = 0
    for test in found:
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        results = runner.run(test)
        assert results.failed == 0, test.name
        run += results.attempted
    assert run >= 10
