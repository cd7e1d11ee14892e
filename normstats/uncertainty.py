"""How sure a number is: 95 % confidence intervals over images.

A statistic θ of all images, and θ_k without the images of block k of K (``blocks``), give by the
delete-a-group jackknife (Shao & Tu 1995, The Jackknife and Bootstrap, ch. 2)

    debiased = θ − (K − 1)·(mean(θ_k) − θ)          takes away what is of order 1/N, such as the
                                                    sampling noise that inflates a plug-in bias²
    standard error² = (K − 1)/K · Σ (θ_k − mean(θ_k))²

The interval is debiased ± t·standard error with K − 1 degrees of freedom, on the scale of
logarithms where θ is well above zero, as errors are skewed. The Monte-Carlo error of what was
drawn adds to the standard error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from normstats.crossover import crossover
from normstats.population import Array

LEVEL = 0.95
_FAR = 100.0  # from one, as a logarithm: no end of an interval of B* lies beyond
_WELL_ABOVE_ZERO = 0.5  # the largest relative standard error for which logarithms are taken


@dataclass(frozen=True)
class Interval:
    """A number and its confidence interval over images, all in the number's own unit.

    Attributes:
        debiased: without the bias of order 1/N; not below zero.
        low, high: the ends of the interval.
        standard_error: over images and draws together.
    """

    debiased: float
    low: float
    high: float
    standard_error: float


UNKNOWN = Interval(np.nan, np.nan, np.nan, np.nan)


def interval(value: float, without: Array | None, monte_carlo: Array | None = None) -> Interval:
    """The confidence interval of a number that cannot be negative.

    Args:
        value: θ.
        without: θ_k without each block of images, ``(K,)``; a single value where no image
            changes it; None where that is not known.
        monte_carlo: θ without each block of draws, ``(K',)``; None where nothing was drawn.
    """
    if without is None or not np.isfinite(value) or not np.isfinite(without).all():
        return UNKNOWN  # such as what an image is worth where all but one block are alike
    debiased, error = _jackknife(value, without)
    error = float(np.hypot(error, standard_error(monte_carlo)))
    debiased = max(debiased, 0.0)
    times = _quantile(without)
    if error <= _WELL_ABOVE_ZERO * debiased:
        factor = np.exp(times * error / debiased) if error > 0 else 1.0
        low, high = debiased / factor, debiased * factor
    else:
        low, high = max(debiased - times * error, 0.0), debiased + times * error
    return Interval(debiased, float(low), float(high), error)


def standard_error(without: Array | None) -> float:
    """Of a jackknife's replicates ``(K,)``; zero where there are none."""
    if without is None or without.ndim == 0:
        return 0.0
    with np.errstate(invalid="ignore"):  # infinite replicates have no standard error
        away = without - without.sum() / without.size
        return float(np.sqrt((without.size - 1) / without.size * (away @ away)))


def crossover_interval(
    batches: Sequence[int],
    curve: Array,
    level: float,
    curve_without: Array,
    level_without: Array,
    relative_error: Array,
) -> tuple[float, float]:
    """The confidence interval of B*: where the curve, as low or as high as it may be, meets 1.

    The curve is BatchNorm's value over the other method's, so that what both have in common
    does not count as uncertainty.

    Args:
        batches: ascending.
        curve: BatchNorm's error or residual at each, ``(S,)``.
        level: the other method's.
        curve_without: without each block of images, ``(K, S)``.
        level_without: likewise, ``(K,)`` or a single value.
        relative_error: relative Monte-Carlo standard error of the ratio, ``(S,)``.

    Returns:
        The ends; zero and infinity as in ``Crossover.batch``, NaN where they cannot be told.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(curve / level)
        without = np.log(curve_without / np.reshape(level_without, (-1, 1)))
    unknown = ~np.isfinite(without).all(axis=0) | ~np.isfinite(ratio)
    if unknown.all():
        return np.nan, np.nan
    ratio, without = np.where(unknown, np.nan, ratio), np.where(unknown, np.nan, without)
    count = len(without)
    debiased = count * ratio - (count - 1) * without.mean(axis=0)
    error = np.sqrt((count - 1) * without.var(axis=0) + relative_error**2)
    margin = _quantile(without[:, 0]) * error
    ends = (np.exp(np.clip(debiased + sign * margin, -_FAR, _FAR)) for sign in (-1, 1))
    low, high = (crossover(batches, ratio, 1.0) for ratio in ends)
    return low.batch, high.batch


def _jackknife(value: float, without: Array) -> tuple[float, float]:
    """The debiased value and its standard error."""
    if without.ndim == 0:
        return value, 0.0
    debiased = without.size * value - (without.size - 1) * float(without.mean())
    return debiased, standard_error(without)


def _quantile(without: Array) -> float:
    """How many standard errors the interval reaches to either side: Student's t."""
    degrees = max(np.size(without) - 1, 1)
    return float(stdtrit(degrees, (1 + LEVEL) / 2))
