"""Taking Monte-Carlo noise away with what is known of the drawn batches.

The statistics of a group's batches are drawn together with the functions that are to be averaged,
and their expectations are exact (``closed_forms``). Each function is regressed on them; where
the draws came out high or low in what is known, the function is mended by its slope.

The same can be had as weights of the draws, under which what is known comes out right
(``calibrated``), or block by block of draws, whose scatter says how large the noise still is
(``mended``).
"""

from __future__ import annotations

import numpy as np

from normstats.population import Array

DRAW_BLOCKS = 16  # of batches, for the jackknife of the Monte-Carlo error
_RIDGE = 1e-12  # of the controls' own size; for what is the same in all images


def quadratic(first: Array, second: Array) -> Array:
    """Two statistics with their squares and product, ``(..., n)`` each to ``(..., 5, n)``."""
    controls = np.empty((*first.shape[:-1], 5, first.shape[-1]))
    controls[..., 0, :] = first
    controls[..., 1, :] = second
    controls[..., 2, :] = first**2
    controls[..., 3, :] = first * second
    controls[..., 4, :] = second**2
    return controls


def quadratic_expected(
    var_first: Array,
    covariance: Array,
    var_second: Array,
    first: Array | float = 0.0,
    second: Array | float = 0.0,
) -> Array:
    """The expectations of ``quadratic``: ``(...)`` to ``(..., 5)``.

    Args:
        var_first, covariance, var_second: of the two statistics.
        first, second: their expectations; zero where they are centred.
    """
    return np.stack(
        [
            np.broadcast_to(first, var_first.shape),
            np.broadcast_to(second, var_first.shape),
            var_first + first**2,
            covariance + first * second,
            var_second + second**2,
        ],
        axis=-1,
    )


def calibrated(controls: Array, expected: Array) -> Array:
    """Weights of n draws, ``(..., n)``, under which every control has its known expectation.

        ω_i = 1/n + (E[x] − x̄)ᵀ · Cov(x)⁻¹ · (x_i − x̄) / n

    Σ ω_i·f(i) is then the regression estimator of E[f]: f's part that is linear in the controls
    has no Monte-Carlo noise left. Source: Deville and Särndal (1992), calibration by regression.

    Args:
        controls: x of each draw, ``(..., X, n)``.
        expected: E[x], ``(..., X)``.
    """
    draws = controls.shape[-1]
    scale = np.sqrt((controls**2).mean(axis=-1))
    scale[scale == 0] = 1.0  # where all images are alike
    x = controls / scale[..., None]
    mean = x.mean(axis=-1)
    products = x @ x.swapaxes(-1, -2) / draws
    gap = (expected / scale - mean)[..., None]
    x -= mean[..., None]
    weights = (_solve(products, mean, gap).swapaxes(-1, -2) @ x)[..., 0, :]
    weights += 1.0
    weights /= draws
    return np.asarray(weights)


def mended(
    x_blocks: Array, y_blocks: Array, x_x: Array, x_y: Array, expected: Array
) -> tuple[Array, Array]:
    """Means of functions y of drawn batches, mended by what is known of these batches.

    Args:
        x_blocks: means of the controls over blocks of draws, of size one or so, ``(..., K, X)``.
        y_blocks: of the functions, ``(..., K, F)``.
        x_x: means of the controls' products over all draws, ``(..., X, X)``.
        x_y: of their products with the functions, ``(..., X, F)``.
        expected: expectations of the controls, ``(..., X)``.

    Returns:
        Means over the blocks, ``(..., K, F)``, and the slopes ``(..., X, F)``.
    """
    x_mean, y_mean = x_blocks.mean(axis=-2), y_blocks.mean(axis=-2)
    slope = _solve(x_x, x_mean, x_y - x_mean[..., :, None] * y_mean[..., None, :])
    return y_blocks - (x_blocks - expected[..., None, :]) @ slope, slope


def blocks_of_draws(values: Array) -> Array:
    """Means over ``DRAW_BLOCKS`` blocks: ``(..., F, n)`` to ``(..., K, F)``."""
    blocks = values.reshape(*values.shape[:-1], DRAW_BLOCKS, -1).mean(axis=-1)
    return np.asarray(blocks.swapaxes(-1, -2))


def quadratic_scale(var_first: Array, var_second: Array) -> Array:
    """The sizes of ``quadratic``'s controls, ``(..., 5)``."""
    first, second = np.sqrt(var_first), np.sqrt(var_second)
    return np.stack([first, second, var_first, first * second, var_second], axis=-1)


def without_one_of_draws(blocks: Array) -> Array:
    """Means over all other blocks, for each in turn: ``(..., K, C)`` again."""
    total = blocks.mean(axis=-2, keepdims=True)
    return np.asarray(total + (total - blocks) / (DRAW_BLOCKS - 1))


def inverse(values: Array) -> Array:
    """1/x, and zero where x is."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)


def _solve(products: Array, mean: Array, right: Array) -> Array:
    """Cov(x)⁻¹ · right, from the means of x·xᵀ and x."""
    covariance = products - mean[..., :, None] * mean[..., None, :]
    return np.asarray(np.linalg.solve(covariance + _RIDGE * np.eye(mean.shape[-1]), right))
