"""What has no closed form: the standard deviation S = √(V + ε) and the residual.

Both are expectations of smooth functions of a batch's moments, averaged over batches: all images,
one by one (``single_images``), or drawn batches (``drawn_batches``).

Everything is written as a distance from a batch with the expected statistics, so that small
errors of large batches come out with a small *relative* noise. With S0 = √(E[V] + ε):

    E[S] = S0 − E[(S − S0)²]/(2·S0)        because E[S²] = S0²
    ŷ = (x − E[M])/S0 + e                  e = (x − E[M])·(1/S − 1/S0) − (M − E[M])/S
    residual = (Var[e] − Cov[e, y]²/Var[y]) / Var[ŷ]

The last is 1 − corr(ŷ, y)²: a Gram determinant does not change when a multiple of y is taken
away from ŷ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from normstats import loops
from normstats.population import Array


@dataclass(frozen=True)
class StdAndResidual:
    """E[S] (of σ), Var[S] (of σ²) and the residual: ``(C,)``, or ``(K, C)`` for K replicates."""

    expected_std: Array
    variance_of_std: Array
    residual: Array


@dataclass(frozen=True)
class Estimate:
    """What was computed, and how it changes without a part of what it was computed from.

    Attributes:
        value: ``(C,)``.
        monte_carlo: without a block of the drawn batches in turn, ``(K, C)``; None where nothing
            was drawn.
        images: without a block of the images in turn, ``(K, C)``; None where the population has
            no blocks.
    """

    value: StdAndResidual
    monte_carlo: StdAndResidual | None = None
    images: StdAndResidual | None = None


def reference_std(expected_variance: Array, epsilon: float) -> Array:
    """S0 = √(E[V] + ε)."""
    return np.sqrt(np.maximum(expected_variance, 0.0) + epsilon)


def assemble(
    means: Array,
    *,
    std: Array,
    variance: Array,
    mean_shift: Array | float = 0.0,
    variance_shift: Array | float = 0.0,
) -> StdAndResidual:
    """E[S], Var[S] and the residual from what is averaged over batches.

    Args:
        means: E[(S − S0)²], E[e], E[e²] and E[e·(x − μ)], ``(4, ..., C)``.
        std: S0, ``(C,)``.
        variance: σ², ``(..., C)``.
        mean_shift: how much μ lies above the one in ``means``, ``(..., C)``.
        variance_shift: how much E[V] + ε lies above S0², ``(..., C)``.
    """
    squared_shift, e, e_squared, e_along = means
    with np.errstate(divide="ignore", invalid="ignore"):  # dead channels
        # E[S²] = E[V] + ε gives E[S] − S0.
        shift = (variance_shift - squared_shift) / (2 * std)
        e_along = e_along - e * mean_shift
        variance_of_e = e_squared - e**2
        unexplained = variance_of_e - e_along**2 / variance
        variance_of_output = variance / std**2 + 2 * e_along / std + variance_of_e
        return StdAndResidual(
            expected_std=std + shift,
            variance_of_std=np.maximum(squared_shift - shift**2, 0.0),
            residual=np.maximum(unexplained / variance_of_output, 0.0),
        )


def std_and_residual(
    deviation: Array,
    second_moment: Array,
    mean_shift: Array,
    variance: Array,
    *,
    offset: Array,
    expected_variance: Array,
    ideal_variance: Array,
    epsilon: float,
    weights: Array,
) -> StdAndResidual:
    """E[S] (of σ), Var[S] (of σ²) and the residual, ``(C,)`` each, of batches with weights.

    Args:
        deviation: each batch's mean about the mean μ of all images, ``(C, n)``.
        second_moment: each batch's second moment about μ, ``(C, n)``.
        mean_shift: M − E[M] of the group, ``(G, n)``.
        variance: V of the group, ``(G, n)``.
        offset: μ − E[M], ``(C,)``.
        expected_variance: E[V], ``(G,)``.
        ideal_variance: σ², ``(C,)``.
        epsilon: the layer's ε.
        weights: of the batches, summing to one over them, ``(G, n)`` or anything that
            broadcasts to that.
    """
    (groups, batches), size = variance.shape, len(deviation) // len(variance)
    std = reference_std(expected_variance, epsilon)
    functions = loops.group_functions(mean_shift, variance, std, expected_variance, epsilon)
    functions *= np.broadcast_to(weights, (groups, batches))[:, None] * batches
    ends = np.array([batches])
    means = loops.of_groups(deviation, second_moment, offset, 0, size, functions, ends)[:, 0]
    means[0] = np.maximum(means[0], 0.0)  # weights may be negative
    return assemble(means, std=np.repeat(std, size), variance=ideal_variance)
