#!/usr/bin/env bash
# Fails when protocols/v2/sv2-ffi/sv2.h is not what its Rust sources make, and says what to do.
# As a hook that keeps a stale header from being pushed:
#     ln -s ../../sv2-header-check.sh .git/hooks/pre-push
set -euo pipefail
cd "$(git rev-parse --show-toplevel)"
if ! cargo run --quiet --package xtask -- header --check; then
    echo "sv2.h is stale: run protocols/v2/sv2-ffi/build_header.sh, look at what changed, and commit it." >&2
    exit 1
fi
