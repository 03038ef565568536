"""Events that follow the statistics of the real sets, of any size: item counts fall off as a
power law with a rounded head, user activity is log-normal, and each user draws most items from a
few of the taste groups that items belong to. Writes `user,item` lines to stdout."""

import argparse
import sys

import numpy as np


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--mean", type=float, default=40, help="items per user")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    groups = max(8, int(args.items**0.5 / 4))
    popularity = 1.0 / (np.arange(args.items) + 0.02 * args.items) ** 1.1
    group_of = rng.integers(groups, size=args.items)
    members = [np.flatnonzero(group_of == group) for group in range(groups)]
    shares = [np.cumsum(popularity[m]) / popularity[m].sum() if len(m) else None for m in members]
    everything = np.cumsum(popularity) / popularity.sum()
    lengths = rng.lognormal(np.log(args.mean) - 0.5, 1.0, size=args.users)
    lengths = np.clip(lengths, 5, args.items / 4).astype(int)
    out = sys.stdout
    out.write("user,item\n")
    for user in range(args.users):
        tastes = rng.integers(groups, size=3)
        taken = np.searchsorted(everything, rng.random(max(1, lengths[user] // 3)))
        for taste in tastes:
            if shares[taste] is not None:
                drawn = np.searchsorted(shares[taste], rng.random(lengths[user] // 4 + 1))
                taken = np.concatenate([taken, members[taste][drawn]])
        out.write("".join(f"{user},{item}\n" for item in np.unique(taken)))


if __name__ == "__main__":
    main()
