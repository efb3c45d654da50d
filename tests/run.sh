#!/bin/sh
# Runs every test: with cargo-nextest where it is installed, else with cargo test; then the
# documentation's examples, which nextest does not run.
set -eu
cargo=${CARGO:-cargo}
# tests/cuda_device.rs and cuda_runs/ need the driver library that an example is.
"$cargo" build --locked --all-features --examples
if "$cargo" nextest --version >/dev/null 2>&1; then
    "$cargo" nextest run --locked --workspace --all-features --no-fail-fast
else
    "$cargo" test --locked --workspace --all-features --lib --bins --tests --no-fail-fast
fi
"$cargo" test --locked --workspace --all-features --doc
