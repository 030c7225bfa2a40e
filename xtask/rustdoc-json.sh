#!/bin/sh
# The stable rustdoc with its JSON output, which is not stable yet. Only rustdoc is told to allow it: the variable would
# have build scripts choose other code, and everything be built anew.
RUSTC_BOOTSTRAP=1 exec "${REAL_RUSTDOC:-rustdoc}" "$@"
