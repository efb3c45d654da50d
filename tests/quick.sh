#!/bin/sh
# The most telling tests, for every change: launch records, unit tests, one short test of every
# kernel file on the emulator, and the command line. `make test` runs all.
set -eu
cargo=${CARGO:-cargo}
programs="--lib --test architecture --test launch_records --test kernels --test cli"
if "$cargo" nextest --version >/dev/null 2>&1; then
    # shellcheck disable=SC2086 # several arguments
    "$cargo" nextest run --locked $programs --test emulated_kernels --no-fail-fast \
        -E 'not binary(emulated_kernels) or test(/^short::/)'
else
    # shellcheck disable=SC2086
    "$cargo" test --locked $programs --no-fail-fast
    "$cargo" test --locked --test emulated_kernels -- short::
fi
