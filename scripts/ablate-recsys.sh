#!/usr/bin/env bash
# The ablation table: the ranker is trained again without one group of features at a time, and all
# of them are judged on the same lists, on a window before the one that is reported. Arguments go to
# the trainer, e.g. `--ranker-trees 160`.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
bin=${BIN:-$root/target/release}
data=${NOVASTREAM_DATA:?names the folder of data sets}/recsys/twitch105k
out=${OUT:-$root/out/ablation}
until=${ABLATE_UNTIL:-5397}
to=${ABLATE_TO:-5647}
columns=(--user-col user --item-col streamer --time-col start --group-col community --step-seconds 600)
train() { # NAME OPTIONS…
    local name=$1
    shift
    "$bin/novastream-train" recommender --events "$data/interactions.csv.gz" "${columns[@]}" \
        --until "$until" --name "$name" --out "$out/$name" "$@" >&2
}
train whole "$@"
beside=()
for group in own_ next_ channel_ score_ similar_ group_ user_,list_,hour_; do
    without=()
    for start in ${group//,/ }; do without+=(--ranker-without "$start"); done
    train "without-${group//[,_]/}" --settings "$out/whole" "${without[@]}" "$@"
    beside+=(--beside "$out/without-${group//[,_]/}")
done
"$bin/novastream-eval" recommender --model "$out/whole" --events "$data/interactions.csv.gz" \
    "${columns[@]}" --protocol live --from "$until" --to "$to" "${beside[@]}"
