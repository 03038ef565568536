"""`make bench-recsys`: our training and serving beside numpy's EASE and implicit's ALS, in one run
on one machine with one thread each, and growth curves. Prints tables; the last line is JSON."""

import gzip
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.environ.get("NOVASTREAM_DATA", "")
BIN = sys.argv[1]
OURS = dict(os.environ, RAYON_NUM_THREADS="1", RUST_LOG="error")
# numpy shall take the kernels that its library would choose for this processor.
PEERS = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
LARGEST = int(os.environ.get("BENCH_MAX_USERS", "50000"))
# From a size on, the growth curve alone is measured.
SMALLEST = int(os.environ.get("BENCH_MIN_USERS", "0"))
SIZES = [(10_000, 5_000), (50_000, 15_000), (200_000, 40_000), (1_000_000, 100_000)]
# Both sides' factors: as long, and as many passes as either needs for the same hits.
DIMS, PASSES, PEER_PASSES = "64", os.environ.get("BENCH_PASSES", "6"), "12"
# The pull and the weight of what was not taken that did best on a further split of ML-1M's train.
FACTORS = ["--dims", DIMS, "--passes", PASSES, "--factors-regularisation", ".003", "--factors-unobserved", "1"]


def run(command, env):
    """What a command printed as JSON, its processor seconds and its peak memory in MB."""
    child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
    text = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{command[0]} failed with {child.returncode}")
    return json.loads(text), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def fit(events, out, *options):
    command = [f"{BIN}/novastream-train", "recommender", "--events", events, "--out", out]
    command += ["--goal", "rest", "--no-search", "--all-models", "--json", *options]
    report, whole, peak = run(command, OURS)
    seconds = {name: value["cpu"] for name, value in report["seconds"].items()}
    return {"seconds": seconds, "whole_cpu_seconds": whole, "peak_rss_mb": peak}


def serve(model, histories):
    return run([f"{BIN}/examples/recsys_serve", model, histories], OURS)[0]


def hits(model, events, test):
    command = [f"{BIN}/novastream-eval", "recommender", "--model", model, "--events", events]
    command += ["--protocol", "leave-out", "--test", test, "--json"]
    others = run(command, OURS)[0]["baselines"]
    return {name: figures["hr@10"] for name, figures in others.items()}


def peer(*args):
    return run([sys.executable, f"{HERE}/peers.py", *args], PEERS)[0]


def histories(events, path, most=20_000):
    """Item ids that each user took, one JSON list a line."""
    opened = gzip.open(events, "rt") if events.endswith(".gz") else open(events)
    taken = {}
    with opened as file:
        next(file)
        for line in file:
            user, item = line.rstrip().split(",")[:2]
            if user in taken or len(taken) < most:
                taken.setdefault(user, []).append(item)
    with open(path, "w") as file:
        file.writelines(json.dumps(items) + "\n" for items in taken.values())
    return path


def generate(folder, users, items, mean):
    path = f"{folder}/events-{users}.csv"
    command = [sys.executable, f"{HERE}/generate.py", "--users", str(users), "--items", str(items)]
    with open(path, "w") as file:
        subprocess.check_call([*command, "--mean", str(mean), "--statistics"], stdout=file)
    return path


def row(name, ours, theirs, unit, better):
    ratio = theirs / ours if better == "less" else ours / theirs
    print(f"{name:<42} ours {ours:>10,.2f}   peer {theirs:>10,.2f} {unit:<12} {ratio:>6.2f} x", flush=True)


