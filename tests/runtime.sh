#!/bin/sh
# The runtime alone, without features: its direct dependencies counted, no warning; and each feature
# without the other. That it runs networks is held by `make test-all` and `make test-c`.
set -eu
cargo=${CARGO:-cargo}
most=16
found=$("$cargo" tree --locked --package effnet --no-default-features --edges normal --depth 1 \
    --prefix none | tail -n +2 | cut -d ' ' -f 1 | sort -u)
count=$(printf '%s\n' "$found" | grep -c .)
if [ "$count" -gt "$most" ]; then
    printf 'the runtime has %s direct dependencies, expected at most %s:\n' "$count" "$most" >&2
    printf '%s\n' "$found" | sed 's/^/  /' >&2
    echo "make one optional, under a feature of Cargo.toml, or do without it" >&2
    exit 1
fi
# Not by RUSTFLAGS, for which every dependency would be built anew. Each set of features has kernels of its
# own, of which the lints need none but in the form that is made soonest.
export EFFNET_CUDA_ARCHS=ptx
"$cargo" clippy --locked --package effnet --no-default-features --lib -- -D warnings
"$cargo" clippy --locked --package effnet --no-default-features --features emulator --lib -- -D warnings
"$cargo" clippy --locked --package effnet --no-default-features --features cli --lib --bins -- -D warnings
