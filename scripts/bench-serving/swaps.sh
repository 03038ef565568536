#!/usr/bin/env bash
# A hundred swaps of the chat models under load: a service with two versions of both in a zoo of its own
# (the shipped weights under two names), chat messages in a closed loop, and a promotion of the other pair
# again and again. Prints the load report (failed requests, memory and its slope) and how many swaps were seen.
#   BENCH_BIN      folder of built programs (default: built here, in release)
#   SWAPS          swaps (default 100)
#   BENCH_SECONDS  seconds of load (default 300); the swaps are spread over them
#   CONNECTIONS    connections (default 8)
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
swaps=${SWAPS:-100} seconds=${BENCH_SECONDS:-300} connections=${CONNECTIONS:-8}
bin=${BENCH_BIN:-}
if [[ -z "$bin" ]]; then
    cargo build --release -p novastream-api -p novastream-evals --bins
    bin=${CARGO_TARGET_DIR:-$root/target}/release
fi
work=$(mktemp -d)
server=
stop() {
    if [[ -n "$server" ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap stop EXIT

# Two versions of each model that is the newest of its name.
for name in chat-linear chat-minilm; do
    [[ -d "models/zoo/$name" ]] || continue
    newest=$(ls "models/zoo/$name" | sort -V | tail -1)
    for version in 1.0.0 1.0.1; do
        mkdir -p "$work/zoo/$name"
        cp -r "models/zoo/$name/$newest" "$work/zoo/$name/$version"
        sed -i "s/^version = \"$newest\"/version = \"$version\"/" "$work/zoo/$name/$version/manifest.toml"
    done
done
names=$(ls "$work/zoo")
export NOVASTREAM__DATA_DIR="$work/data" NOVASTREAM__MODELS__ZOO="$work/zoo"
export NOVASTREAM__MODELS__POLL_MS=200 NOVASTREAM__MODELS__PROBATION_S=0
export NOVASTREAM__MODELS__DIR="${NOVASTREAM_MODELS:-$root/.novastream/models}"
promote() { "$bin/novastream" models promote $(for n in $names; do echo "$n@$1"; done) >/dev/null; }
promote 1.0.0
"$bin/novastream" serve --listen 127.0.0.1:0 --ready-file "$work/ready" >/dev/null 2>"$work/log" &
server=$!
for _ in $(seq 300); do
    [[ -s "$work/ready" ]] && break
    kill -0 "$server" || { cat "$work/log" >&2; exit 1; }
    sleep 0.2
done
url=$(cat "$work/ready")
"$bin/novastream-eval" load --target "$url" --path text --connections "$connections" \
    --duration "$seconds" --warmup 30 --pid "$server" --json >"$work/report.json" &
load=$!
# The first swaps take the memory that two versions need at once; they are not measured.
for swap in $(seq 6); do
    promote "1.0.$((swap % 2))"
    sleep 4.5
done
sleep 3
before=$(grep -c ' swapped' "$work/log" || true)
pause=$(python3 -c "print($seconds / ($swaps + 1))")
for swap in $(seq "$swaps"); do
    promote "1.0.$((swap % 2))"
    sleep "$pause"
done
wait "$load"
seen=$(($(grep -c ' swapped' "$work/log" || true) - before))
python3 - "$work/report.json" "$swaps" "$seen" <<'P'
import json, sys
report, asked, seen = json.load(open(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
keys = ("accepted", "rejected", "status", "errors", "throughput_per_s", "latency_ms", "server")
print(json.dumps({"swaps_asked": asked, "swaps_seen": seen, **{k: report[k] for k in keys}}, indent=1))
failed = sum(n for s, n in report["status"].items() if not s.startswith("2")) + sum(report["errors"].values())
sys.exit(1 if failed or seen < asked else 0)
P
