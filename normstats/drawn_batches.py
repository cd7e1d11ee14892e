"""Expectations over batches that were drawn: their weights, E[S], Var[S] and the residual.

What has closed forms is known without drawing. The draws are given weights under which these
known quantities come out right (control variates), and the same weights serve every function that
is averaged over them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from normstats.errors import SettingError
from normstats.population import Array
from normstats.resampling import StdAndResidual, assemble


def calibrated(controls: Array, expected: Array) -> Array:
    """Weights of n draws, ``(..., n)``, under which every control has its known expectation.

        ω_i = 1/n + (E[x] − x̄)ᵀ · Cov(x)⁻¹ · (x_i − x̄) / n

    Σ ω_i·f(i) is then the regression estimator of E[f]: f's part that is linear in the controls
    has no Monte-Carlo noise left. Source: Deville and Särndal (1992), calibration by regression.

    Args:
        controls: x of each draw, ``(..., K, n)``.
        expected: E[x], ``(..., K)``.
    """
    draws = controls.shape[-1]
    scale = np.sqrt((controls**2).mean(axis=-1))
    scale[scale == 0] = 1.0  # where all images are alike
    x = controls / scale[..., None]
    mean = x.mean(axis=-1)
    gram = x @ x.swapaxes(-1, -2) / draws - mean[..., :, None] * mean[..., None, :]
    gap = (expected / scale - mean)[..., None]
    slope = np.linalg.solve(gram + 1e-9 * np.eye(controls.shape[-2]), gap)
    x -= mean[..., None]
    weights = (slope.swapaxes(-1, -2) @ x)[..., 0, :]
    weights += 1.0
    weights /= draws
    return np.asarray(weights)


def quadratic(first: Array, second: Array) -> Array:
    """Two statistics with their squares and product, ``(..., n)`` each to ``(..., 5, n)``."""
    controls = np.empty((*first.shape[:-1], 5, first.shape[-1]))
    controls[..., 0, :] = first
    controls[..., 1, :] = second
    controls[..., 2, :] = first**2
    controls[..., 3, :] = first * second
    controls[..., 4, :] = second**2
    return controls


def quadratic_expected(var_first: Array, covariance: Array, var_second: Array) -> Array:
    """The expectations of ``quadratic`` where both statistics are centred: ``(...)`` to
    ``(..., 5)``.
    """
    zero = np.zeros_like(var_first)
    return np.stack([zero, zero, var_first, covariance, var_second], axis=-1)


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

    The formulas are those of ``resampling``, with e = ŷ − (x − E[M])/S0 and S0 = √(E[V] + ε).
    All that a channel adds to its group's functions of M and S is its d and q, linearly; so each
    channel costs six products with its group's functions.

    Args:
        deviation: each batch's mean about the mean μ of all images, ``(G, C/G, n)``.
        second_moment: each batch's second moment about μ, ``(G, C/G, n)``.
        mean_shift: M − E[M] of the group, ``(G, n)``.
        variance: V of the group, ``(G, n)``.
        offset: μ − E[M], ``(G, C/G)``.
        expected_variance: E[V], ``(G,)``.
        ideal_variance: σ², ``(C,)``.
        epsilon: the layer's ε.
        weights: of the batches, summing to one over them, ``(G, n)`` or anything that
            broadcasts to that.
    """
    reference = np.sqrt(np.maximum(expected_variance, 0.0) + epsilon)
    std = np.sqrt(np.maximum(variance, 0.0) + epsilon)
    functions = np.empty((len(variance), 4, variance.shape[-1]))
    inverse, squared, crossed, scaled = (functions[:, i] for i in range(4))
    with np.errstate(divide="ignore", invalid="ignore"):  # a constant channel where ε = 0
        shift = (variance - expected_variance[:, None]) / (std + reference[:, None])
        np.divide(-shift, std * reference[:, None], out=inverse)
        np.divide(mean_shift, std, out=scaled)
    np.multiply(inverse, inverse, out=squared)
    np.multiply(inverse, scaled, out=crossed)
    scaled_squared = (weights * scaled**2).sum(axis=-1)
    shift_squared = np.maximum((weights * shift**2).sum(axis=-1), 0.0)
    functions *= np.broadcast_to(weights, variance.shape)[:, None]

    by_group = functions.sum(axis=-1)[:, None]  # (G, 1, 4)
    d = deviation @ functions.swapaxes(1, 2)  # (G, C/G, 4)
    q = second_moment @ functions[:, :2].swapaxes(1, 2)
    about = d + offset[..., None] * by_group
    q += (2 * d[..., :2] + offset[..., None] * by_group[..., :2]) * offset[..., None]
    e = (about[..., 0] - by_group[..., 3]).reshape(-1)
    e_squared = (q[..., 1] - 2 * about[..., 2] + scaled_squared[:, None]).reshape(-1)
    along = (q[..., 0] - about[..., 3]).reshape(-1) - offset.reshape(-1) * e

    size = deviation.shape[1]
    shift_squared, channel_std = np.repeat(shift_squared, size), np.repeat(reference, size)
    means = np.stack([shift_squared, e, e_squared, along])
    return assemble(means, std=channel_std, variance=ideal_variance)


def check_batches(batches: Sequence[int]) -> tuple[int, ...]:
    """The batch sizes, each once, ascending.

    Raises:
        SettingError: there is none, or one is below 1.
    """
    sizes = tuple(sorted(set(batches)))
    if not sizes or sizes[0] < 1:
        raise SettingError(
            f"Batch sizes must be at least 1; they are {', '.join(map(str, batches)) or 'none'}.",
            "Give some, e.g. 2,8,32.",
        )
    return sizes
