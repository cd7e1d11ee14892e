"""The closed forms against every batch of a small set of images."""

import numpy as np
import pytest
from helpers.enumeration import enumerate_batches, make_pixels, moments_of

from normstats.closed_forms import ClosedForms, Groups, pool, spread
from normstats.population import Population

CELLS = [(1, 6), (1, 1), (1, 3), (2, 6), (3, 6), (4, 6), (2, 1), (3, 2), (4, 3)]


@pytest.mark.parametrize(("batch", "groups"), CELLS)
def test_moments_of_mean_and_variance_match_enumeration(batch: int, groups: int) -> None:
    pixels = make_pixels()
    population = Population.of(moments_of(pixels))
    pooled = Groups.of(population, groups)
    forms = ClosedForms.of(pooled.moments, batch)
    truth = enumerate_batches(pixels, batch, groups, epsilon=1e-5)
    for name in ("expected_mean", "variance_of_mean", "expected_variance", "variance_of_variance"):
        found = spread(getattr(forms, name), pooled.size)
        np.testing.assert_allclose(found, getattr(truth, name), rtol=1e-10, atol=1e-10)


def test_covariance_of_mean_and_variance_matches_enumeration() -> None:
    pixels = make_pixels(images=5, channels=4)
    population = Population.of(moments_of(pixels))
    batches = np.array(np.meshgrid(*[range(5)] * 3)).reshape(3, -1).T
    for groups in (4, 2, 1):
        values = pixels[batches].reshape(len(batches), 3, groups, 4 // groups, -1)
        mean, variance = values.mean(axis=(1, 3, 4)), values.var(axis=(1, 3, 4))
        truth = (mean * variance).mean(axis=0) - mean.mean(axis=0) * variance.mean(axis=0)
        forms = ClosedForms.of(Groups.of(population, groups).moments, 3)
        np.testing.assert_allclose(forms.covariance, truth, rtol=1e-10)


def test_a_large_common_offset_costs_no_digits() -> None:
    pixels = make_pixels()
    near = ClosedForms.of(Groups.of(Population.of(moments_of(pixels)), 3).moments, 4)
    far = ClosedForms.of(Groups.of(Population.of(moments_of(pixels + 2.0**20)), 3).moments, 4)
    # 2^20 leaves 32 of the 52 binary digits of each pixel: 1e-9 or so, and no squares of 2^20.
    np.testing.assert_allclose(far.variance_of_variance, near.variance_of_variance, rtol=1e-7)
    np.testing.assert_allclose(far.expected_variance, near.expected_variance, rtol=1e-8)


def test_pool_and_spread_are_index_groups() -> None:
    values = np.arange(6.0)
    np.testing.assert_array_equal(pool(values, 3), [1.0, 4.0])
    np.testing.assert_array_equal(spread(pool(values, 3), 3), [1, 1, 1, 4, 4, 4])
