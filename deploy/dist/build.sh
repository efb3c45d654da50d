#!/bin/sh
# Builds what a release has, into a folder: a wheel for Python, an archive (program, C and C++ library,
# completions, manual pages, licences), what is inside as CycloneDX, and checksums of all of it.
# Usage: build.sh FOLDER WORK; WORK is for what is built on the way, and may be there from before.
#
# Two builds of one commit give the same bytes: no path of the machine, no time but the commit's, and
# no order but that of names. The compilers are part of what decides the bytes: the list of what is
# inside names them.
#
# One thing is not in our hands. The front end of nvcc 13.0 writes one loop of kernels/pointwise_f32.cu in
# either of two ways, which differ in how addresses are put together, by where the system has laid its
# memory: of 80 runs 53 gave the one and 27 the other, and with `setarch -R` 80 of 80 the same, for the
# same paths. Whatever has that kernel inside differs then.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
folder=${1:?usage: build.sh FOLDER WORK}
work=${2:?usage: build.sh FOLDER WORK}
cargo=${CARGO:-cargo}
python=${PYTHON:-python3}
mkdir -p "$folder" "$work"
folder=$(cd "$folder" && pwd)
work=$(cd "$work" && pwd)

venv=$work/venv
if [ ! -e "$venv/installed" ] || [ deploy/dist/requirements.txt -nt "$venv/installed" ]; then
    "$python" -m venv "$venv"
    "$venv/bin/pip" install --quiet --requirement deploy/dist/requirements.txt
    touch "$venv/installed"
fi

# Without a repository, as in an archive of the sources, the time is that of the change log.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
export SOURCE_DATE_EPOCH
export CARGO_INCREMENTAL=0 CARGO_TARGET_DIR="$work/target"
home=${CARGO_HOME:-$HOME/.cargo}
# Messages of panics name sources: those of crates and of this folder, wherever they lie.
remap="--remap-path-prefix=$home=/cargo --remap-path-prefix=$root=/effnet"
export RUSTFLAGS="${RUSTFLAGS:-} $remap"
export CFLAGS="${CFLAGS:-} -ffile-prefix-map=$home=/cargo -ffile-prefix-map=$root=/effnet"

version=$("$cargo" metadata --format-version 1 --no-deps --locked |
    "$python" -c 'import json, sys
print(next(p["version"] for p in json.load(sys.stdin)["packages"] if p["name"] == "effnet"))')
target=$(rustc -vV | sed -n 's/^host: //p')
name=effnet-$version-$target
stage=$work/$name
rm -rf "$stage"
mkdir -p "$stage/bin" "$stage/share/doc/effnet"

"$cargo" build --locked --profile dist --bin effnet
install -m 755 "$CARGO_TARGET_DIR/dist/effnet" "$stage/bin/effnet"
PROFILE=dist bindings/c/install.sh "$stage"
"$stage/bin/effnet" man "$stage/share/man/man1"
complete() {
    mkdir -p "$stage/share/$2"
    "$stage/bin/effnet" completions "$1" > "$stage/share/$2/$3"
}
complete bash bash-completion/completions effnet
complete zsh zsh/site-functions _effnet
complete fish fish/vendor_completions.d effnet.fish
cp README.md CHANGELOG.md LICENSE-* THIRD-PARTY-NOTICES "$stage/share/doc/effnet/"

rm -rf "$work/wheels"
"$venv/bin/maturin" build --locked --profile dist --manifest-path bindings/python/Cargo.toml \
    --out "$work/wheels"

rm -f "$folder"/effnet-*
cp "$work"/wheels/*.whl "$folder/"
"$python" deploy/dist/archive.py "$stage" "$folder/$name.tar.gz"
"$venv/bin/python" deploy/dist/contents.py "$folder/$name.cdx.json" "$stage"
cd "$folder"
sha256sum -- effnet-* > SHA256SUMS
cat SHA256SUMS
