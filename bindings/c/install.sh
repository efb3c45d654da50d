#!/bin/sh
# Builds libeffnet and installs it: headers, shared and static library, pkg-config and CMake files.
#
#   bindings/c/install.sh PREFIX
#
# PREFIX     an absolute path, as /usr/local
# DESTDIR    a folder that stands before PREFIX, for packages
# PROFILE    cargo's profile: release unless set
# CARGO      cargo
set -eu

prefix=${1:-}
case $prefix in
/*) ;;
*)
    echo "install.sh: expected an absolute path, as /usr/local, found '$prefix'" >&2
    echo "usage: [DESTDIR=FOLDER] [PROFILE=release] bindings/c/install.sh PREFIX" >&2
    exit 2
    ;;
esac
prefix=${prefix%/}
cargo=${CARGO:-cargo}
profile=${PROFILE:-release}
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH= cd -- "$here/../.." && pwd)

if [ "$(uname -s)" != Linux ]; then
    echo "install.sh: names of shared libraries are Linux' here; found $(uname -s)" >&2
    exit 1
fi

cd "$root"
target=$("$cargo" metadata --locked --format-version 1 --no-deps |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
case $profile in
dev) folder=debug ;;
*) folder=$profile ;;
esac
# What a program that links the static library has to link too, as the compiler tells it.
libs=$target/$folder/effnet-native-static-libs
"$cargo" rustc --locked --package effnet-c --lib --profile "$profile" -- \
    --print native-static-libs="$libs"
built=$target/$folder
if [ ! -s "$libs" ]; then
    echo "install.sh: $libs: expected the libraries that the static one needs, found nothing" >&2
    exit 1
fi
static_libs=$(tr -d '\n' <"$libs")

version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/Cargo.toml")
major=${version%%.*}
rest=${version#*.}
minor=${rest%%.*}
soname=libeffnet.so.$major
shared=libeffnet.so.$version
found=$(LC_ALL=C readelf -d "$built/libeffnet.so" | sed -n 's/.*(SONAME).*\[\(.*\)\].*/\1/p')
if [ "$found" != "$soname" ]; then
    echo "install.sh: $built/libeffnet.so: expected the soname $soname, found '$found'" >&2
    exit 1
fi

to=${DESTDIR:-}$prefix
install -d "$to/include" "$to/lib/pkgconfig" "$to/lib/cmake/effnet"
install -m 644 "$here/include/effnet.h" "$here/include/effnet.hpp" "$to/include/"
install -m 755 "$built/libeffnet.so" "$to/lib/$shared"
ln -sf "$shared" "$to/lib/$soname"
ln -sf "$soname" "$to/lib/libeffnet.so"
install -m 644 "$built/libeffnet.a" "$to/lib/libeffnet.a"

fill() {
    # A list of libraries for CMake has semicolons.
    sed -e "s|@VERSION@|$version|g" -e "s|@MAJOR@|$major|g" -e "s|@MINOR@|$minor|g" \
        -e "s|@SONAME@|$soname|g" -e "s|@SHARED@|$shared|g" \
        -e "s|@NATIVE_STATIC_LIBS@|$static_libs|g" \
        -e "s|@NATIVE_STATIC_LIBS_CMAKE@|$(printf '%s' "$static_libs" | tr -s ' ' ';')|g" \
        "$1" >"$2"
    chmod 644 "$2"
}
fill "$here/effnet.pc.in" "$to/lib/pkgconfig/effnet.pc"
fill "$here/cmake/effnet-config.cmake.in" "$to/lib/cmake/effnet/effnet-config.cmake"
fill "$here/cmake/effnet-config-version.cmake.in" \
    "$to/lib/cmake/effnet/effnet-config-version.cmake"
echo "installed libeffnet $version in $to" >&2
