"""A random sample of the images, with every class in its share."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from normstats.inputs.images.source import Labels


def sample(count: int, labels: Labels | None, limit: int, seed: int) -> list[int]:
    """The indices of ``limit`` of ``count`` images, sorted; of all, if there are no more.

    Where there are classes, each gives in proportion to its size (largest remainders), and at least
    one image if ``limit`` allows.
    """
    if limit >= count:
        return list(range(count))
    rng = random.Random(seed)
    if labels is None:
        return sorted(rng.sample(range(count), limit))
    members = [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]
    shares = _shares([len(indices) for indices in members], limit, rng)
    chosen = [rng.sample(indices, share) for indices, share in zip(members, shares, strict=True)]
    return sorted(index for indices in chosen for index in indices)


def _shares(sizes: Sequence[int], limit: int, rng: random.Random) -> list[int]:
    total = sum(sizes)
    shares = [limit * size // total for size in sizes]
    remainders = [limit * size % total for size in sizes]
    by_remainder = sorted(
        range(len(sizes)), key=lambda i: (remainders[i], rng.random()), reverse=True
    )
    for i in by_remainder[: limit - sum(shares)]:
        shares[i] += 1
    if limit >= len(sizes):
        for i, share in enumerate(shares):
            if share == 0:
                shares[max(range(len(sizes)), key=shares.__getitem__)] -= 1
                shares[i] = 1
    return shares
