#!/usr/bin/env bash
# The same as interop-cpp without cargo: each crate is fetched by name and checksum, and compiled with rustc itself. It
# shows what the build system of a node has to do that wants the template provider's library and has no cargo.
#
#   run.sh               build, and run the template provider in C++ and a peer in Rust against each other
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

# The macros that the crates are compiled with.
macros() {
    package unicode-ident rlib
    package proc-macro2 rlib --cfg 'feature="proc-macro"' --extern unicode_ident
    package quote rlib --cfg 'feature="proc-macro"' --extern proc_macro2
    local feature features=()
    for feature in clone-impls derive parsing printing proc-macro; do
        features+=(--cfg "feature=\"$feature\"")
    done
    package syn@3 rlib "${features[@]}" --extern proc_macro2 --extern quote --extern unicode_ident
    package thiserror-impl proc-macro --extern proc_macro2 --extern quote --extern syn
    own protocols/v2/binary-sv2/derive binary_sv2_derive proc-macro --extern proc_macro --extern proc_macro2 --extern quote --extern syn
}

# The library for C and C++, and the crates that the peer in Rust uses.
crates() {
    package thiserror rlib --extern thiserror_impl
    own protocols/v2/const-sv2 const_sv2 rlib
    own protocols/v2/binary-sv2 binary_sv2 rlib --extern binary_sv2_derive --extern const_sv2 --extern thiserror
    own utils/buffer buffer_sv2 rlib
    own protocols/v2/framing-sv2 framing_sv2 rlib --extern binary_sv2 --extern const_sv2 --extern thiserror
    own protocols/v2/codec-sv2 codec_sv2 rlib \
        --extern binary_sv2 --extern buffer_sv2 --extern const_sv2 --extern framing_sv2 --extern thiserror
    own protocols/v2/subprotocols/common-messages common_messages_sv2 rlib --extern binary_sv2 --extern const_sv2
    own protocols/v2/subprotocols/template-distribution template_distribution_sv2 rlib --extern binary_sv2 --extern const_sv2
    own protocols/v2/sv2-ffi sv2_ffi staticlib --cfg 'feature="std"' --cfg 'feature="template-provider"' \
        --extern binary_sv2 --extern buffer_sv2 --extern codec_sv2 --extern common_messages_sv2 --extern const_sv2 \
        --extern framing_sv2 --extern template_distribution_sv2
}

say "the library, with rustc"
macros
crates

say "the template provider"
provider=$repository/examples/interop-cpp
"${CXX:-c++}" -std=c++11 -O2 -Wall -Wextra -Wpedantic -Werror -I "$repository/protocols/v2/sv2-ffi" \
    "$provider/template-provider.cpp" "$provider/chain.cpp" "$libraries/libsv2_ffi.a" -lpthread -ldl -lm -o "$build/template-provider.$$"
# Another run may have it open.
mv "$build/template-provider.$$" "$build/template-provider"

if [ "${1:-}" = --build ]; then
    echo "$build/template-provider"
    exit
fi

say "the peer in Rust, with rustc"
"$rustc" --edition 2024 -O -L "$libraries" \
    --extern binary_sv2 --extern codec_sv2 --extern common_messages_sv2 --extern const_sv2 --extern template_distribution_sv2 \
    "$here/peer.rs" -o "$build/peer"
"$provider/against-each-other.sh" "$build/template-provider" "$build/peer"
