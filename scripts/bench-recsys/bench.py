"""`make bench-recsys`: our training and serving beside numpy's EASE and implicit's ALS, in one run
on one machine with one thread each, and growth curves. Prints a table and one JSON line."""

import json
import os
import resource
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.environ.get("NOVASTREAM_DATA", "")
TRAIN, SERVE = sys.argv[1], sys.argv[2]
ENV = dict(os.environ, RAYON_NUM_THREADS="1", RUST_LOG="error")


def ours(events, options, out, users=5000, length=100):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [TRAIN, "recommender", "--events", events, "--out", out, "--json", "--no-search"]
    report = json.loads(subprocess.check_output(command + options, env=ENV))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    served = json.loads(subprocess.check_output([SERVE, out, str(users), str(length)], env=ENV))
    whole = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "train_cpu_seconds": report["seconds"]["fit"]["cpu"],
        "whole_cpu_seconds": whole,
        **served,
    }


def peer(*args):
    return json.loads(subprocess.check_output([sys.executable, f"{HERE}/peers.py", *args]))


def row(name, ours, theirs, better):
    ratio = theirs / ours if better == "less" else ours / theirs
    print(f"{name:<44} ours {ours:>10.2f}   peer {theirs:>10.2f}   {ratio:>6.2f} x", flush=True)


def main():
    answer = {}
    with tempfile.TemporaryDirectory() as folder:
        events = f"{DATA}/recsys/ml1m_ncf/train.csv.gz"
        length = 165
        if not (DATA and os.path.exists(events)):
            print("no NOVASTREAM_DATA: generated events of the size of ML-1M instead")
            events = generate(folder, 6040, 3700, 165)
        ease = ours(events, ["--dims", "0", "--ease-lambda", "300"], f"{folder}/ease", length=length)
        sparse = ["--all-models", "--dims", "64", "--ease-keep", "128"]
        both = ours(events, sparse, f"{folder}/both", length=length)
        numpy = peer(events, "--peer", "ease")
        implicit = peer(events, "--peer", "als")
        factors = both["train_cpu_seconds"] - ease["train_cpu_seconds"]
        row("EASE, train, CPU s", ease["train_cpu_seconds"], numpy["train_cpu_seconds"], "less")
        row("ALS, train, CPU s", factors, implicit["train_cpu_seconds"], "less")
        sparse = both.get("ease_sparse_users_per_second", 0)
        row("EASE sparse, users/CPU s", sparse, numpy["users_per_cpu_second"], "more")
        lists = both["factors_users_per_second"]
        row("ALS, users/CPU s", lists, implicit["users_per_cpu_second"], "more")
        answer["ml1m"] = {"ease": ease, "both": both, "numpy": numpy, "implicit": implicit}
        answer["growth"] = []
        for users, items in [(10_000, 5_000), (100_000, 20_000), (1_000_000, 100_000)]:
            if users > int(os.environ.get("BENCH_MAX_USERS", "100000")):
                continue
            path = generate(folder, users, items, 40)
            step = ours(path, ["--all-models", "--passes", "5", "--ease-items", "8000"], f"{folder}/g{users}")
            step.update(users=users, items=items)
            print(json.dumps(step), flush=True)
            answer["growth"].append(step)
    print(json.dumps(answer))


def generate(folder, users, items, mean):
    path = f"{folder}/events-{users}.csv"
    command = [sys.executable, f"{HERE}/generate.py", "--users", str(users), "--items", str(items)]
    with open(path, "w") as file:
        subprocess.check_call([*command, "--mean", str(mean)], stdout=file)
    return path


if __name__ == "__main__":
    main()
