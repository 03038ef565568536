"""EASE in numpy and ALS of `implicit` on one events file: seconds of processor time, users per
processor second, peak memory, and the leave-one-out HR@10 over all unseen items."""

import argparse
import json
import os
import resource
import time

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_info


def read(path):
    """Users and items of a file whose first two columns they are."""
    import gzip

    opened = gzip.open(path, "rt") if path.endswith(".gz") else open(path)
    with opened as file:
        pairs = np.loadtxt(file, delimiter=",", skiprows=1, usecols=(0, 1), dtype=np.int64)
    return pairs[:, 0], pairs[:, 1]


def matrix(users, items):
    shape = (users.max() + 1, items.max() + 1)
    train = sp.csr_matrix((np.ones(len(users), np.float32), (users, items)), shape=shape)
    train.data[:] = 1
    return train


def hit_rate(scores_of, train, users, items):
    found = 0
    for user, item in zip(users, items):
        if item >= train.shape[1]:
            continue
        scores = scores_of(user)
        scores[train.indices[train.indptr[user] : train.indptr[user + 1]]] = -np.inf
        found += (scores > scores[item]).sum() < 10
    return found / len(users)


def ease(train, ridge):
    started = time.process_time()
    gram = (train.T @ train).toarray()
    gram[np.diag_indices_from(gram)] += ridge
    inverse = np.linalg.inv(gram)
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    seconds = time.process_time() - started
    started = time.process_time()
    for at in range(0, train.shape[0], 512):
        block = train[at : at + 512]
        scores = np.asarray(block @ weights)
        scores[block.nonzero()] = -np.inf
        np.argpartition(-scores, 10, axis=1)[:, :10]
    serve = train.shape[0] / (time.process_time() - started)
    return seconds, serve, lambda row: np.asarray(train[row] @ weights).ravel()


def als(train, factors, passes):
    import implicit

    started = time.process_time()
    model = implicit.als.AlternatingLeastSquares(
        factors=factors,
        regularization=0.01,
        alpha=5,
        iterations=passes,
        random_state=0,
        num_threads=1,
        use_gpu=False,
    )
    model.fit(train, show_progress=False)
    seconds = time.process_time() - started
    rows = np.arange(min(train.shape[0], 20_000))
    started = time.process_time()
    model.recommend(rows, train[rows], N=10, filter_already_liked_items=True)
    serve = len(rows) / (time.process_time() - started)
    users, items = model.user_factors, model.item_factors
    return seconds, serve, lambda row: items @ users[row]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("events")
    parser.add_argument("--test")
    parser.add_argument("--peer", choices=["ease", "als"], required=True)
    parser.add_argument("--ridge", type=float, default=300)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--passes", type=int, default=12)
    args = parser.parse_args()
    train = matrix(*read(args.events))
    if args.peer == "ease":
        seconds, serve, scores_of = ease(train, args.ridge)
    else:
        seconds, serve, scores_of = als(train, args.factors, args.passes)
    answer = {"train_cpu_seconds": seconds, "users_per_cpu_second": serve}
    answer["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if args.test:
        answer["hr@10"] = hit_rate(scores_of, train, *read(args.test))
    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    answer["kernels"] = sorted({f"{p['internal_api']} {p.get('architecture', '')}" for p in blas})
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
