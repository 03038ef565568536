#!/usr/bin/env bash
# Sets up a virtual environment with the peers once, builds ours, and runs the comparison.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
venv="$root/.novastream/bench-recsys"
python="$venv/bin/python"
if ! "$python" -c 'import implicit, threadpoolctl' 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet numpy scipy implicit threadpoolctl
fi
target=${CARGO_TARGET_DIR:-$root/target}
cd "$root"
cargo build --locked --release -p novastream-training -p novastream-evals --bins
cargo build --locked --release -p novastream-models --example recsys_serve
exec "$python" "$here/bench.py" "$target/release"
