"""The theorems and the properties that the decomposition must have."""

import numpy as np
import pytest
from helpers.enumeration import enumerate_batches, make_pixels, moments_of, sample_of
from hypothesis import given, settings
from hypothesis import strategies as st

from normstats.decomposition import TERMS, Decomposition, decompose
from normstats.methods import Method
from normstats.moments import LayerMoments
from normstats.population import Population, channel_weights
from normstats.resampling import Resamples


def decomposed(layer: LayerMoments, method: str, draws: int = 1024) -> Decomposition:
    population = Population.of(layer)
    resamples = Resamples(layer.images, draws=draws)
    return decompose(population, sample_of(population, method, resamples))


@pytest.mark.parametrize("images", [2, 5, 30])
def test_instance_norm_residual_is_mean_variance_plus_std_variance(images: int) -> None:
    terms = decomposed(moments_of(make_pixels(images), epsilon=0.0), "in")
    np.testing.assert_allclose(
        terms.residual, terms.mean_variance + terms.std_variance, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize(("batch", "images"), [(1, 5), (2, 5), (3, 4), (4, 3)])
def test_theorems_hold_for_every_batch_of_the_enumeration(batch: int, images: int) -> None:
    """With ε = 0: residual = mean_variance + std_variance, output MSE = error."""
    pixels = make_pixels(images)
    population = Population.of(moments_of(pixels, epsilon=0.0))
    truth = enumerate_batches(pixels, batch, groups=6, epsilon=0.0)
    mean_variance = truth.variance_of_mean / population.variance
    std_variance = truth.variance_of_std / population.variance
    std_bias_sq = (truth.expected_std - population.std) ** 2 / population.variance
    np.testing.assert_allclose(truth.residual, mean_variance + std_variance, atol=1e-10)
    np.testing.assert_allclose(
        truth.output_mse, mean_variance + std_bias_sq + std_variance, atol=1e-10
    )
    method = "in" if batch == 1 else f"bn@{batch}"
    terms = decomposed(moments_of(pixels, epsilon=0.0), method, draws=16384)
    tolerance = 1e-10 if batch == 1 else 0.02
    np.testing.assert_allclose(terms.error, truth.output_mse, rtol=tolerance)


@pytest.mark.parametrize("method", ["in", "bn@2", "bn@3", "bn@16"])
def test_the_resampled_residual_obeys_the_theorem_to_rounding(method: str) -> None:
    """Whatever the draws were: for ε = 0 both sides are the same function of them."""
    for seed in range(5):
        terms = decomposed(moments_of(make_pixels(12, seed=seed), epsilon=0.0), method, draws=256)
        np.testing.assert_allclose(
            terms.residual, terms.mean_variance + terms.std_variance, rtol=1e-10, atol=1e-10
        )


@pytest.mark.parametrize("method", ["in", "gn:3", "ln", "bn@2", "bgn@3:2"])
def test_terms_match_the_enumeration(method: str) -> None:
    pixels = make_pixels(images=4)
    layer = moments_of(pixels, epsilon=1e-2)
    parsed = Method.parse(method)
    assert parsed.batch is not None
    truth = enumerate_batches(pixels, parsed.batch, parsed.groups_in(6), 1e-2)
    population = Population.of(layer)
    terms = decomposed(layer, method)
    s_sq = population.variance + 1e-2
    np.testing.assert_allclose(
        terms.mean_bias_sq, (truth.expected_mean - population.mean) ** 2 / s_sq, atol=1e-10
    )
    np.testing.assert_allclose(terms.mean_variance, truth.variance_of_mean / s_sq, atol=1e-10)
    np.testing.assert_allclose(
        terms.var_bias_sq,
        (truth.expected_variance - population.variance) ** 2 / s_sq**2,
        rtol=1e-10,
        atol=1e-10,
    )
    np.testing.assert_allclose(
        terms.var_variance, truth.variance_of_variance / s_sq**2, rtol=1e-10, atol=1e-10
    )


layers = st.integers(0, 10**6).map(lambda seed: make_pixels(images=5, seed=seed))
methods = st.sampled_from(["in", "gn:3", "gn:2", "ln", "bn@2", "bn@4", "bgn@2:2"])
few = settings(max_examples=25, deadline=None)


@few
@given(layers, methods, st.floats(-50, 50), st.floats(0.1, 20))
def test_shift_and_scale_change_nothing(
    pixels: np.ndarray, method: str, shift: float, scale: float
) -> None:
    before = decomposed(moments_of(pixels, epsilon=1e-3), method, draws=64)
    after = decomposed(
        moments_of(pixels * scale + shift, epsilon=1e-3 * scale**2), method, draws=64
    )
    for term in TERMS:
        np.testing.assert_allclose(
            getattr(after, term), getattr(before, term), rtol=1e-5, atol=1e-9
        )


@few
@given(layers, st.sampled_from(["gn:2", "bgn@2:2"]), st.permutations(range(3)))
def test_permuting_channels_within_a_group_permutes_the_terms(
    pixels: np.ndarray, method: str, order: list[int]
) -> None:
    channels = [*order, *(3 + index for index in order)]
    before = decomposed(moments_of(pixels), method, draws=64)
    after = decomposed(moments_of(pixels[:, channels]), method, draws=64)
    for term in TERMS:
        np.testing.assert_allclose(
            getattr(after, term), getattr(before, term)[channels], rtol=1e-6, atol=1e-10
        )


@few
@given(layers, methods)
def test_error_is_the_sum_of_its_parts(pixels: np.ndarray, method: str) -> None:
    terms = decomposed(moments_of(pixels), method, draws=64)
    parts = terms.mean_bias_sq + terms.mean_variance + terms.std_bias_sq + terms.std_variance
    np.testing.assert_array_equal(terms.error, parts)
    for term in TERMS:
        assert (getattr(terms, term) >= 0).all()


@few
@given(layers)
def test_the_same_cell_by_another_name_is_the_same(pixels: np.ndarray) -> None:
    for name, other in (("bn@1", "in"), ("gn:6", "in"), ("gn:1ch", "in"), ("gn:1", "ln")):
        one, two = decomposed(moments_of(pixels), name), decomposed(moments_of(pixels), other)
        for term in TERMS:
            np.testing.assert_array_equal(getattr(one, term), getattr(two, term))
    for name, other in (("bgn@2:6", "bn@2"), ("bgn@1:2", "gn:2")):
        one, two = decomposed(moments_of(pixels), name), decomposed(moments_of(pixels), other)
        np.testing.assert_array_equal(one.error, two.error)


def test_error_matches_the_distance_between_normal_distributions() -> None:
    """E W2² of N(M, V + ε) and N(μ, σ² + ε), simulated from many batches, in units of s²."""
    pixels = make_pixels(images=6)
    layer = moments_of(pixels)
    population = Population.of(layer)
    rng = np.random.default_rng(0)
    batches = pixels[rng.integers(6, size=(40_000, 4))].reshape(40_000, 4, 3, 2, -1)
    mean = np.repeat(batches.mean(axis=(1, 3, 4)), 2, axis=1)
    std = np.sqrt(np.repeat(batches.var(axis=(1, 3, 4)), 2, axis=1) + population.epsilon)
    distance = (mean - population.mean) ** 2 + (std - population.std) ** 2
    np.testing.assert_allclose(
        decomposed(layer, "bgn@4:3").error,
        distance.mean(axis=0) / (population.variance + population.epsilon),
        rtol=0.03,
    )


def test_dead_channels_have_no_weight_but_count_in_their_group() -> None:
    pixels = make_pixels(images=5)
    pixels[:, 0] = 3.0
    layer = moments_of(pixels, gamma=np.ones(6))
    population = Population.of(layer)
    weights = channel_weights(population, layer.gamma, "gamma")
    assert weights[0] == 0
    assert weights.sum() == pytest.approx(1)
    terms = decomposed(layer, "gn:3")
    assert np.isfinite(terms.average("error", weights))
    without = moments_of(np.delete(pixels, 0, axis=1))
    assert not np.isclose(terms.error[1], decomposed(without, "gn:5").error[0])


def test_a_wholly_dead_layer_has_no_value() -> None:
    layer = moments_of(np.full((3, 2, 2, 2), 7.0))
    population = Population.of(layer)
    weights = channel_weights(population, None, "uniform")
    assert np.isnan(decomposed(layer, "ln").average("error", weights))
