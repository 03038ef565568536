#!/usr/bin/env bash
# How far a head for frames carries: a quarter of each label's pictures, chosen by a hash of their names,
# is held out of a training of its own and scored together with everyday photographs, which no head is
# trained on. Prints, for each score, how many of each kind lie above it.
#   scripts/frames-heads.sh SET EVERYDAY HEAD…   (SET/LABEL/* as for `novastream-train frames`)
# BIN: folder of the programs; CACHE: features kept between runs.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
set=$(cd "${1:?SET}" && pwd) everyday=$(cd "${2:?EVERYDAY}" && pwd)
shift 2
bin=${BIN:-$root/target/release}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for label in "$set"/*/; do
    label=$(basename "$label")
    mkdir -p "$work/train/$label" "$work/test/$label"
    for file in "$set/$label"/*; do
        digest=$(basename "$file" | sha256sum)
        part=train
        [[ $digest == [0-3]* ]] && part=test
        ln -s "$(realpath "$file")" "$work/$part/$label/"
    done
done
mkdir "$work/test/everyday"
find "$everyday" -type f | while read -r file; do
    ln -s "$file" "$work/test/everyday/$(basename "$(dirname "$file")")-$(basename "$file")"
done
for head in "$@"; do
    name=${head//_/-}
    model="$work/zoo/frames-$name/0.1.0"
    "$bin/novastream-train" frames --dir "$work/train" --head "$head" --views 2 --name "frames-$name" \
        --model-version 0.1.0 --cache "${CACHE:-$work/cache}" --out "$model" >&2
    "$bin/novastream-eval" frames --dir "$work/test" --model "$model" --scores "$work/$name.jsonl" --json \
        > "$work/$name.json"
    python3 - "$work/$name.jsonl" "$head" "$name" <<'P'
import json, sys
path, label, head = sys.argv[1:]
kinds = {"itself": [], "everyday": [], "other negatives": []}
for line in open(path):
    row = json.loads(line)
    kind = "itself" if row["label"] == label else "everyday" if row["label"] == "everyday" else "other negatives"
    kinds[kind].append(row["scores"][head])
def auc(own, others):
    pairs = sum((a > b) + 0.5 * (a == b) for a in own for b in others)
    return pairs / (len(own) * len(others))
own = kinds["itself"]
for kind in ("everyday", "other negatives"):
    rest = sorted(kinds[kind], reverse=True)
    bar = rest[len(rest) // 100]
    found = sum(score > bar for score in own) / len(own)
    print(f"{head} against {len(rest)} {kind}: AUC {auc(own, rest):.3f}, {found:.2f} of {len(own)} at 1 %, highest {rest[0]:.3f}")
for at in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
    shares = ", ".join(f"{kind} {sum(s >= at for s in rows) / len(rows):.3f}" for kind, rows in kinds.items())
    print(f"  {at}: {shares}")
P
done