def side_by_side(folder):
    events, test = (f"{DATA}/recsys/ml1m_ncf/{part}.csv.gz" for part in ("train", "test"))
    if not (DATA and os.path.exists(events)):
        print("no NOVASTREAM_DATA: generated events of the size of ML-1M instead, no hit rates")
        events, test = generate(folder, 6040, 3700, 165), None
    plain = ["--ease-lambda", "300", "--ease-exponent", "0", "--ease-damping", "0"]
    dense = fit(events, f"{folder}/dense", *plain, "--dims", "0")
    both = fit(events, f"{folder}/both", *plain, "--ease-keep", "256", *FACTORS)
    taken = histories(events, f"{folder}/histories")
    lists = {**serve(f"{folder}/dense", taken), **serve(f"{folder}/both", taken)}
    more = ["--test", test] if test else []
    numpy = peer(events, "--peer", "ease", *more)
    implicit = peer(events, "--peer", "als", "--factors", DIMS, "--passes", PEER_PASSES, *more)
    print(f"numpy's kernels: {', '.join(numpy['kernels'])}")
    ease, als = both["seconds"]["fit.ease"], both["seconds"]["fit.factors"]
    row("EASE, train", ease, numpy["train_cpu_seconds"], "CPU s", "less")
    row(f"ALS, train, {PASSES} passes to {PEER_PASSES}", als, implicit["train_cpu_seconds"], "CPU s", "less")
    serving = [
        ("EASE, sparse (256 an item), top 10", "ease_sparse_users_per_second", numpy),
        ("EASE, dense, top 10", "ease_dense_users_per_second", numpy),
        ("ALS, top 10", "factors_users_per_second", implicit),
    ]
    for name, key, theirs in serving:
        row(name, lists[key], theirs["users_per_cpu_second"], "users/CPU s", "more")
    row("EASE, peak memory", dense["peak_rss_mb"], numpy["peak_rss_mb"], "MB", "less")
    row("ALS, peak memory (ours with EASE)", both["peak_rss_mb"], implicit["peak_rss_mb"], "MB", "less")
    found = {}
    if test:
        found = {**hits(f"{folder}/both", events, test)}
        found["EASE, dense"] = hits(f"{folder}/dense", events, test)["EASE alone"]
        print(f"HR@10 over all items: EASE {found['EASE, dense']:.4f} (sparse {found['EASE alone']:.4f}), "
              f"numpy {numpy['hr@10']:.4f}; ALS {found['factors alone']:.4f}, implicit {implicit['hr@10']:.4f}")
    return {"dense": dense, "both": both, "lists": lists, "hr@10": found, "numpy": numpy, "implicit": implicit}


def growth(folder):
    """iALS++ over all items and EASE over the head, at rising sizes."""
    print(f"\n{'users':>9} {'items':>8} {'pairs':>12} {'iALS++':>9} {'EASE head':>10} {'whole':>8} CPU s"
          f" {'peak MB':>9} {'lists/CPU s':>12} {'implicit':>9} CPU s")
    steps = []
    for users, items in [size for size in SIZES if SMALLEST <= size[0] <= LARGEST]:
        events = generate(folder, users, items, 40)
        options = [*FACTORS, "--ease-items", "5000"]
        step = fit(events, f"{folder}/g{users}", *options)
        pairs = sum(1 for _ in open(events)) - 1
        lists = serve(f"{folder}/g{users}", histories(events, f"{folder}/histories", 2_000))
        theirs = None
        if users <= int(os.environ.get("BENCH_MAX_PEER_USERS", "50000")):
            theirs = peer(events, "--peer", "als", "--factors", DIMS, "--passes", PEER_PASSES)
        step.update(users=users, items=items, pairs=pairs, lists=lists, implicit=theirs)
        seconds, rate = step["seconds"], lists["factors_users_per_second"]
        beside = f"{theirs['train_cpu_seconds']:>9.1f}" if theirs else f"{'–':>9}"
        print(f"{users:>9} {items:>8} {pairs:>12} {seconds['fit.factors']:>9.1f} {seconds['fit.ease']:>10.1f} "
              f"{step['whole_cpu_seconds']:>8.1f}       {step['peak_rss_mb']:>9.0f} {rate:>12,.0f} {beside}", flush=True)
        steps.append(step)
        os.remove(events)
    return steps


def main():
    sys.stdout.reconfigure(line_buffering=True)
    with tempfile.TemporaryDirectory() as folder:
        answer = {} if SMALLEST else {"ml1m": side_by_side(folder)}
        answer["growth"] = growth(folder)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
