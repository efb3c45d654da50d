#!/bin/sh
# Puts parts of CUDA's compiler into a folder, from the Python package index, as PART-requirements.txt
# has them.
# Usage: fetch-nvcc.sh FOLDER PART...; nvcc is then FOLDER/nvidia/cu13/bin/nvcc, nvdisasm beside it, and
# ptxas, that of CUDA 12, FOLDER/nvidia/cuda_nvcc/bin/ptxas.
set -eu
folder=$1
shift
python=${PYTHON:-python3}
here=$(dirname "$0")

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
for part in "$@"; do
    case $part in
        nvcc) program=nvidia/cu13/bin/nvcc what="CUDA's compiler (270 MB)" variable=EFFNET_NVCC of="12 or 13" ;;
        ptxas) program=nvidia/cuda_nvcc/bin/ptxas what="CUDA 12's assembler (40 MB)" variable=EFFNET_PTXAS of=12 ;;
        nvdisasm) program=nvidia/cu13/bin/nvdisasm what="CUDA's disassembler (6 MB)" variable=EFFNET_NVDISASM of="12 or 13" ;;
        *)
            echo "fetch-nvcc: '$part' is no part; expected nvcc, ptxas or nvdisasm" >&2
            exit 1
            ;;
    esac
    requirements=$here/$part-requirements.txt
    # Beside the folder's other parts: pip would take the place of all of them.
    new=$folder/new-$part
    rm -rf "$new"
    echo "fetch-nvcc: $what goes into $folder" >&2
    # Wheels alone, whose hashes are known: nothing of a package runs while it is installed.
    "$python" -m pip install --quiet --disable-pip-version-check --target "$new" \
        --require-hashes --no-deps --only-binary :all: --requirement "$requirements" || {
        rm -rf "$new"
        echo "fetch-nvcc: could not install what $requirements lists; is a package index reachable?" >&2
        echo "            Or set $variable to the $part of CUDA $of." >&2
        exit 1
    }
    cp -R "$new/." "$folder/"
    rm -rf "$new"
    "$folder/$program" --version >/dev/null || {
        echo "fetch-nvcc: $folder/$program does not run on this machine; set $variable to one that does" >&2
        exit 1
    }
done
# cargo watches build.rs: a compiler that appears would otherwise not be noticed.
touch "$here/../build.rs"
