#!/bin/sh
# A pool, a mining proxy and a miner on this machine, which speak Stratum V2 to each other. README.md says what is seen.
set -eu

# Looks, a tenth of a second apart, before a program counts as not started.
MAX_LOOKS=300

usage() {
    echo 'usage: run.sh [--seconds N]    ends after N seconds, 20 unless given'
}

fail() {
    echo "error: $1" >&2
    exit 1
}

seconds=20
while [ "$#" -gt 0 ]; do
    case $1 in
        --seconds)
            [ "$#" -ge 2 ] || fail '--seconds takes a number'
            seconds=$2
            shift 2
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *)
            usage >&2
            exit 2
            ;;
    esac
done
case $seconds in
    '' | *[!0-9]*) fail "--seconds takes a number, and \`$seconds\` is none" ;;
esac

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cd -- "$root"
cargo build --quiet --bin test-pool --bin mining-proxy --bin mining-device
programs=${CARGO_TARGET_DIR:-$root/target}/debug

folder=$(mktemp -d)
running=''

# Ends all programs, one after the other and the last first, then waits for those who show their lines.
stop() {
    for process in $running; do
        kill "$process" 2>/dev/null || :
        wait "$process" || :
    done
    running=''
    wait
}

clean_up() {
    stop
    rm -rf -- "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Runs a program in the background. Its lines are shown under a name, and kept.
start() {
    name=$1
    shift
    mkfifo "$folder/$name"
    : >"$folder/$name.log"
    while IFS= read -r line; do
        printf '%-5s | %s\n' "$name" "$line"
        printf '%s\n' "$line" >>"$folder/$name.log"
    done <"$folder/$name" &
    "$@" >"$folder/$name" 2>&1 </dev/null &
    running="$! $running"
}

# What a program says behind a pattern, as soon as it says it.
said() {
    looks=0
    until found=$(sed -n "s/$2/\\1/p" "$folder/$1.log" | head -n 1) && [ -n "$found" ]; do
        looks=$((looks + 1))
        [ "$looks" -le "$MAX_LOOKS" ] || fail "$1 does not start; see what it says above"
        sleep 0.1
    done
    printf '%s\n' "$found"
}

# Encrypted, with a key of its own. A share is some 4300 hashes; others find a block now and then.
start pool "$programs/test-pool" --port 0 --difficulty 0.000001 \
    --misbehave 'after 4s new-block' --misbehave 'after 10s new-block'
pool=$(said pool '^test pool: \(.*\)$')

# Transparent: the pool sees a channel for each device, all of them in one group. Devices are on this machine, in the clear.
cat >"$folder/proxy.toml" <<EOF
[[upstreams]]
url = "$pool"
mode = "transparent"
user_identity = "farm"

[listen]
address = "127.0.0.1:0"
encrypted = false
EOF
start proxy env RUST_LOG=info "$programs/mining-proxy" -c "$folder/proxy.toml"
proxy=$(said proxy '^.*mining proxy listens.* url=\([^ ]*\).*$')

# A standard channel, at a hash rate that finds about a share a second.
start miner env RUST_LOG=info "$programs/mining-device" "$proxy" --plain --user rig1 --channel standard \
    --set mining.threads=1 --set mining.hashrate_limit=4300 --set mining.nominal_hashrate=4300 \
    --set program.report_secs=2

sleep "$seconds" &
running="$! $running"
wait "$!"
stop
good=$(grep -c ': good, difficulty' "$folder/pool.log" || :)
echo "the pool has judged $good shares good"
[ "$good" -gt 0 ] || fail 'no share has reached the pool; see above'
