#!/bin/sh
# Checks and measures the kernels on a GPU. Needs a driver and the programs that `make gpu-bundle` packs; no Rust, no
# nvcc. Ends within ten minutes: the limits below add up to 585 seconds. `gpu_check.sh FOLDER [REPORT]`:
# FOLDER has the programs. Beside REPORT it leaves the profiles, and the constants of `effnet estimate` refitted to them.
set -u
export RUST_BACKTRACE=0
folder=$(cd "${1:-.}" && pwd)
report=${2:-gpu-check.md}
failed=0

say() { printf '%s\n' "$*" | tee -a "$report"; }
# A title, a limit in seconds, and a command: whether it succeeded, and where it did not its last lines.
check() {
    title=$1 limit=$2
    shift 2
    start=$(date +%s)
    if timeout -k 5 "$limit" "$@" >"$report.log" 2>&1; then verdict=passed; else verdict="FAILED ($?)" failed=1; fi
    if grep -q '^running 0 tests' "$report.log"; then verdict="FAILED (no test has such a name)" failed=1; fi
    say "- $title: $verdict, $(($(date +%s) - start)) s"
    if [ "$verdict" != passed ]; then
        {
            # Why, each reason once with how often, and how it ended.
            grep -A 1 'panicked at' "$report.log" | grep -v -e 'panicked at' -e '^--$' | sort | uniq -c | sort -rn | head -n 15
            tail -n 20 "$report.log"
        } | sed 's/^/    /' | tee -a "$report"
    fi
}
# Of the last command's lines of either kind, the largest numbers: by kernel file, or by precision.
errors() {
    awk '
        function most(of, key, value) { if (!(key in of) || value + 0 > of[key] + 0) of[key] = value }
        match($0, /[a-z0-9_]+: [0-9]+ cases, /) {
            $0 = substr($0, RSTART)  # a test that runs alone has its name before it
            image = $1
            sub(":", "", image)
            cases[image] += $2
            most(error, image, $6)
            if (/from the emulator/) most(difference, image, $15)
        }
        / of the largest logit/ {
            match($0, / (fp16|fp32|tf32), /)
            precision = substr($0, RSTART + 1, RLENGTH - 3)
            match($0, /[^ ]* of the largest logit/)
            share = substr($0, RSTART, RLENGTH - length(" of the largest logit"))
            if (/GPU against emulator/) most(apart, precision, share)
            if (/Cuda\(/) most(off, precision, share)
        }
        END {
            for (i in cases) {
                text = i ": " cases[i] " cases, largest error " error[i] " of its bound"
                if (i in difference) text = text ", from the emulator " difference[i] " of it"
                print "    - " text
            }
            for (p in off) {
                text = p ": " off[p] " of the largest logit from the CPU"
                if (p in apart) text = text ", " apart[p] " from the emulator"
                print "    - " text
            }
        }' "$report.log" | sort | tee -a "$report"
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
say "## Kernels"
say ""
# The tests take the device from this variable: a GPU by itself, or with the emulator beside it.
gpu="env EFFNET_TEST_DEVICE=cuda-only"
both="env EFFNET_TEST_DEVICE=cuda"
# Of the tests that are otherwise ignored the GPU is the reason. The emulated driver is not packed, and
# mutants are for the emulator alone.
also="--nocapture --include-ignored --skip on_the_emulated_driver --skip mutants"
check "every case of every kernel, GPU against f64" 60 $gpu "$folder/emulated_kernels" $also
errors
check "the same, GPU against f64 and emulator" 60 $both "$folder/emulated_kernels" $also
errors
say ""
say "## Networks"
say ""
check "small sizes, GPU against CPU and emulator" 80 $both "$folder/emulated_networks" --nocapture at_a_small_size
errors
check "batches, places and repeats give the same bytes" 20 $gpu "$folder/emulated_networks" depends_on
check "B0 and Lite0 at native size, GPU against CPU" 40 $gpu "$folder/emulated_networks" --nocapture \
    b0_f16_at_native b0_f32_at_native lite0_f16_at_native lite0_f32_at_native
errors
say ""
say "## Sanitizer"
say ""
if command -v compute-sanitizer >/dev/null 2>&1; then
    for tool in memcheck racecheck; do
        sanitized="$gpu compute-sanitizer --tool $tool --error-exitcode 9"
        check "$tool, short list of kernels" 30 $sanitized "$folder/emulated_kernels" ::short_ \
            --skip notices --test-threads 1
        check "$tool, B1 to B3 at a small size" 30 $sanitized "$folder/emulated_networks" \
            b1_to_b3_f16_at_a_small_size --test-threads 1
    done
else
    say "- compute-sanitizer: not on this machine"
fi
say ""
say "## Latency and throughput"
say ""
timeout -k 5 90 "$folder/gpu_bench" 75 >"$report.log" 2>&1 || failed=1
tee -a "$report" <"$report.log"
say ""
say "## Predicted beside measured"
say ""
# Launches one by one, at the sizes that are limited by latency and by rates.
card=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1)
case "$card" in
*H200*) gpu=h200 ;;
*H100*) gpu=h100 ;;
*A100*) gpu=a100 ;;
*L4 | *"L4 "*) gpu=l4 ;;
*4090*) gpu=rtx4090 ;;
*T4*) gpu=t4 ;;
*Orin*) gpu=orin ;;
*) gpu=h100 && say "No constants for ${card:-this card}: those of the H100 stand in." && say "" ;;
esac
profile() { timeout -k 5 20 "$folder/effnet" --quiet profile b0 --device cuda --batch "$1" --json >"$report.b0-$1.json" 2>"$report.log"; }
beside() { # Constants and a title.
    say "### $2"
    say ""
    for batch in 1 128; do
        timeout -k 5 15 "$folder/effnet" estimate b0 --gpu "$1" --batch "$batch" --by launch \
            --measured "$report.b0-$batch.json" 2>&1 | cut -c 1-400 | sed 's/^/    /' | tee -a "$report"
        say ""
    done
}
if profile 1 && profile 128; then
    beside "$gpu" "Predicted with the constants of $gpu"
    fitted=$report.fitted.json
    case "$fitted" in */*) ;; *) fitted=./$fitted ;; esac
    if timeout -k 5 15 "$folder/effnet" estimate --gpu "$gpu" --fit "$report.b0-1.json" --fit "$report.b0-128.json" \
        >"$fitted" 2>>"$report"; then
        beside "$fitted" "Predicted with the constants refitted to it"
    else
        failed=1
        say "- no constants fit: see above"
    fi
else
    failed=1
    say "- no profile of b0:"
    tail -n 5 "$report.log" | sed 's/^/    /' | tee -a "$report"
fi
rm -f "$report.log"
exit "$failed"
