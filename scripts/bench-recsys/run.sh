#!/usr/bin/env bash
# Sets up a virtual environment with the peers once, builds ours, and runs the comparison.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
venv="$root/.novastream/bench-recsys"
if [[ ! -x "$venv/bin/python" ]]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet numpy scipy implicit
fi
target=${CARGO_TARGET_DIR:-$root/target}
cd "$root"
cargo build --release --workspace --bins --example recsys_serve
exec "$venv/bin/python" "$here/bench.py" \
    "$target/release/novastream-train" "$target/release/examples/recsys_serve"
