"""Events that follow the statistics of the real sets, of any size: items fall off as a power law with
a rounded head, user activity is log-normal, and each user draws most items from three of the taste
groups that items belong to. Writes rows of `user,item`, each pair once; with `--statistics`, says on
stderr how the result compares (ML-1M and twitch105k: the busiest 1 % of the items take .09 and .13 of
the pairs, 10 % .44 and .45, 50 % .92 and .85; ln of a user's items spreads by 1.0 and .64)."""

import argparse
import sys

import numpy as np

USERS_AT_ONCE = 20_000


def digits(numbers, width):
    """Numbers as fixed-width decimal text, one row of bytes each."""
    powers = 10 ** np.arange(width - 1, -1, -1)
    return (numbers[:, None] // powers % 10 + ord("0")).astype(np.uint8)


def draws(rng, args, order, bounds, cdf, users):
    """(user, item) pairs of some users; a pair may come more than once."""
    lengths = rng.lognormal(np.log(args.mean) - args.sigma**2 / 2, args.sigma, size=len(users))
    # A share of what is drawn was drawn before.
    lengths = np.clip(lengths * 1.3, 5, args.items / 4).astype(int)
    owner = np.repeat(np.arange(len(users)), lengths)
    tastes = rng.integers(len(bounds) - 1, size=(len(users), 3))
    taste = tastes[owner, rng.integers(3, size=len(owner))]
    anywhere = rng.random(len(owner)) < args.anywhere
    low = np.where(anywhere, 0.0, cdf[bounds[taste]])
    high = np.where(anywhere, cdf[-1], cdf[bounds[taste + 1]])
    at = np.searchsorted(cdf, low + rng.random(len(owner)) * (high - low), side="right") - 1
    return users[owner], order[np.clip(at, 0, args.items - 1)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--mean", type=float, default=40, help="items per user")
    parser.add_argument("--sigma", type=float, default=1.05, help="spread of ln(items per user)")
    parser.add_argument("--anywhere", type=float, default=0.35, help="share drawn from all items")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--statistics", action="store_true")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    groups = max(8, int(args.items**0.5 / 4))
    popularity = 1.0 / (np.arange(args.items) + 0.05 * args.items) ** 1.6
    group_of = rng.integers(groups, size=args.items)
    order = np.argsort(group_of, kind="stable")
    cdf = np.concatenate([[0.0], np.cumsum(popularity[order])])
    bounds = np.searchsorted(group_of[order], np.arange(groups + 1))
    wide, deep = len(str(args.users - 1)), len(str(args.items - 1))
    counts, sizes = np.zeros(args.items, int), []
    out = sys.stdout.buffer
    out.write(b"user,item\n")
    for first in range(0, args.users, USERS_AT_ONCE):
        users = np.arange(first, min(first + USERS_AT_ONCE, args.users))
        who, what = draws(rng, args, order, bounds, cdf, users)
        keys = np.unique(who * args.items + what)
        who, what = keys // args.items, keys % args.items
        comma = np.full((len(keys), 1), ord(","), np.uint8)
        end = np.full((len(keys), 1), ord("\n"), np.uint8)
        out.write(np.hstack([digits(who, wide), comma, digits(what, deep), end]).tobytes())
        if args.statistics:
            counts += np.bincount(what, minlength=args.items)
            sizes.append(np.bincount(who - first, minlength=len(users)))
    if args.statistics:
        sizes, counts = np.concatenate(sizes), np.sort(counts[counts > 0])[::-1]
        top = [counts[: max(1, int(len(counts) * p))].sum() / counts.sum() for p in (0.01, 0.1, 0.5)]
        spread = np.log(sizes[sizes > 0]).std()
        print(
            f"{sizes.sum()} pairs, {sizes.mean():.0f} a user, ln spreads by {spread:.2f}; top 1 % of "
            f"the items take {top[0]:.2f}, 10 % {top[1]:.2f}, 50 % {top[2]:.2f}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
