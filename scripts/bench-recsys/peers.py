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


def read(path, columns):
    import csv
    import gzip

    opened = gzip.open(path, "rt") if path.endswith(".gz") else open(path)
    with opened as file:
        rows = csv.DictReader(file)
        return [(row[columns[0]], row[columns[1]]) for row in rows]


def matrix(pairs, users, items):
    rows = np.array([users.setdefault(u, len(users)) for u, _ in pairs])
    columns = np.array([items.setdefault(i, len(items)) for _, i in pairs])
    shape = (len(users), len(items))
    return sp.csr_matrix((np.ones(len(pairs), np.float32), (rows, columns)), shape=shape)


def hit_rate(scores_of, train, test, users, items):
    found = 0
    for user, item in test:
        row, column = users.get(user), items.get(item)
        if row is None or column is None:
            continue
        scores = scores_of(row)
        scores[train.indices[train.indptr[row] : train.indptr[row + 1]]] = -np.inf
        above = (scores > scores[column]).sum()
        found += above < 10
    return found / max(len(test), 1)


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
        scores = np.asarray(train[at : at + 512] @ weights)
        np.argpartition(-scores, 10, axis=1)[:, :10]
    serve = train.shape[0] / (time.process_time() - started)
    return seconds, serve, lambda row: np.asarray(train[row] @ weights).ravel()


def als(train, factors):
    import implicit

    started = time.process_time()
    model = implicit.als.AlternatingLeastSquares(
        factors=factors, regularization=0.01, alpha=5, iterations=12, random_state=0, num_threads=1
    )
    model.fit(train, show_progress=False)
    seconds = time.process_time() - started
    started = time.process_time()
    rows = np.arange(train.shape[0])
    model.recommend(rows, train, N=10, filter_already_liked_items=True)
    serve = train.shape[0] / (time.process_time() - started)
    users, items = model.user_factors, model.item_factors
    return seconds, serve, lambda row: items @ users[row]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("events")
    parser.add_argument("--test")
    parser.add_argument("--columns", default="user,item")
    parser.add_argument("--peer", choices=["ease", "als"], required=True)
    parser.add_argument("--ridge", type=float, default=300)
    parser.add_argument("--factors", type=int, default=64)
    args = parser.parse_args()
    columns = args.columns.split(",")
    users, items = {}, {}
    train = matrix(read(args.events, columns), users, items)
    fit = ease(train, args.ridge) if args.peer == "ease" else als(train, args.factors)
    seconds, serve, scores_of = fit
    answer = {"train_cpu_seconds": seconds, "users_per_cpu_second": serve}
    if args.test:
        answer["hr@10"] = hit_rate(scores_of, train, read(args.test, columns), users, items)
    answer["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
