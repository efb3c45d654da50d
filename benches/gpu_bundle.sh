#!/bin/sh
# Packs target/gpu-check and target/gpu-check.tar.gz: programs with kernels for every target, and the script that runs them.
set -eu
cargo=${CARGO:-cargo}
cd "$(dirname "$0")/.."
to=target/gpu-check
limit_bytes=67108864
rm -rf "$to" && mkdir -p "$to"
"$cargo" build --release --locked --bin effnet --example gpu_bench
cp target/release/effnet target/release/examples/gpu_bench benches/gpu_check.sh "$to/"
# The path of a test program is only in cargo's messages.
for test in emulated_kernels emulated_networks; do
    program=$("$cargo" test --release --locked --no-run --message-format=json --test "$test" |
        sed -n 's/.*"executable":"\([^"]*'"$test"'[^"]*\)".*/\1/p' | tail -n 1)
    cp "$program" "$to/$test"
done
strip "$to/effnet" "$to/gpu_bench" "$to/emulated_kernels" "$to/emulated_networks" 2>/dev/null || true
tar -czf target/gpu-check.tar.gz -C target gpu-check
ls -l target/gpu-check.tar.gz
bytes=$(wc -c <target/gpu-check.tar.gz)
if [ "$bytes" -gt "$limit_bytes" ]; then
    echo "target/gpu-check.tar.gz has $bytes bytes, expected at most $limit_bytes: leave out targets with EFFNET_CUDA_ARCHS" >&2
    exit 1
fi
