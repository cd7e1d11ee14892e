"""How many independent values an image is worth, and how many images a small error needs.

The H·W positions of an image are not independent: in a map of 56 x 56 they are often worth fewer
than ten. Source: the variance of a cluster sample (Kish 1965, Survey Sampling, ch. 5), with images
as clusters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from normstats.closed_forms import PooledMoments
from normstats.population import Array


def of_mean(channels: PooledMoments) -> Array:
    """σ²/τ²: independent values with the same variance of the mean as one image, ``(..., C)``.

    Args:
        channels: groups of one channel, whose second moment is σ² and whose t is τ².
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(channels.second_moment / channels.t)


def of_variance(channels: PooledMoments) -> Array:
    """2σ⁴/var(q): the same for the variance, ``(..., C)``.

    q = s2 + (m − μ)² is an image's second moment about μ; Var[V] = var(q)/B for large B, and
    2σ⁴/n for n independent values of a normal distribution.

    Args:
        channels: groups of one channel, whose second moment is σ² and whose b is q.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(2 * channels.second_moment**2 / channels.variance_of_b)


def of_layer(by_channel: Array, weights: Array) -> Array:
    """The layer's value: the harmonic mean over its live channels, ``(...,)``.

    Harmonic, so that mean_variance = 1/(B·n) and, for large B, std_variance = 1/(2·B·n) (for
    ε = 0).

    Args:
        by_channel: effective samples per image n, ``(..., C)``.
        weights: of the channels, ``(C,)``.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(1 / (np.where(weights == 0, 0.0, 1 / by_channel) @ weights))


def batch_needed(batches: Sequence[int], curve: Array, error: float) -> float:
    """The batch size at which BatchNorm's error is no more than ``error``.

    Interpolated in log-log between the computed sizes; beyond the largest the error falls as
    1/B, as it does for large B.

    Args:
        batches: ascending.
        curve: BatchNorm's error at each, of σ², ``(S,)``; NaN where it is not defined.
        error: of σ².

    Returns:
        The batch size, not necessarily whole; at least the smallest where the error is defined.
    """
    sizes = np.asarray(batches, dtype=np.float64)[np.isfinite(curve)]
    errors = np.asarray(curve, dtype=np.float64)[np.isfinite(curve)]
    if not sizes.size or errors[-1] <= 0:
        return float(sizes[0]) if sizes.size else np.nan
    if error < errors[-1]:
        return float(sizes[-1] * errors[-1] / error)
    falling = np.minimum.accumulate(errors)
    return float(np.exp(np.interp(-np.log(error), -np.log(falling), np.log(sizes))))
