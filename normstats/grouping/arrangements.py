"""Arrangements of a layer's channels into groups of equal size, and the bias that each costs.

An *arrangement* is a permutation of the channels, ``(C,)``: group g holds the g-th run of C/G of
them. The order within a group and the order of the groups change nothing, so what is returned is
written in one way: channels ascending within each group, groups by their first channel.

No pass over the images is needed for the bias: E[M] of a group is the mean of its channels' μ,
and E[V] follows from their μ and σ² and from the covariance of the per-image means.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from normstats.population import Array, Population

Members = NDArray[np.int64]  # channels of each group, (..., G, C/G)

_VALUES_AT_ONCE = 1 << 19


@dataclass(frozen=True)
class ChannelBias:
    """The bias of any groups of a layer's channels, for batches of one image.

    With E[M] and E[V] of each channel's group, S0 = √(E[V] + ε), s = √(σ² + ε):

        bias² = Σ w_c · [(E[M] − μ)² + (S0 − s)²]/s²        of σ², over the live channels
        E[M] = mean μ    E[V] = mean σ² + mean (μ − E[M])² − t    t = mean covariance

    means being over the group's channels (t: over its pairs of channels). It is the bias part of
    ``error`` with S0 in place of E[S]: the root of the mean V instead of the mean root, which
    would take a pass over the images. Source: the closed forms of ``closed_forms``, B = 1.

    Attributes:
        mean: μ about the layer's average, ``(C,)``.
        variance: σ², ``(C,)``.
        std: s, ``(C,)``.
        weight: w/s², zero where w is, ``(C,)``.
        covariance: of the channels' image means, ``(C, C)``.
        epsilon: the layer's ε.
    """

    mean: Array
    variance: Array
    std: Array
    weight: Array
    covariance: Array
    epsilon: float

    @classmethod
    def of(cls, population: Population, weights: Array) -> ChannelBias:
        """The bias in this layer, its channels weighted by ``weights (C,)``."""
        std = population.std
        return cls(
            mean=population.mean - population.mean.mean(),
            variance=population.variance,
            std=std,
            weight=np.divide(weights, std**2, out=np.zeros_like(std), where=weights > 0),
            covariance=population.deviation.T @ population.deviation / population.images,
            epsilon=population.epsilon,
        )

    @property
    def channels(self) -> int:
        """The number of channels C."""
        return len(self.mean)

    def of_groups(self, members: Members) -> Array:
        """bias² of each arrangement: ``(..., G, C/G)`` to ``(...)``."""
        mean, std = self.pooled(members)
        by_channel = (mean[..., None] - self.mean[members]) ** 2
        by_channel += (std[..., None] - self.std[members]) ** 2
        return np.asarray((by_channel * self.weight[members]).sum(axis=(-2, -1)))

    def pooled(self, members: Members) -> tuple[Array, Array]:
        """E[M] and S0 of each group: ``(..., G, C/G)`` to two ``(..., G)``."""
        means = self.mean[members]
        mean = means.mean(axis=-1)
        expected = self.variance[members].mean(axis=-1)
        expected += ((means - mean[..., None]) ** 2).mean(axis=-1)
        expected -= block_sums(self.covariance, members) / members.shape[-1] ** 2
        return mean, np.sqrt(np.maximum(expected, 0.0) + self.epsilon)

    def of_random(self, groups: int, permutations: int, seed: int) -> tuple[Array, Members]:
        """bias² of random arrangements, ``(permutations,)``, and the one of median bias."""
        values = np.concatenate(
            [
                self.of_groups(some.reshape(len(some), groups, -1))
                for some in self._random_orders(permutations, seed)
            ]
        )
        median = int(np.argsort(values, kind="stable")[(permutations - 1) // 2])
        # Drawn once more: all of them together would fill the memory.
        every = (order for some in self._random_orders(permutations, seed) for order in some)
        return values, next(islice(every, median, None)).reshape(groups, -1)

    def _random_orders(self, permutations: int, seed: int) -> Iterator[NDArray[np.int64]]:
        """Random permutations of the channels, some at a time, ``(..., C)``."""
        generator = np.random.default_rng(seed)
        index = np.arange(self.channels)
        step = max(1, _VALUES_AT_ONCE // self.channels)
        for start in range(0, permutations, step):
            count = min(step, permutations - start)
            yield generator.permuted(np.tile(index, (count, 1)), axis=1)


def block_sums(covariance: Array, members: Members) -> Array:
    """The sum of each group's block of a symmetric matrix: ``(..., G, C/G)`` to ``(..., G)``."""
    *several, groups, size = members.shape
    channels, count = groups * size, members.size // (groups * size)
    flat = members.reshape(-1, size)
    group_of = np.empty((channels, count), dtype=np.int64)
    numbers = np.arange(count * groups).reshape(count, groups)
    group_of[members.reshape(count, channels), np.arange(count)[:, None]] = numbers.repeat(size, 1)
    # Both give the same; which one is faster follows from their measured times.
    if count * channels * groups < 100_000 + 92 * count * size:
        sums = _by_products(covariance, group_of, len(flat))
    else:
        sums = _by_rows(covariance, group_of, flat)
    return sums.reshape(*several, groups)


def _by_products(covariance: Array, group_of: NDArray[np.int64], groups: int) -> Array:
    """Z'KZ with a one in Z where a channel is in a group; best with few groups."""
    sums = []
    per_arrangement = groups // group_of.shape[1]
    step = max(1, _VALUES_AT_ONCE // (len(covariance) * per_arrangement))
    for start in range(0, group_of.shape[1], step):
        some = group_of[:, start : start + step]
        chosen = np.zeros((len(covariance), some.shape[1] * per_arrangement))
        np.put_along_axis(chosen, some - start * per_arrangement, 1.0, axis=1)
        sums.append((covariance @ chosen * chosen).sum(axis=0))
    return np.concatenate(sums)


def _by_rows(covariance: Array, group_of: NDArray[np.int64], members: Members) -> Array:
    """Row by row, so that what is read at random stays in the processor's cache."""
    sums = np.zeros(len(members))
    fellows = np.empty((group_of.shape[1], members.shape[1]), dtype=np.int64)
    values = np.empty(fellows.shape)
    ones = np.ones(members.shape[1])
    for row, groups_of_row in zip(covariance, group_of, strict=True):
        members.take(groups_of_row, axis=0, out=fellows, mode="clip")
        row.take(fellows, out=values, mode="clip")
        sums[groups_of_row] += values @ ones
    return sums


def as_order(members: Members) -> NDArray[np.int64]:
    """The arrangement ``(C,)`` in its one way of writing."""
    within = np.sort(members, axis=1)
    return np.asarray(within[np.argsort(within[:, 0])].reshape(-1))
