from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from helpers.enumeration import Array, make_pixels, moments_of
from numpy.random import default_rng

from normstats.errors import MethodError, SettingError
from normstats.methods import Method
from normstats.mixing import best_mix, mixing_table
from normstats.moments import LayerMoments, Moments
from normstats.population import Population

EPSILON = 1e-2


def with_stored(pixels: Array, mean_shift: float = 0.3, scale: float = 1.3) -> LayerMoments:
    """A layer whose stored statistics are biased."""
    values = pixels.shape[0] * pixels.shape[2] * pixels.shape[3]
    return moments_of(
        pixels,
        epsilon=EPSILON,
        running_mean=pixels.mean(axis=(0, 2, 3)) + mean_shift,
        running_variance=pixels.var(axis=(0, 2, 3)) * scale * values / (values - 1),
        gamma=np.linspace(0.5, 2, pixels.shape[1]),
    )


def errors_from_pixels(
    pixels: Array, layer: LayerMoments, other: str, batch: int, shares: Array
) -> tuple[Array, Array]:
    """The layer's error, and its mean's part, at each share; every batch, its first image."""
    images, channels = pixels.shape[:2]
    ideal_mean, ideal_variance = pixels.mean(axis=(0, 2, 3)), pixels.var(axis=(0, 2, 3))
    s_squared = ideal_variance + EPSILON
    assert layer.gamma is not None
    weights = layer.gamma**2 / (layer.gamma**2).sum()
    of_mean, of_std = np.zeros((2, len(shares)))
    for members in product(range(images), repeat=batch):
        values = pixels[list(members)]
        m, v = values.mean(axis=(0, 2, 3)), values.var(axis=(0, 2, 3))
        if other == "running":
            m_other, v_other = ideal_mean + 0.3, ideal_variance * 1.3
        else:
            groups = Method.parse(other).groups_in(channels)
            of_group = values[0].reshape(groups, -1)
            m_other = of_group.mean(axis=1).repeat(channels // groups)
            v_other = of_group.var(axis=1).repeat(channels // groups)
        for i, share in enumerate(shares):
            mixed_m = (1 - share) * m + share * m_other
            mixed_s = np.sqrt((1 - share) * v + share * v_other + EPSILON)
            of_mean[i] += weights @ ((mixed_m - ideal_mean) ** 2 / s_squared)
            of_std[i] += weights @ ((mixed_s - np.sqrt(s_squared)) ** 2 / s_squared)
    return (of_mean + of_std) / images**batch, of_mean / images**batch


@pytest.mark.parametrize("other", ["running", "gn:2", "ln", "in"])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_best_share_is_that_of_a_grid_over_all_batches(other: str, batch: int) -> None:
    pixels = make_pixels(images=4, channels=4, size=2, spread=0.4)
    layer = with_stored(pixels)
    shares = np.linspace(0, 1, 201)
    error, of_mean = errors_from_pixels(pixels, layer, other, batch, shares)
    mix = best_mix(layer, other, batch)
    assert mix.error_of_batch_norm == pytest.approx(error[0], rel=1e-9)
    assert mix.error_of_other == pytest.approx(error[-1], rel=1e-9)
    assert mix.error <= error.min() * (1 + 1e-9)
    assert mix.error == pytest.approx(error.min(), rel=1e-3)
    if not (other == "in" and batch == 1):  # one and the same
        assert mix.share_of_other == pytest.approx(shares[error.argmin()], abs=0.006)
        assert mix.share_for_mean == pytest.approx(shares[of_mean.argmin()], abs=0.003)
    better = min(error[0], error[-1])
    assert mix.saving == pytest.approx(1 - mix.error / better, abs=1e-9)


def test_drawn_batches_agree_with_all_batches() -> None:
    pixels = make_pixels(images=6, channels=4, size=2, spread=0.4)
    layer = with_stored(pixels)
    for other in ("running", "gn:2"):
        drawn = best_mix(layer, other, 4, draws=128)  # 256 of 1,296
        every = best_mix(layer, other, 4, draws=2000)
        assert drawn.error == pytest.approx(every.error, rel=0.03)
        assert drawn.share_of_other == pytest.approx(every.share_of_other, abs=0.01)
        assert drawn.share_closed_form == pytest.approx(every.share_closed_form, abs=1e-12)


def natural(images: int = 400, channels: int = 16) -> LayerMoments:
    rng = default_rng(0)
    mean = rng.normal(size=channels) + 0.3 * rng.normal(size=(images, channels))
    variance = np.exp(0.2 * rng.normal(size=(images, channels)))
    layer = LayerMoments(mean, variance, spatial=(4, 4))
    population = Population.of(layer)
    values = images * 16
    return replace(
        layer,
        running_mean=population.mean,
        running_variance=population.variance * values / (values - 1),
    )


def test_exact_stored_statistics_are_taken_whole() -> None:
    mix = best_mix(natural(), "running", 8)
    assert mix.share_of_other == 1
    assert mix.error == mix.error_of_other == pytest.approx(0, abs=1e-20)
    assert mix.pseudo_samples == np.inf


def test_useless_stored_statistics_are_left_alone() -> None:
    layer = natural()
    assert layer.running_mean is not None
    mix = best_mix(replace(layer, running_mean=layer.running_mean + 100), "running", 8)
    assert mix.share_of_other < 1e-4
    assert mix.saving < 1e-4


def test_what_is_worse_and_wholly_correlated_gets_nothing() -> None:
    """All images alike: BatchNorm's statistics are the image's own, which LayerNorm blurs."""
    one = natural(1)
    layer = replace(
        one, mean=np.repeat(one.mean, 20, axis=0), variance=np.repeat(one.variance, 20, axis=0)
    )
    mix = best_mix(layer, "ln", 4)
    assert mix.share_of_other == 0
    assert mix.error == pytest.approx(0, abs=1e-20)


def test_stored_statistics_are_worth_the_same_number_of_images_at_any_batch() -> None:
    """Noise falls as 1/B: then the best number of pseudo-samples is noise/bias², whatever B."""
    layer = natural()
    assert layer.running_mean is not None
    layer = replace(layer, running_mean=layer.running_mean + 0.1)
    worth = [best_mix(layer, "running", batch, weights="uniform") for batch in (8, 64)]
    assert worth[0].pseudo_samples == pytest.approx(worth[1].pseudo_samples, rel=0.1)
    population = Population.of(layer)
    s_squared = population.variance + layer.epsilon
    noise, bias_sq = (population.between_variance / s_squared).sum(), (0.01 / s_squared).sum()
    by_hand = (noise / 8) / (noise / 8 + bias_sq)
    assert worth[0].share_for_mean == pytest.approx(by_hand, rel=1e-6)
    # Where the variance is nearly exact in both, a parabola says all.
    assert worth[1].share_closed_form == pytest.approx(worth[1].share_of_other, abs=0.02)


def test_table_says_why_a_number_is_missing() -> None:
    layer = natural()
    plain = replace(layer, running_mean=None, running_variance=None)
    dead = replace(layer, mean=layer.mean * 0, variance=layer.variance * 0)
    point = replace(layer, variance=layer.variance * 0, spatial=(1, 1))
    moments = Moments({"norm": layer, "plain": plain, "dead": dead, "point": point})
    table = mixing_table(moments, "running,gn:3,in", [1, 4], draws=32)
    assert len(table) == 4 * 3 * 2
    assert (table["error"].isna() == (table["note"] != "")).all()
    notes = table.set_index(["layer", "other", "batch"])["note"]
    assert notes["norm", "running", 4] == ""
    assert notes["plain", "running", 4] == "no statistics are stored"
    assert notes["norm", "gn:3", 4] == "3 groups do not divide the layer's channels"
    assert notes["dead", "in", 4] == "no channel carries a signal"
    assert notes["point", "running", 1] == notes["point", "in", 4] == "one position has no variance"
    assert notes["point", "running", 4] == ""


def test_equal_seeds_give_equal_numbers() -> None:
    moments = Moments({"norm": natural()})
    first, again, other = (
        mixing_table(moments, "gn:4", [4], draws=32, seed=seed) for seed in (1, 1, 2)
    )
    assert first.equals(again)
    assert not first.equals(other)


@pytest.mark.parametrize(
    "other", ["bn@4", "bgn@2:4", Method.from_function("own", lambda m, v, _: (m, v), batch=1)]
)
def test_what_cannot_be_mixed(other: str | Method) -> None:
    with pytest.raises(MethodError, match="cannot be mixed"):
        best_mix(natural(), other, 4)
    with pytest.raises(MethodError, match="cannot be mixed"):
        mixing_table(Moments({"norm": natural()}), [other])


def test_batch_sizes_that_are_none() -> None:
    with pytest.raises(SettingError, match="at least 1"):
        best_mix(natural(), "running", 0)
    with pytest.raises(MethodError, match="one position"):
        best_mix(replace(natural(), spatial=(1, 1)), "running", 1)
