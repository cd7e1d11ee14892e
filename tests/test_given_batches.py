from itertools import product

import numpy as np
import pytest
from helpers.enumeration import Array, make_pixels, moments_of

from normstats.closed_forms import Groups
from normstats.composition.given import batches_table, errors_of_batches
from normstats.decomposition import decompose
from normstats.errors import MethodError, SettingError
from normstats.estimators import sample
from normstats.methods import Method
from normstats.moments import LayerMoments, Moments
from normstats.population import Population
from normstats.resampling import Resamples


def every_batch(images: int, batch: int) -> Array:
    return np.array(list(product(range(images), repeat=batch)))


@pytest.mark.parametrize(("method", "batch"), [("bn@3", 3), ("bgn@2:3", 2), ("gn:2", 1), ("ln", 1)])
def test_all_batches_together_are_iid_batches(method: str, batch: int) -> None:
    layer = moments_of(make_pixels(images=5, channels=6), epsilon=1e-3)
    population = Population.of(layer)
    parsed = Method.parse(method)
    found = errors_of_batches(layer, every_batch(5, batch), method, weights="uniform")
    groups = Groups.of(population, parsed.groups_in(6))
    known = decompose(population, sample(groups, batch, Resamples(5, draws=16)))
    uniform = np.full(6, 1 / 6)
    for term in ("mean_bias_sq", "mean_variance"):
        expected = float(known.average(term, uniform))
        assert getattr(found, term) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    if batch == 1:
        for term in ("std_bias_sq", "std_variance", "error", "residual"):
            expected = float(known.average(term, uniform))
            assert getattr(found, term) == pytest.approx(expected, rel=1e-9)


def test_residual_is_what_a_fit_to_the_output_leaves() -> None:
    pixels = make_pixels(images=6, channels=2, size=2)
    batches = np.array([[0, 1, 2], [3, 3, 5]])  # no iid sample, and image 4 is missing
    x = np.array([pixels[batch][:, 1].ravel() for batch in batches])
    output = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    correlation = np.corrcoef(x.ravel(), output.ravel())[0, 1]
    layer = moments_of(pixels[:, 1:])
    assert errors_of_batches(layer, batches).residual == pytest.approx(1 - correlation**2)


def test_error_is_the_mean_squared_distance_of_the_statistics() -> None:
    pixels = make_pixels(images=6, channels=1, size=2)
    batches = np.array([[0, 1], [2, 3], [4, 5]])
    mean, variance = pixels.mean(), pixels.var() + 1e-5
    distances = [
        (pixels[b].mean() - mean) ** 2 + (np.sqrt(pixels[b].var() + 1e-5) - np.sqrt(variance)) ** 2
        for b in batches
    ]
    found = errors_of_batches(moments_of(pixels), batches)
    assert found.error == pytest.approx(np.mean(distances) / variance)
    parts = (found.mean_bias_sq, found.mean_variance, found.std_bias_sq, found.std_variance)
    assert sum(parts) == pytest.approx(found.error)


def test_class_sorted_batches_are_worse_than_shuffled_ones() -> None:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(4), 16))
    mean = labels[:, None] + 0.3 * rng.normal(size=(64, 5))
    moments = Moments({"norm": LayerMoments(mean, rng.gamma(4, 0.1, size=(64, 5)))}, labels=labels)
    by_class = np.argsort(labels, kind="stable").reshape(-1, 8)
    sorted_, shuffled = (
        batches_table(moments, batches)["error"].iloc[0]
        for batches in (by_class, rng.permutation(64).reshape(-1, 8))
    )
    assert sorted_ > 3 * shuffled


def test_stored_statistics_and_functions_of_ones_own() -> None:
    pixels = make_pixels(images=4, channels=3)
    layer = moments_of(
        pixels,
        running_mean=pixels.mean(axis=(0, 2, 3)),
        running_variance=pixels.var(axis=(0, 2, 3), ddof=1),
    )
    batches = np.array([[0, 1], [2, 3]])
    assert errors_of_batches(layer, batches, "running").error == pytest.approx(0, abs=1e-20)
    batch_norm = errors_of_batches(layer, batches)
    own = Method.from_function("own", Method.parse("bn@2").statistics, batch=2)
    assert errors_of_batches(layer, batches, own) == batch_norm


def test_batches_that_are_none() -> None:
    layer = moments_of(make_pixels(images=4, channels=3))
    for batches in ([0, 1], [[0.5, 1]], np.empty((0, 2), dtype=int)):
        with pytest.raises(SettingError, match="rows of image indices"):
            errors_of_batches(layer, batches)
    for batches in ([[0, 4]], [[-1, 0]]):
        with pytest.raises(SettingError, match="there are 4"):
            batches_table(Moments({"norm": layer}), batches)
    with pytest.raises(MethodError, match="batches of 8; these hold 2"):
        errors_of_batches(layer, [[0, 1]], "bn@8")
