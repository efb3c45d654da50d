#!/bin/sh
# Checks and measures the kernels on a GPU. Needs a driver and the programs that `make gpu-bundle` packs; no Rust, no
# nvcc. Ends within eight minutes. `gpu_check.sh FOLDER [REPORT]`: FOLDER has the programs.
set -u
folder=$(cd "${1:-.}" && pwd)
report=${2:-gpu-check.md}
failed=0

say() { printf '%s\n' "$*" | tee -a "$report"; }
# A title, a limit in seconds, and a command: its last lines go to the report, and whether it succeeded.
check() {
    title=$1 limit=$2
    shift 2
    if timeout "$limit" "$@" >"$report.log" 2>&1; then verdict=passed; else verdict="FAILED ($?)" failed=1; fi
    say "- $title: $verdict"
    if [ "$verdict" != passed ]; then tail -n 30 "$report.log" | sed 's/^/    /' | tee -a "$report"; fi
}

: >"$report"
say "# GPU check, $(date -u '+%Y-%m-%d %H:%M') UTC"
say ""
if command -v nvidia-smi >/dev/null 2>&1; then
    query=name,driver_version,memory.total,clocks.max.sm
    say "$(nvidia-smi --query-gpu="$query" --format=csv,noheader 2>&1 | head -n 1)"
else
    say "nvidia-smi: not on this machine"
fi
say ""
say "## Correctness"
say ""
# Every network test runs on the GPU too where this is set, and is compared with the emulator on the same input.
export EFFNET_TEST_DEVICE=cuda
check "networks at small sizes, GPU against emulator and CPU" 120 "$folder/emulated_networks" at_a_small_size
check "B0, Lite0 at native size" 60 "$folder/emulated_networks" b0_f16_at_native lite0_f16_at_native
if command -v compute-sanitizer >/dev/null 2>&1; then
    for tool in memcheck racecheck; do
        check "compute-sanitizer $tool" 45 compute-sanitizer --tool "$tool" --error-exitcode 9 \
            "$folder/gpu_bench" 5 lite0
    done
else
    say "- compute-sanitizer: not on this machine"
fi
say ""
say "## Latency and throughput"
say ""
timeout 170 "$folder/gpu_bench" 150 2>&1 | tee -a "$report"
rm -f "$report.log"
exit "$failed"
