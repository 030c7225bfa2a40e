#!/usr/bin/env bash
# The same as interop-cpp without cargo: each crate is fetched by name and checksum, and compiled with rustc itself. It
# shows what the build system of a node has to do that wants the template provider's library and has no cargo.
#
#   run.sh [COUNT]       build, and run the template provider in C++ and the client in Rust against each other
#   run.sh --build       build only; prints where the template provider is
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$repository/target}
build=$target/interop-cpp-no-cargo
rm -rf "${build:?}/lib"

# shellcheck source=examples/interop-cpp-no-cargo/rustc-crates.sh
. "$here/rustc-crates.sh"

say() { echo "== $*" >&2; }
