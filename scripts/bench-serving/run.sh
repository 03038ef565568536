#!/usr/bin/env bash
# Sets up a virtual environment with the peers once, builds ours, exports the graphs that ours serves,
# and runs all services in turn under the same load with the same number of threads and processors.
#   BENCH_BIN      folder of built programs (default: built here, in release)
#   BENCH_SECONDS  seconds of each stretch (default 8)
#   BENCH_ROUNDS   how often the services take turns; the median is told (default 3)
#   BENCH_OVERLOAD_SECONDS  seconds at ten times the rate (default 60)
#   BENCH_MODELS   "text image" (default) or one of them
#   BENCH_THREADS  threads of every service's models (default: half of the processors; clients have the others)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
venv="$root/.novastream/bench-serving"
if [[ ! -f "$venv/installed" ]]; then
    echo "bench-serving: setting up $venv (once)" >&2
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check \
        numpy onnxruntime==1.31.1 fastapi 'uvicorn[standard]' litserve
    touch "$venv/installed"
fi
cd "$root"
bin=${BENCH_BIN:-}
if [[ -z "$bin" ]]; then
    cargo build --release -p novastream-api -p novastream-evals --bins
    bin=${CARGO_TARGET_DIR:-$root/target}/release
fi
exec "$venv/bin/python" "$here/bench.py" "$bin"
