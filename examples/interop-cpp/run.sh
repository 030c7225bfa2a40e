#!/usr/bin/env bash
# Builds the C library, its header and the template provider in C++, then runs that and a client in Rust against each
# other until COUNT blocks are found (3 when not given).
#
#   run.sh [COUNT]       build, and run both
#   run.sh --build       build only; prints where the template provider is
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$repository/target}
build=$target/interop-cpp
mkdir -p "$build"

say() { echo "== $*" >&2; }

say "the library"
cargo build --quiet --manifest-path "$repository/Cargo.toml" --target-dir "$target" \
    --release --package stratum-sv2-ffi --no-default-features --features std,template-provider

say "the header"
"$repository/protocols/v2/sv2-ffi/build_header.sh"

say "the template provider"
"${CXX:-c++}" -std=c++11 -O2 -Wall -Wextra -Wpedantic -Werror -I "$repository/protocols/v2/sv2-ffi" \
    "$here/template-provider.cpp" "$here/chain.cpp" "$target/release/libsv2_ffi.a" -lpthread -ldl -lm -o "$build/template-provider.$$"
# Another run may have it open.
mv "$build/template-provider.$$" "$build/template-provider"

if [ "${1:-}" = --build ]; then
    echo "$build/template-provider"
    exit
fi

say "the client in Rust"
cargo build --quiet --manifest-path "$repository/Cargo.toml" --target-dir "$target" --package stratum-example-interop-cpp
"$here/against-each-other.sh" "$build/template-provider" "$target/debug/interop-cpp" "${1:-3}"
