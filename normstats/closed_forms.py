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

from normstats.population import Array, Population


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
            raw: the means of ``_monomials`` over images, ``(8, ..., G)``.
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
        mean = pool(population.mean, size)
        offset = population.mean - spread(mean, size)
        a = pool(population.deviation, size)
        b = pool(second_moment_about(population.deviation, population.second_moment, offset), size)
        centre = b.mean(axis=0)
        b -= centre
        blocks = population.blocks
        if blocks is None:
            raw = np.array([values.mean(axis=0) for values in _monomials(a, b)])
            raw[[0, 4]] = 0.0
            return cls(population, size, PooledMoments.about(mean, centre, raw))
        by_block = np.array([blocks.means(values) for values in _monomials(a, b)])
        raw = blocks.total(by_block)
        raw[[0, 4]] = 0.0  # a and b are centred; their means are rounding
        return cls(
            population=population,
            size=size,
            moments=PooledMoments.about(mean, centre, raw),
            without_one_block=PooledMoments.about(mean, centre, blocks.without_one(by_block)),
        )


def _monomials(a: Array, b: Array) -> Iterator[Array]:
    """a, a², a³, a⁴, b, b², ab and a²b, one at a time; ``(N, G)`` each."""
    a_sq = a * a
    yield a
    yield a_sq
    yield a_sq * a
    yield a_sq * a_sq
    yield b
    yield b * b
    yield a * b
    yield a_sq * b


def pool(values: Array, size: int) -> Array:
    """Mean over the channels of each group: ``(..., C)`` to ``(..., G)``."""
    return np.asarray(values.reshape(*values.shape[:-1], -1, size).mean(axis=-1))


def spread(values: Array, size: int) -> Array:
    """Give each channel its group's value: ``(..., G)`` to ``(..., C)``."""
    return np.repeat(values, size, axis=-1)


def second_moment_about(deviation: Array, second_moment: Array, offset: Array) -> Array:
    """Second moments moved from about μ to about μ − offset: q + 2·d·offset + offset²."""
    if not offset.any():  # groups of one channel
        return second_moment
    return second_moment + (2 * deviation + offset) * offset


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
