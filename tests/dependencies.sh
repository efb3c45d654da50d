#!/bin/sh
# What the program is built from, by deny.toml: what Python can tell, then cargo-deny where it is
# installed; and the fuzz targets still compile, with lock files that are current.
set -eu
cargo=${CARGO:-cargo}
python=${PYTHON:-python3}
"$python" tests/dependencies.py check
if "$cargo" deny --version >/dev/null 2>&1; then
    "$cargo" deny --locked check licenses bans sources
    # The database of advisories is a repository that must be fetched.
    if "$cargo" deny --locked fetch db >/dev/null 2>&1; then
        "$cargo" deny --locked check advisories
    else
        echo "dependencies: advisories are not looked at: their database cannot be fetched here"
    fi
else
    echo "dependencies: no cargo-deny here: advisories are not looked at"
fi
# Without libFuzzer itself, which is C++; what the checks before have built serves again.
for fuzz in fuzz crates/ptx-emulator/fuzz; do
    "$cargo" check --quiet --locked --no-default-features \
        --manifest-path "$fuzz/Cargo.toml" --target-dir target
done
