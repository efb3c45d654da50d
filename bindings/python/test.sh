#!/bin/sh
# Builds the wheel, installs it into a folder of its own, tests it from there, and holds the stubs to it.
#
#   test.sh FOLDER [PROFILE [ARGUMENT...]]
#
# FOLDER holds the virtual environment and the wheel, and is kept for the next time. PROFILE is cargo's,
# release where none is given; further arguments go to pytest. With EFFNET_TEST_TIMM=1 what
# tests/test_timm.py needs is installed too, 5 GB; without it that test says that it was skipped.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
profile=${2:-release}
shift; [ $# -eq 0 ] || shift
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
cargo=${CARGO:-cargo}
python=$folder/venv/bin/python

[ -x "$python" ] || "${PYTHON:-python3}" -m venv "$folder/venv"
"$python" -m pip install --quiet --requirement "$here/requirements.txt"
if [ "${EFFNET_TEST_TIMM:-}" = 1 ]; then
    "$python" -m pip install --quiet --requirement "$here/requirements-timm.txt"
fi

rm -rf "$folder/wheels"
PATH=$folder/venv/bin:$PATH "$folder/venv/bin/maturin" build --locked --profile "$profile" \
    --manifest-path "$here/Cargo.toml" --out "$folder/wheels"
"$python" -m pip install --quiet --force-reinstall --no-deps "$folder"/wheels/*.whl

# The program that the package is held against, and a CUDA driver library for machines without one.
built=$profile; [ "$profile" != dev ] || built=debug
target=${CARGO_TARGET_DIR:-$repository/target}/$built
if [ -z "${EFFNET_TEST_PROGRAM:-}" ]; then
    "$cargo" build --locked --profile "$profile" --bin effnet --manifest-path "$repository/Cargo.toml"
    EFFNET_TEST_PROGRAM=$target/effnet
fi
if [ -z "${EFFNET_TEST_DRIVER:-}" ]; then
    "$cargo" build --locked --profile "$profile" --example emulated_driver \
        --manifest-path "$repository/Cargo.toml"
    EFFNET_TEST_DRIVER=$target/examples/libemulated_driver.so
fi
export EFFNET_TEST_PROGRAM EFFNET_TEST_DRIVER
# The sources stay as they are.
export PYTHONDONTWRITEBYTECODE=1

# From another folder, where only the installed package can be imported.
mkdir -p "$folder/elsewhere"
cd "$folder/elsewhere"
"$python" -m pytest -p no:cacheprovider "$@" "$here/tests"
"$python" -m mypy.stubtest effnet
"$python" -m mypy --strict "$here/tests/typing_examples.py"
