#!/bin/sh
# Puts CUDA's compiler into a folder, from the Python package index, as nvcc-requirements.txt has it.
# Usage: fetch-nvcc.sh FOLDER; nvcc is then FOLDER/nvidia/cu13/bin/nvcc.
set -eu
folder=$1
python=${PYTHON:-python3}
requirements=$(dirname "$0")/nvcc-requirements.txt
nvcc=$folder/nvidia/cu13/bin/nvcc

if ! command -v "$python" >/dev/null 2>&1; then
    echo "fetch-nvcc: no '$python' found; install Python 3, or name one: make PYTHON=..." >&2
    exit 1
fi
mkdir -p "$folder"
# Some systems ship Python without pip; a virtual environment brings its own.
if ! "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv "$folder/venv" || {
        echo "fetch-nvcc: '$python' has neither pip nor venv; install one of them (on Debian: python3-venv)" >&2
        exit 1
    }
    python=$folder/venv/bin/python
fi
echo "fetch-nvcc: CUDA's compiler goes into $folder (about 270 MB)" >&2
# Wheels alone, whose hashes are known: nothing of a package runs while it is installed.
"$python" -m pip install --quiet --disable-pip-version-check --upgrade --target "$folder" \
    --require-hashes --no-deps --only-binary :all: --requirement "$requirements" || {
    echo "fetch-nvcc: could not install what $requirements lists; is a package index reachable?" >&2
    echo "            Or set EFFNET_NVCC to an nvcc of CUDA 12 or 13." >&2
    exit 1
}
"$nvcc" --version >/dev/null || {
    echo "fetch-nvcc: $nvcc does not run on this machine; set EFFNET_NVCC to one that does" >&2
    exit 1
}
# cargo watches build.rs: a compiler that appears would otherwise not be noticed.
touch "$(dirname "$0")/../build.rs"
