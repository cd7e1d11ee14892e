"""The exact moments of a batch's mean M and variance V, for every batch size and grouping.

A batch is B images drawn independently from the population; a method pools them with the
channels of each group. Source of the formulas: with a_n the group's mean in image n about its
mean over all images, and b_n the group's second moment about the same point, M − E[M] = mean(a)
and V = mean(b) − mean(a)² over the batch; the expectations below follow from the independence of
its images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from normstats import loops
from normstats.population import Array, Population, slabs


@dataclass(frozen=True)
class PooledMoments:
    """Sums over images that determine the closed forms: ``(G,)``, or ``(K, G)`` for K replicates.

    Attributes:
        mean: E[M], the mean of each group's ideal channel means.
        second_moment: mean(b).
        t: mean(a²).
        kappa: mean(a⁴) − 3t².
        third: mean(a³).
        variance_of_b: var(b).
        cov_a_b: mean(a·b).
        cov_a2_b: c = mean(b·a²) − mean(b)·t.
    """

    mean: Array
    second_moment: Array
    t: Array
    kappa: Array
    third: Array
    variance_of_b: Array
    cov_a_b: Array
    cov_a2_b: Array

    @classmethod
    def about(cls, mean: Array, second_moment: Array, raw: Array) -> PooledMoments:
        """From raw moments of a and b about fixed points to those about their own means.

        Args:
            mean: the point that a is taken from, ``(G,)``.
            second_moment: the point that b is taken from, ``(G,)``.
            raw: the means of ``loops.monomials`` over images, ``(8, ..., G)``.
        """
        a, a2, a3, a4, b, b2, ab, a2b = raw
        a_sq = a**2
        t = a2 - a_sq
        third = a3 - 3 * a * a2 + 2 * a * a_sq
        cov_a_b = ab - a * b
        cov_a2_b = a2b - 2 * a * ab + a_sq * b - t * b  # with b about the first point still
        return cls(
            mean=mean + a,
            second_moment=second_moment + b - a_sq,
            t=t,
            kappa=a4 - 4 * a * a3 + 6 * a_sq * a2 - 3 * a_sq**2 - 3 * t**2,
            third=third,
            variance_of_b=b2 - b**2 - 4 * a * cov_a_b + 4 * a_sq * t,
            cov_a_b=cov_a_b - 2 * a * t,
            cov_a2_b=cov_a2_b - 2 * a * third,
        )


@dataclass(frozen=True)
class Groups:
    """A layer's channels pooled into G groups of C/G channels, in index order.

    The sums over images are taken once and serve every batch size.

    Attributes:
        population: the layer's ideal statistics.
        size: channels a group, C/G.
        moments: of all images, ``(G,)``.
        without_one_block: without each block of images in turn, ``(K, G)``; None where the
            population has no blocks.
    """

    population: Population
    size: int
    moments: PooledMoments
    without_one_block: PooledMoments | None = None

    @classmethod
    def of(cls, population: Population, groups: int) -> Groups:
        """Pool the population's channels into ``groups`` groups; the number divides C."""
        size = population.channels // groups
        mean, blocks = pool(population.mean, size), population.dealt
        centre, by_block = np.empty(groups), np.empty((8, len(blocks.ends), groups))
        for some in some_groups(groups, size, population.images):
            a, b = pooled_images(population, mean, some, size)
            centre[some] = b.mean(axis=-1)
            by_block[:, :, some] = loops.monomials(a, b, centre[some], blocks.ends)
        return cls.of_sums(population, mean, centre, by_block)

    @classmethod
    def of_sums(cls, population: Population, mean: Array, centre: Array, by_block: Array) -> Groups:
        """From sums over images that were taken before.

        Args:
            population: the layer's ideal statistics.
            mean: E[M], ``(G,)``.
            centre: mean(b), ``(G,)``.
            by_block: ``loops.monomials`` about both, means over each block, ``(8, K, G)``.
        """
        size, blocks = population.channels // len(mean), population.dealt
        raw = blocks.total(by_block)
        raw[[0, 4]] = 0.0  # a and b are centred; their means are rounding
        whole = PooledMoments.about(mean, centre, raw)
        if not population.has_blocks:
            return cls(population, size, whole)
        without = PooledMoments.about(mean, centre, blocks.without_one(by_block))
        return cls(population, size, whole, without)


def some_groups(groups: int, size: int, images: int) -> Iterator[slice]:
    """Some groups at a time, of as many channels as a slab; one, if that has more."""
    step = max(1, next(slabs(groups * size, images)).stop // size)
    for start in range(0, groups, step):
        yield slice(start, min(start + step, groups))


def channels_of(groups: slice, size: int, images: int) -> Iterator[slice]:
    """The channels of some groups, a slab at a time."""
    first, count = groups.start * size, (groups.stop - groups.start) * size
    for some in slabs(count, images):
        yield slice(first + some.start, first + some.stop)


def pooled_images(
    population: Population, mean: Array, groups: slice, size: int
) -> tuple[Array, Array]:
    """a and b of each image in some groups, in the order of the blocks: ``(g, N)`` each.

    Args:
        population: the layer's.
        mean: E[M] of every group, ``(G,)``.
        groups: some of them.
        size: channels a group.
    """
    if size == 1:
        return population.slab(groups)
    out = np.zeros((2, groups.stop - groups.start, population.images))
    offset = population.mean - spread(mean, size)
    for channels in channels_of(groups, size, population.images):
        d, q = population.slab(channels)
        loops.add_to_groups(d, q, offset[channels], channels.start - groups.start * size, size, out)
    return out[0], out[1]


def pool(values: Array, size: int) -> Array:
    """Mean over the channels of each group: ``(..., C)`` to ``(..., G)``."""
    return np.asarray(values.reshape(*values.shape[:-1], -1, size).mean(axis=-1))


def spread(values: Array, size: int) -> Array:
    """Give each channel its group's value: ``(..., G)`` to ``(..., C)``."""
    return np.repeat(values, size, axis=-1)


@dataclass(frozen=True)
class ClosedForms:
    """Exact moments of a batch's mean M and variance V, one value a group: ``(G,)`` or
    ``(K, G)``.

    Attributes:
        expected_mean: E[M].
        variance_of_mean: Var[M], of σ².
        expected_variance: E[V].
        variance_of_variance: Var[V], of σ⁴.
        covariance: Cov[M, V], of σ³.
    """

    expected_mean: Array
    variance_of_mean: Array
    expected_variance: Array
    variance_of_variance: Array
    covariance: Array

    @classmethod
    def of(cls, moments: PooledMoments, batch: float) -> ClosedForms:
        """The closed forms for batches of ``batch`` images.

        With t = mean(a²), κ = mean(a⁴) − 3t² and c = mean(b·a²) − mean(b)·t over the images:

            E[M] = mean(M_n)              Var[M] = t/B
            E[V] = mean(b) − t/B          Var[V] = var(b)/B − 2c/B² + 2t²/B² + κ/B³
            Cov[M, V] = mean(a·b)/B − mean(a³)/B²
        """
        variance_of_variance = (
            moments.variance_of_b / batch
            + 2 * (moments.t**2 - moments.cov_a2_b) / batch**2
            + moments.kappa / batch**3
        )
        return cls(
            expected_mean=moments.mean,
            variance_of_mean=moments.t / batch,
            expected_variance=moments.second_moment - moments.t / batch,
            # A variance: below zero only by rounding, where it is zero.
            variance_of_variance=np.maximum(variance_of_variance, 0.0),
            covariance=moments.cov_a_b / batch - moments.third / batch**2,
        )
