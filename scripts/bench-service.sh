#!/usr/bin/env bash
# Measures a running service from outside: one 2 s segment of 720p30 at a time, then pictures and
# messages from eight connections. Prints one JSON line each. Run it on an idle machine.
set -euo pipefail

bin=${1:?usage: bench-service.sh FOLDER_OF_BINARIES [SECONDS]}
seconds=${2:-15}
work=$(mktemp -d)
server=
cleanup() {
  [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" 2>/dev/null; } || true
  rm -rf "$work"
}
trap cleanup EXIT

# A moving picture with three lines of text to read, and a tone.
text() { printf "drawtext=text='%s':fontsize=%s:fontcolor=white:box=1:boxcolor=black:x=80:y=%s" "$1" "$2" "$3"; }
ffmpeg -hide_banner -loglevel error -y \
  -f lavfi -i "testsrc2=size=1280x720:rate=30:duration=2" -f lavfi -i "sine=440:duration=2" \
  -vf "$(text 'Welcome back to the stream' 44 120),$(text 'Next match starts at 20 00' 36 320),$(text 'Say hello in chat' 32 560)" \
  -c:v libx264 -preset veryfast -g 60 -pix_fmt yuv420p -c:a aac -shortest "$work/segment.ts"
ffmpeg -hide_banner -loglevel error -y -i "$work/segment.ts" -frames:v 1 "$work/frame.jpg"

port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])')
NOVASTREAM__DATA_DIR="$work/data" "$bin/novastream" serve --listen "127.0.0.1:$port" >"$work/serve.log" 2>&1 &
server=$!
for _ in $(seq 100); do
  python3 -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$port/readyz', timeout=1)" 2>/dev/null && break
  kill -0 "$server" || { cat "$work/serve.log" >&2; exit 1; }
  sleep 0.3
done

load() { "$bin/novastream-eval" load --target "http://127.0.0.1:$port" --duration "$seconds" --json "$@"; }
echo "bench-service: $(nproc) cores, load before: $(cut -d' ' -f1 /proc/loadavg)" >&2
load --path segment --file "$work/segment.ts" --connections 1 --fresh-streams --warmup 3
load --path image --file "$work/frame.jpg" --connections 8
load --path text --connections 8
