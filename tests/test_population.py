"""Ideal statistics against the pixels they summarize."""

import numpy as np
import pytest
from helpers.enumeration import make_pixels, moments_of

from normstats.population import Population, channel_weights


def test_population_is_the_pooled_one() -> None:
    pixels = make_pixels(images=9)
    population = Population.of(moments_of(pixels))
    np.testing.assert_allclose(population.mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(population.variance, pixels.var(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(population.between_variance, pixels.mean(axis=(2, 3)).var(axis=0))


def test_float32_moments_are_analyzed_in_float64() -> None:
    layer = moments_of(make_pixels().astype(np.float32))
    assert layer.mean.dtype == np.float32
    assert Population.of(layer).second_moment.dtype == np.float64


@pytest.mark.parametrize(
    ("gamma", "weighting", "expected"),
    [
        ([1.0, 2.0, 5.0], "gamma", [0.2, 0.8, 0.0]),
        ([1.0, 2.0, 5.0], "uniform", [0.5, 0.5, 0.0]),
        (None, "gamma", [0.5, 0.5, 0.0]),
        ([0.0, 0.0, 5.0], "gamma", [0.5, 0.5, 0.0]),
    ],
)
def test_weights(gamma: list[float] | None, weighting: str, expected: list[float]) -> None:
    pixels = make_pixels(channels=3)
    pixels[:, 2] = 1.0
    population = Population.of(moments_of(pixels))
    weights = channel_weights(population, None if gamma is None else np.array(gamma), weighting)
    np.testing.assert_allclose(weights, expected)
