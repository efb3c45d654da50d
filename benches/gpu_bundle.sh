#!/bin/sh
# Packs target/gpu-check and target/gpu-check.tar.gz: programs with kernels for every target, and the script that runs them.
set -eu
cargo=${CARGO:-cargo}
cd "$(dirname "$0")/.."
to=target/gpu-check
rm -rf "$to" && mkdir -p "$to"
"$cargo" build --release --locked --bin effnet --example gpu_bench
# The path of a test program is only in cargo's messages.
networks=$("$cargo" test --release --locked --no-run --message-format=json --test emulated_networks |
    sed -n 's/.*"executable":"\([^"]*emulated_networks[^"]*\)".*/\1/p' | tail -n 1)
cp target/release/effnet target/release/examples/gpu_bench "$to/"
cp "$networks" "$to/emulated_networks"
cp benches/gpu_check.sh "$to/"
strip "$to/effnet" "$to/gpu_bench" "$to/emulated_networks" 2>/dev/null || true
tar -czf target/gpu-check.tar.gz -C target gpu-check
ls -l target/gpu-check.tar.gz
