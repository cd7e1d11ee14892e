"""Replicates without a block of images, against the same images taken away; and intervals."""

import numpy as np
import pytest
from helpers.enumeration import make_pixels, moments_of
from numpy.typing import NDArray
from scipy.stats import bootstrap

from normstats.blocks import Blocks
from normstats.closed_forms import ClosedForms, Groups
from normstats.decomposition import TERMS, decompose
from normstats.estimators import constant, sample
from normstats.methods import Method
from normstats.moments import LayerMoments
from normstats.own_methods import sample_own
from normstats.population import Population
from normstats.resampling import Resamples
from normstats.uncertainty import crossover_interval, interval

IMAGES, COUNT = 23, 5  # blocks of two sizes


@pytest.fixture(scope="module")
def layer() -> LayerMoments:
    return moments_of(make_pixels(IMAGES))


@pytest.fixture(scope="module")
def blocks() -> Blocks:
    return Blocks.of(IMAGES, count=COUNT, seed=1)


def without(layer: LayerMoments, blocks: Blocks, block: int) -> Population:
    """The population of the images of all other blocks."""
    rest = np.setdiff1d(blocks.order, blocks.members(block))
    return Population.of(LayerMoments(layer.mean[rest], layer.variance[rest]))


def test_blocks_share_all_images(blocks: Blocks) -> None:
    members = [blocks.members(block) for block in range(COUNT)]
    assert sorted(len(some) for some in members) == [4, 4, 5, 5, 5]
    np.testing.assert_array_equal(np.sort(np.concatenate(members)), np.arange(IMAGES))
    np.testing.assert_allclose(blocks.share, [len(some) / IMAGES for some in members])
    assert len(Blocks.of(3).share) == 3
    assert Blocks.of(40, seed=2).order.tobytes() == Blocks.of(40, seed=2).order.tobytes()
    assert Blocks.of(40, seed=2).order.tobytes() != Blocks.of(40, seed=3).order.tobytes()


@pytest.mark.parametrize("groups", [6, 3, 1])
def test_closed_forms_without_a_block(layer: LayerMoments, blocks: Blocks, groups: int) -> None:
    population = Population.of(layer, blocks)
    pooled = Groups.of(population, groups).without_one_block
    ideal = population.without_one_block
    assert pooled is not None
    assert ideal is not None
    found = ClosedForms.of(pooled, 3)
    for block in range(COUNT):
        truth = without(layer, blocks, block)
        forms = ClosedForms.of(Groups.of(truth, groups).moments, 3)
        for name in vars(forms):
            expected = getattr(forms, name)
            np.testing.assert_allclose(
                getattr(found, name)[block], expected, rtol=1e-10, atol=1e-12
            )
        for name in ("mean", "variance", "between_variance"):
            np.testing.assert_allclose(
                getattr(ideal, name)[block], getattr(truth, name), rtol=1e-10
            )


@pytest.mark.parametrize("groups", [6, 3, 1])
def test_batches_of_one_without_a_block_are_exact(
    layer: LayerMoments, blocks: Blocks, groups: int
) -> None:
    found = terms_without(layer, blocks, groups, batch=1)
    for block in range(COUNT):
        truth = without(layer, blocks, block)
        expected = decompose(truth, sample(Groups.of(truth, groups), 1, Resamples(truth.images)))
        for term in TERMS:
            np.testing.assert_allclose(
                found[term][block], getattr(expected, term), rtol=1e-9, atol=1e-15
            )


@pytest.mark.parametrize(("groups", "batch"), [(6, 8), (3, 8), (1, 16)])
def test_drawn_batches_without_a_block_are_nearly_right(groups: int, batch: int) -> None:
    layer = moments_of(make_pixels(200))
    blocks = Blocks.of(200, count=COUNT)
    found = terms_without(layer, blocks, groups, batch)
    for block in range(COUNT):
        truth = without(layer, blocks, block)
        resamples = Resamples(truth.images, draws=4096)
        expected = decompose(truth, sample(Groups.of(truth, groups), batch, resamples))
        for term in ("error", "residual", "std_variance"):
            average = getattr(expected, term).mean()  # over channels, as intervals are
            assert found[term][block].mean() == pytest.approx(average, rel=0.05)


