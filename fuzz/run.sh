#!/bin/sh
# Fuzzes the readers of untrusted bytes under AddressSanitizer, and prints what came of it.
# Usage: run.sh SECONDS [TARGET...]; without a target, each in turn, for so many seconds.
#
# Needs Rust's nightly toolchain, a C++ compiler and Python 3. EFFNET_PACKED may name a packed file:
# its header is a seed. Corpora stay in target/fuzz/corpus, and grow; what breaks a target stays in
# target/fuzz/found. Exit status 1 if one was broken.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:?usage: run.sh SECONDS [TARGET...]}
shift
host=$(rustc -vV | sed -n 's/^host: //p')
all="checkpoint evidence graph image jpeg lists network packed pickle ptx request"
[ $# -gt 0 ] || set -- $all

# As cargo-fuzz has them, with the checks of a debug build; no kernel is run.
export EFFNET_CUDA_ARCHS=ptx
export RUSTFLAGS="-Zsanitizer=address --cfg fuzzing -Cdebug-assertions -Coverflow-checks \
-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cforce-frame-pointers"
for folder in fuzz crates/ptx-emulator/fuzz; do
    cargo +nightly build --release --locked --target "$host" --target-dir target/fuzz \
        --manifest-path "$folder/Cargo.toml"
done

work=target/fuzz
python3 fuzz/seeds.py "$work/seeds" ${EFFNET_PACKED:+"$EFFNET_PACKED"}
mkdir -p "$work/found" "$work/logs"
broken=0
printf '%-12s %10s %10s %8s  %s\n' target runs edges seconds result
for target in "$@"; do
    mkdir -p "$work/corpus/$target"
    log=$work/logs/$target.log
    began=$(date +%s)
    result=ok
    # A file of a few KB must cost no more than seconds, and no more memory than it justifies.
    "$work/$host/release/$target" -max_total_time="$seconds" -timeout=25 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$work/found/$target-" \
        "$work/corpus/$target" "$work/seeds/$target" > "$log" 2>&1 || result="BROKEN: $log"
    [ "$result" = ok ] || broken=1
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    printf '%-12s %10s %10s %8s  %s\n' "$target" "${runs:--}" "${edges:--}" \
        "$(($(date +%s) - began))" "$result"
done
exit $broken
