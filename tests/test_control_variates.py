"""Weights of draws, and means over blocks of draws, are the same regression."""

import numpy as np

from normstats.control_variates import (
    DRAW_BLOCKS,
    blocks_of_draws,
    calibrated,
    mended,
    quadratic,
    quadratic_expected,
)

DRAWS = 40 * DRAW_BLOCKS


def test_weights_and_mended_means_agree() -> None:
    rng = np.random.default_rng(0)
    x = quadratic(rng.normal(size=(3, DRAWS)), rng.gamma(2.0, size=(3, DRAWS)) - 2.0)
    y = np.exp(0.3 * x[:, :2]) + 0.1 * rng.normal(size=(3, 2, DRAWS))
    expected = quadratic_expected(np.ones(3), np.zeros(3), np.full(3, 2.0))
    transposed = x.swapaxes(-1, -2)
    blocks, slope = mended(
        blocks_of_draws(x),
        blocks_of_draws(y),
        x @ transposed / DRAWS,
        x @ y.swapaxes(-1, -2) / DRAWS,
        expected,
    )
    assert blocks.shape == (3, DRAW_BLOCKS, 2)
    assert slope.shape == (3, 5, 2)
    weighted = np.einsum("gn,gfn->gf", calibrated(x, expected), y)
    np.testing.assert_allclose(blocks.mean(axis=1), weighted, rtol=1e-9)


def test_what_is_linear_in_the_controls_has_no_noise() -> None:
    rng = np.random.default_rng(1)
    x = quadratic(rng.normal(size=(1, DRAWS)), rng.normal(size=(1, DRAWS)))
    expected = quadratic_expected(np.ones(1), np.zeros(1), np.ones(1), np.full(1, 0.5), 0.0)
    weights = calibrated(x, expected)
    np.testing.assert_allclose((weights[:, None] * x).sum(axis=-1), expected, atol=1e-9)
    np.testing.assert_allclose(expected, [[0.5, 0.0, 1.25, 0.0, 1.0]])