def terms_without(
    layer: LayerMoments, blocks: Blocks, groups: int, batch: int
) -> dict[str, NDArray[np.float64]]:
    population = Population.of(layer, blocks)
    resamples = Resamples(population.images, draws=4096)
    images = decompose(population, sample(Groups.of(population, groups), batch, resamples)).images
    assert images is not None
    return {term: getattr(images, term) for term in TERMS}


def test_a_constant_method_without_a_block(layer: LayerMoments, blocks: Blocks) -> None:
    population = Population.of(layer, blocks)
    sampling = constant(np.zeros(6), np.ones(6), population.epsilon)
    images = decompose(population, sampling).images
    assert images is not None
    truth = without(layer, blocks, 2)
    np.testing.assert_allclose(images.error[2], decompose(truth, sampling).error, rtol=1e-10)


@pytest.mark.parametrize("batch", [1, 8])
def test_a_method_of_ones_own_has_the_same_replicates(batch: int) -> None:
    """A BatchNorm of one's own against the built-in one, whose replicates are tested above."""
    layer = moments_of(make_pixels(200))
    built_in = Method.parse(f"bn@{batch}")
    own = Method.from_function("mine", built_in.statistics, batch=batch)
    population = Population.of(layer, Blocks.of(200))
    groups, resamples = Groups.of(population, 6), Resamples(200, draws=2048)
    one = decompose(population, sample(groups, batch, resamples))
    other = decompose(population, sample_own(own, layer, groups, resamples))
    for found, expected in ((other, one), (other.images, one.images)):
        for term in ("mean_variance", "var_variance", "error", "residual"):
            rtol = 1e-9 if batch == 1 else 0.09  # of first order
            np.testing.assert_allclose(getattr(found, term), getattr(expected, term), rtol=rtol)


def test_an_interval_is_what_a_bootstrap_gives() -> None:
    rng = np.random.default_rng(3)
    values = rng.gamma(3.0, size=(400, 1))
    blocks = Blocks.of(400, count=100)
    found = interval(float(values.mean()), blocks.without_one(blocks.means(values))[:, 0])
    truth = bootstrap((values[:, 0],), np.mean, rng=rng).confidence_interval
    assert found.debiased == pytest.approx(values.mean())
    assert found.low == pytest.approx(truth.low, rel=0.02)
    assert found.high == pytest.approx(truth.high, rel=0.02)


def test_the_bias_of_a_square_is_taken_away() -> None:
    """The square of a mean of n values is too large by their variance over n."""
    values = np.random.default_rng(4).normal(0.3, 1.0, size=(20, 1))
    blocks = Blocks.of(20, count=20)
    squares = blocks.without_one(blocks.means(values))[:, 0] ** 2
    found = interval(float(values.mean() ** 2), squares)
    unbiased = values.mean() ** 2 - values.var(ddof=1) / 20
    assert found.debiased == pytest.approx(max(unbiased, 0.0), abs=1e-12)


def test_what_no_image_changes_is_certain() -> None:
    found = interval(0.25, np.array(0.25))
    assert (found.debiased, found.low, found.high) == (0.25, 0.25, 0.25)
    assert np.isnan(interval(0.25, None).low)
    assert np.isnan(interval(0.25, np.array([0.2, np.inf, 0.3])).low)


def test_draws_widen_an_interval() -> None:
    replicates = np.array([0.9, 1.0, 1.1, 1.0])
    alone = interval(1.0, replicates)
    drawn = interval(1.0, replicates, monte_carlo=np.array([0.8, 1.2]))
    assert drawn.low < alone.low
    assert drawn.high > alone.high


def test_a_crossover_where_an_error_vanishes_is_unknown_there() -> None:
    """Zeros among the replicates, as few images give them, are no warning."""
    curve = np.array([0.4, 0.2, 0.0])
    without = np.array([[0.4, 0.2, 0.0], [0.404, 0.202, 0.0], [0.396, 0.198, 0.0]])
    known = crossover_interval([2, 4, 8], curve, 0.3, without, np.array(0.3), np.zeros(3))
    assert 2 < known[0] < 8 / 3 < known[1] < 4
    unknown = crossover_interval([2, 4, 8], curve, 0.0, without, np.array(0.0), np.zeros(3))
    assert np.isnan(unknown).all()
