"""Standard deviation and residual: exact for single images, resampled within their own error."""

import numpy as np
import pytest
from helpers.enumeration import enumerate_batches, make_pixels, moments_of, sample_of

from normstats.blocks import Blocks
from normstats.closed_forms import Groups
from normstats.control_variates import DRAW_BLOCKS
from normstats.errors import MethodError
from normstats.estimators import constant, sample, samples
from normstats.methods import stored_statistics
from normstats.population import Population
from normstats.resampling import Resamples

EPSILON = 1e-3


@pytest.mark.parametrize(("method", "groups"), [("in", 6), ("gn:3", 3), ("gn:6ch", 1), ("ln", 1)])
def test_single_images_are_exact(method: str, groups: int) -> None:
    pixels = make_pixels(images=7)
    population = Population.of(moments_of(pixels, epsilon=EPSILON))
    found = sample_of(population, method, Resamples(7))
    truth = enumerate_batches(pixels, 1, groups, EPSILON)
    assert found.monte_carlo is None
    for name in ("expected_std", "variance_of_std", "residual"):
        np.testing.assert_allclose(getattr(found.std, name), getattr(truth, name), rtol=1e-10)


@pytest.mark.parametrize(
    ("method", "batch", "groups"),
    [("bn@2", 2, 6), ("bn@3", 3, 6), ("bn@5", 5, 6), ("bgn@2:3", 2, 3), ("bgn@4:1", 4, 1)],
)
def test_batches_agree_with_enumeration_within_their_own_error(
    method: str, batch: int, groups: int
) -> None:
    pixels = make_pixels(images=5, size=2)
    population = Population.of(moments_of(pixels, epsilon=EPSILON))
    truth = enumerate_batches(pixels, batch, groups, EPSILON)
    found = sample_of(population, method, Resamples(5, draws=4096))
    assert found.monte_carlo is not None
    for name in ("expected_std", "variance_of_std", "residual"):
        replicates = getattr(found.monte_carlo.std, name)
        assert replicates.shape == (DRAW_BLOCKS, 6)
        standard_error = np.sqrt((DRAW_BLOCKS - 1) * replicates.var(axis=0))
        distance = np.abs(getattr(found.std, name) - getattr(truth, name))
        # Five standard errors, and the control variates' own fit to a finite number of draws.
        assert (distance <= 5 * standard_error + 0.01 * np.abs(getattr(truth, name))).all()
        assert (standard_error <= 0.05 * np.abs(getattr(truth, name))).all()


def test_the_stated_error_is_the_scatter_over_seeds() -> None:
    pixels = make_pixels(images=12, channels=3)
    population = Population.of(moments_of(pixels, epsilon=EPSILON))
    runs = [sample_of(population, "bn@4", Resamples(12, seed=s)) for s in range(60)]
    scatter = np.std([run.std.residual for run in runs], axis=0, ddof=1)
    stated = np.mean(
        [np.sqrt((DRAW_BLOCKS - 1) * run.monte_carlo.std.residual.var(axis=0)) for run in runs],
        axis=0,
    )
    np.testing.assert_allclose(stated, scatter, rtol=0.35)


def test_control_variates_leave_less_than_half_of_the_noise() -> None:
    pixels = make_pixels(images=40, channels=4, seed=3)
    population = Population.of(moments_of(pixels, epsilon=EPSILON))
    runs = [sample_of(population, "bn@16", Resamples(40, seed=s)) for s in range(20)]
    controlled = np.std([run.std.variance_of_std for run in runs], axis=0)
    plain = []
    for seed in range(20):
        resamples = Resamples(40, seed=seed)
        mean = resamples.averages(population.deviation, 16)
        variance = resamples.averages(population.second_moment, 16) - mean**2
        plain.append(np.sqrt(variance + EPSILON).var(axis=0))
    assert (controlled < np.std(plain, axis=0) / 2).all()


def test_equal_seeds_give_equal_bytes_and_other_seeds_do_not() -> None:
    population = Population.of(moments_of(make_pixels(images=9)))
    first, again, other = (
        sample_of(population, "bn@4", Resamples(9, seed=seed)) for seed in (1, 1, 2)
    )
    assert first.std.residual.tobytes() == again.std.residual.tobytes()
    assert first.std.residual.tobytes() != other.std.residual.tobytes()


def test_two_identical_images_leave_nothing_to_estimate() -> None:
    pixels = np.repeat(make_pixels(images=1), 2, axis=0)
    population = Population.of(moments_of(pixels))
    found = sample_of(population, "bn@4", Resamples(2))
    np.testing.assert_allclose(found.std.variance_of_std, 0, atol=1e-20)
    np.testing.assert_allclose(found.std.residual, 0, atol=1e-12)


def test_stored_statistics_of_exactly_these_images_have_no_error() -> None:
    torch = pytest.importorskip("torch")
    pixels = make_pixels(images=6)
    layer = torch.nn.BatchNorm2d(6, momentum=1.0).double()
    layer(torch.from_numpy(pixels))  # stores the unbiased variance of these images
    moments = moments_of(
        pixels,
        running_mean=layer.running_mean.numpy(),
        running_variance=layer.running_var.numpy(),
    )
    population = Population.of(moments)
    found = constant(*stored_statistics(moments), population.epsilon)
    np.testing.assert_allclose(found.expected_mean, population.mean, rtol=1e-12)
    np.testing.assert_allclose(found.expected_variance, population.variance, rtol=1e-12)
    assert (found.std.residual == 0).all()


def test_a_grouping_the_layer_cannot_have_is_refused() -> None:
    population = Population.of(moments_of(make_pixels()))
    with pytest.raises(MethodError, match="4 groups do not divide"):
        sample_of(population, "gn:4", Resamples(4))


@pytest.mark.parametrize("method", ["in", "gn:3", "ln", "bn@4", "bn@6", "bgn@4:3", "bgn@2:1"])
def test_slabs_of_channels_change_nothing(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """A group may lie in one slab with others, in several, or in one of its own."""
    layer = moments_of(make_pixels(images=23, channels=12, seed=5), epsilon=EPSILON)
    found = []
    for channels in (12, 5, 2, 1):
        monkeypatch.setattr("normstats.population._FEWEST", channels)
        monkeypatch.setattr("normstats.population._VALUES", 1)
        population = Population.of(layer, Blocks.of(23, count=5))
        found.append(sample_of(population, method, Resamples(23, draws=64)))
    for other in found[1:]:
        for one, same in (
            (found[0], other),
            (found[0].images, other.images),
            (found[0].monte_carlo, other.monte_carlo),
        ):
            if one is None:
                continue
            np.testing.assert_allclose(same.variance_of_variance, one.variance_of_variance, 1e-10)
            for name in ("expected_std", "variance_of_std", "residual"):
                np.testing.assert_allclose(
                    getattr(same.std, name), getattr(one.std, name), rtol=1e-9, atol=1e-14
                )


def test_batch_sizes_that_are_asked_for_together_are_what_they_are_alone() -> None:
    population = Population.of(moments_of(make_pixels(images=15)), Blocks.of(15, count=5))
    for groups in (6, 2):
        pooled = Groups.of(population, groups)
        together = samples(pooled, [1, 2, 3, 8], Resamples(15, draws=64))
        for batch, one in together.items():
            alone = sample(pooled, batch, Resamples(15, draws=64))
            assert one.std.residual.tobytes() == alone.std.residual.tobytes()
            assert one.images.std.residual.tobytes() == alone.images.std.residual.tobytes()
