"""The exact moments of a batch's mean M and variance V, for every batch size and grouping.

A batch is B images drawn independently from the population; a method pools them with the
channels of each group. Source of the formulas: with a_n the group's mean in image n about its
mean over all images, and b_n the group's second moment about the same point, M − E[M] = mean(a)
and V = mean(b) − mean(a)² over the batch; the expectations below follow from the independence of
its images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from normstats.population import Array, Population


@dataclass(frozen=True)
class Groups:
    """A layer's channels pooled into G groups of C/G channels, in index order.

    The sums over images are taken once and serve every batch size.

    Attributes:
        population: the layer's ideal statistics.
        size: channels a group, C/G.
        mean: mean of the ideal channel means of each group, ``(G,)``.
        second_moment: mean(b), ``(G,)``.
        t: mean(a²), ``(G,)``.
        kappa: mean(a⁴) − 3t², ``(G,)``.
        third: mean(a³), ``(G,)``.
        variance_of_b: var(b), ``(G,)``.
        cov_a_b: mean(a·b), ``(G,)``.
        cov_a2_b: c = mean(b·a²) − mean(b)·t, ``(G,)``.
    """

    population: Population
    size: int
    mean: Array
    second_moment: Array
    t: Array
    kappa: Array
    third: Array
    variance_of_b: Array
    cov_a_b: Array
    cov_a2_b: Array

    @classmethod
    def of(cls, population: Population, groups: int) -> Groups:
        """Pool the population's channels into ``groups`` groups; the number divides C."""
        size = population.channels // groups
        mean = pool(population.mean, size)
        offset = population.mean - spread(mean, size)
        a = pool(population.deviation, size)
        b = pool(second_moment_about(population.deviation, population.second_moment, offset), size)
        b_mean = b.mean(axis=0)
        b_centred = b - b_mean
        a_sq = a**2
        t = a_sq.mean(axis=0)
        return cls(
            population=population,
            size=size,
            mean=mean,
            second_moment=b_mean,
            t=t,
            kappa=(a_sq**2).mean(axis=0) - 3 * t**2,
            third=(a_sq * a).mean(axis=0),
            variance_of_b=(b_centred**2).mean(axis=0),
            cov_a_b=(a * b_centred).mean(axis=0),
            cov_a2_b=(b_centred * a_sq).mean(axis=0),
        )


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
    """Exact moments of a batch's mean M and variance V, one value a group, ``(G,)``.

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
    def of(cls, groups: Groups, batch: int) -> ClosedForms:
        """The closed forms for batches of ``batch`` images.

        With t = mean(a²), κ = mean(a⁴) − 3t² and c = mean(b·a²) − mean(b)·t over the images:

            E[M] = mean(M_n)              Var[M] = t/B
            E[V] = mean(b) − t/B          Var[V] = var(b)/B − 2c/B² + 2t²/B² + κ/B³
            Cov[M, V] = mean(a·b)/B − mean(a³)/B²
        """
        variance_of_variance = (
            groups.variance_of_b / batch
            + 2 * (groups.t**2 - groups.cov_a2_b) / batch**2
            + groups.kappa / batch**3
        )
        return cls(
            expected_mean=groups.mean,
            variance_of_mean=groups.t / batch,
            expected_variance=groups.second_moment - groups.t / batch,
            # A variance: below zero only by rounding, where it is zero.
            variance_of_variance=np.maximum(variance_of_variance, 0.0),
            covariance=groups.cov_a_b / batch - groups.third / batch**2,
        )
