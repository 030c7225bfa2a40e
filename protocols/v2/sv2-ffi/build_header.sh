#!/usr/bin/env bash
# Writes sv2.h, and the Rust sources that it is made from. Needs cargo and nothing else.
set -euo pipefail
cd "$(dirname "$0")/../../.."
exec cargo run --quiet --package xtask -- header
