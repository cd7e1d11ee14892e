"""The sample of --limit: seeded, in order, with every class in its share."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normstats.inputs.images.sampling import sample


def counts(sizes: list[int], limit: int, seed: int = 0) -> list[int]:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    chosen = Counter(labels[sample(len(labels), labels, limit, seed)].tolist())
    return [chosen[label] for label in range(len(sizes))]


@pytest.mark.parametrize(
    ("sizes", "limit", "expected"),
    [
        ([50, 30, 20], 10, [5, 3, 2]),
        ([70, 20, 10], 9, [6, 2, 1]),  # 6.3, 1.8, 0.9
        ([70, 20, 10], 4, [2, 1, 1]),  # 2.8, 0.8, 0.4, but at least one each
        ([1000, 1, 1], 10, [8, 1, 1]),
        ([5, 5], 10, [5, 5]),
        ([1, 2, 3], 6, [1, 2, 3]),
        ([1, 1, 1, 97], 4, [1, 1, 1, 1]),
    ],
)
def test_shares(sizes: list[int], limit: int, expected: list[int]) -> None:
    assert counts(sizes, limit) == expected


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    limit=st.integers(1, 300),
    seed=st.integers(0, 5),
)
def test_any_sample_is_fair(sizes: list[int], limit: int, seed: int) -> None:
    total = sum(sizes)
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    chosen = sample(total, labels, limit, seed)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(limit, total)
    assert chosen == sample(total, labels, limit, seed)
    share = np.bincount(labels[chosen], minlength=len(sizes))
    assert (share <= sizes).all()
    if limit >= len(sizes):
        assert share.min() >= 1
        # Nobody is above the quota by more than the remainder; below only to give others their one.
        assert (share <= np.maximum(1, np.ceil(np.multiply(sizes, limit) / total))).all()
    else:
        assert (np.abs(share - np.multiply(sizes, limit) / total) < 1).all()


def test_equal_remainders_are_drawn() -> None:
    """Ten classes alike, of which five give one image more: not always the first five."""
    extra = [tuple(counts([10] * 10, 15, seed)) for seed in range(30)]
    assert len(set(extra)) > 20
    assert 8 < np.mean([share[0] == 2 for share in extra]) * 30 < 22


def test_without_classes_every_image_is_as_likely() -> None:
    drawn = Counter(index for seed in range(2000) for index in sample(10, None, 3, seed))
    # Binomial with 2000 draws of probability 0.3: five standard deviations are 103.
    assert all(abs(drawn[index] - 600) < 103 for index in range(10))


def test_within_a_class_every_image_is_as_likely() -> None:
    labels = np.array([0, 1] * 5)
    drawn = Counter(index for seed in range(2000) for index in sample(10, labels, 4, seed))
    # Two of five in each class.
    assert all(abs(drawn[index] - 800) < 110 for index in range(10))
