#!/usr/bin/env bash
# The reference implementation's programs as peers of ours: installs them under target/sri, which takes a quarter of an
# hour once, and runs all scenarios of tests/programs.rs, or those whose names contain one of the arguments:
#
#     test/interop/sri.sh                 # everything
#     test/interop/sri.sh our_miner       # some of it
#     test/interop/sri.sh --list
#
# What the programs wrote stays in target/sri/logs. CARGO_BUILD_JOBS bounds the processors that building takes.
set -euo pipefail

POOL=pool_sv2@0.7.0
TRANSLATOR=translator_sv2@0.6.0

# pool_sv2 can speak to Bitcoin Core over IPC, whose schemas this compiles.
need_capnp() {
    if command -v capnp >/dev/null && [ -e /usr/include/capnp/c++.capnp ]; then return; fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get -qq update
        apt-get -qq --no-install-recommends -y install capnproto libcapnp-dev
    else
        echo "sri.sh: pool_sv2 needs the Cap'n Proto compiler to build; install capnproto and libcapnp-dev" >&2
        exit 1
    fi
}

# Installs PACKAGE@VERSION unless it is there.
install() {
    if grep -qs "^\"${1/@/ } " target/sri/.crates.toml; then return; fi
    cargo install --locked --root target/sri --target-dir target/sri/build "$1"
}

cd "$(dirname "$0")/../.."
need_capnp
install "$TRANSLATOR"
install "$POOL"
# A process group of its own, so that whatever ends this ends the programs too.
set -m
# Each scenario wants the processors for itself.
cargo xtask interop --test programs -- --test-threads=1 "$@" &
trap 'kill -- "-$!" 2>/dev/null || true' EXIT
wait "$!"
