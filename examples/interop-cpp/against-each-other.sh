#!/usr/bin/env bash
# Runs a template provider in C++ and a client in Rust against each other: against-each-other.sh PROVIDER CLIENT [COUNT]
# With COUNT, the client is to find so many blocks.
set -euo pipefail

provider=$1
client=$2
count=${3:-}
said=$(mktemp)
# No port is asked for, so the system gives one that is free; the template provider says which.
"$provider" --port 0 --seconds 120 > "$said" &
running=$!
trap 'kill "$running" 2> /dev/null || true; rm -f "$said"' EXIT

address=''
for _ in $(seq 100); do
    address=$(sed -n 's/^listening on //p' "$said")
    [ -z "$address" ] || break
    kill -0 "$running" 2> /dev/null || { echo "error: the template provider has ended" >&2; exit 1; }
    sleep 0.1
done
[ -n "$address" ] || { echo "error: the template provider does not listen" >&2; exit 1; }

if [ -n "$count" ]; then
    "$client" "$address" --count "$count"
else
    "$client" "$address"
fi

echo
echo "The template provider says:"
cut -c 1-160 "$said"
[ "$(grep -c '^block ' "$said")" = "${count:-0}" ] || { echo "error: it has not taken ${count:-0} blocks" >&2; exit 1; }
