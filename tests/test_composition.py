from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from helpers.enumeration import Array, make_pixels, moments_of

from normstats.composition.classes import COMPOSITIONS, Classes, Composition
from normstats.composition.composed import (
    ClassShare,
    ComposedBatches,
    class_share,
    class_table,
    composition_table,
)
from normstats.composition.given import BatchErrors, errors_of_batches
from normstats.errors import ImagesError, SettingError
from normstats.moments import LayerMoments, Moments
from normstats.population import Population

LABELS = np.array([7, 2, 2, 7, 7, 7])  # not 0, 1, ..., not sorted, classes of two sizes


def all_batches(composition: Composition, labels: Array, batch: int) -> tuple[Array, Array]:
    """Every batch that the composition can give, and how likely it is."""
    images = range(len(labels))
    number = len(set(labels))
    counts = {label: int((labels == label).sum()) for label in labels}
    batches, chances = [], []
    for members in product(images, repeat=batch):
        of_class = [labels[i] for i in members]
        if composition == "iid":
            chance = len(labels) ** -batch
        elif composition == "single-class":
            label = of_class[0]
            alone = len(set(of_class)) == 1
            chance = alone * counts[label] / len(labels) * counts[label] ** -batch
        else:  # any order of the classes in the batch is as good as any other
            whole = batch // number
            often = [of_class.count(label) for label in counts]
            balanced = all(n in (whole, whole + 1) for n in often)
            chance = balanced * float(np.prod([1.0 / counts[label] for label in of_class]))
        batches.append(members)
        chances.append(float(chance))
    weights = np.array(chances)
    return np.array(batches), weights / weights.sum()


def from_pixels(pixels: Array, batches: Array, chances: Array, epsilon: float) -> BatchErrors:
    """Normalize every batch with its own statistics; unweighted mean over channels."""
    mean, variance = pixels.mean(axis=(0, 2, 3)), pixels.var(axis=(0, 2, 3))
    s_squared = variance + epsilon
    s = np.sqrt(s_squared)
    m = np.array([pixels[b].mean(axis=(0, 2, 3)) for b in batches])
    std = np.sqrt(np.array([pixels[b].var(axis=(0, 2, 3)) for b in batches]) + epsilon)

    def split(values: Array, ideal: Array) -> tuple[float, float]:
        expected = chances @ values
        bias_sq = (expected - ideal) ** 2 / s_squared
        return float(bias_sq.mean()), float((chances @ (values - expected) ** 2 / s_squared).mean())

    residuals = []
    for c in range(pixels.shape[1]):
        x = np.array([pixels[b][:, c].ravel() for b in batches])
        y = (x - m[:, c, None]) / std[:, c, None]
        weights = np.repeat(chances, x.shape[1])
        covariance = np.cov(x.ravel(), y.ravel(), aweights=weights, ddof=0)
        residuals.append(1 - covariance[0, 1] ** 2 / covariance[0, 0] / covariance[1, 1])
    parts = (*split(m, mean), *split(std, s))
    return BatchErrors(*parts, error=sum(parts), residual=float(np.mean(residuals)))


def as_array(errors: BatchErrors | ClassShare) -> Array:
    return np.array(list(vars(errors).values()))


@pytest.mark.parametrize("composition", COMPOSITIONS)
@pytest.mark.parametrize("batch", [2, 3, 4])
def test_composition_matches_the_enumeration_of_its_batches(
    composition: Composition, batch: int
) -> None:
    pixels = make_pixels(images=6, channels=3, size=2)
    truth = from_pixels(pixels, *all_batches(composition, LABELS, batch), 1e-3)
    population = Population.of(moments_of(pixels, epsilon=1e-3))
    composed = ComposedBatches.of(population, Classes(LABELS), composition)
    found = composed.errors(batch, np.full(3, 1 / 3), draws=20_000)
    np.testing.assert_allclose(found.mean_bias_sq, truth.mean_bias_sq, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.mean_variance, truth.mean_variance, rtol=1e-10)
    np.testing.assert_allclose(as_array(found), as_array(truth), rtol=0.02, atol=1e-4)


def test_balanced_batches_of_unequal_classes_are_biased() -> None:
    layer = moments_of(make_pixels(images=6, channels=3))
    labels = np.array([0, 0, 0, 0, 0, 1])
    composed = ComposedBatches.of(Population.of(layer), Classes(labels), "class-balanced")
    weights = np.full(3, 1 / 3)
    # The mean of the classes' means, whatever their sizes.
    centre = (layer.mean[:5].mean(axis=0) + layer.mean[5]) / 2 - layer.mean.mean(axis=0)
    s_squared = Population.of(layer).variance + layer.epsilon
    found = composed.errors(2, weights)
    assert found.mean_bias_sq == pytest.approx(float((centre**2 / s_squared).mean()), rel=1e-10)


def test_single_class_batches_fall_to_the_floor_and_no_further() -> None:
    layer = moments_of(make_pixels(images=12, channels=4))
    labels = np.repeat([0, 1, 2], 4)
    population, classes, weights = Population.of(layer), Classes(labels), np.full(4, 0.25)
    floor = class_share(population, classes, weights).floor
    single = ComposedBatches.of(population, classes, "single-class")
    errors = [single.errors(batch, weights).error for batch in (4, 16, 4096)]
    assert errors[0] > errors[1] > errors[2] > 0.999 * floor
    assert errors[2] == pytest.approx(floor, rel=0.01)
    iid = ComposedBatches.of(population, classes, "iid").errors(4096, weights).error
    assert iid < 0.01 * floor


def test_images_that_are_alike_within_their_class_leave_nothing_within() -> None:
    one = make_pixels(images=3, channels=4)
    layer = moments_of(np.repeat(one, 5, axis=0))
    share = class_share(Population.of(layer), Classes(np.repeat([0, 1, 2], 5)), np.full(4, 0.25))
    assert share.between_class_share == pytest.approx(1, abs=1e-12)
    assert share.corrected_share == pytest.approx(1, abs=1e-12)


def test_random_labels_explain_what_chance_gives() -> None:
    rng = np.random.default_rng(0)
    layer = LayerMoments(mean=rng.normal(size=(60, 8)), variance=rng.gamma(3, size=(60, 8)))
    population, weights = Population.of(layer), np.full(8, 1 / 8)
    labels = np.repeat(np.arange(10), 6)
    shares = [
        class_share(population, Classes(rng.permutation(labels)), weights) for _ in range(200)
    ]
    plug_in = np.mean([share.between_class_share for share in shares])
    assert plug_in == pytest.approx(9 / 59, rel=0.03)
    # Clipped at zero, so somewhat above it on average; without the correction it were 0.15.
    assert np.mean([share.corrected_share for share in shares]) < 0.03
    floors = np.mean([share.floor for share in shares])
    assert floors == pytest.approx(np.mean([share.floor_by_chance for share in shares]), rel=0.1)


def test_the_correction_is_that_of_the_analysis_of_variance() -> None:
    from scipy.stats import f_oneway

    layer = moments_of(make_pixels(images=12, channels=1))
    labels = np.repeat([0, 1, 2], 4)
    share = class_share(Population.of(layer), Classes(labels), np.ones(1))
    f = f_oneway(*(layer.mean[labels == k, 0] for k in range(3))).statistic
    # SSB/SSW = F·(K − 1)/(N − K); ε² = (SSB − (K − 1)·MSW)/SST.
    assert share.between_class_share == pytest.approx(2 * f / (2 * f + 9), rel=1e-10)
    assert share.corrected_share == pytest.approx(max(0, 2 * (f - 1) / (2 * f + 9)), abs=1e-10)


def test_a_class_of_its_own_for_every_image() -> None:
    layer = moments_of(make_pixels(images=4, channels=2))
    classes, weights = Classes(np.arange(4)), np.full(2, 0.5)
    share = class_share(Population.of(layer), classes, weights)
    assert share.between_class_share == pytest.approx(1)
    assert np.isnan(share.corrected_share)
    # A batch of one image over and over: the single-class batch is InstanceNorm's.
    found = ComposedBatches.of(Population.of(layer), classes, "single-class").errors(3, weights)
    alone = errors_of_batches(layer, np.arange(4)[:, None], "in", weights="uniform")
    assert found.error == pytest.approx(alone.error, rel=0.05)


def labelled(layer: LayerMoments, labels: Array | None) -> Moments:
    dead = replace(layer, mean=layer.mean * 0, variance=layer.variance * 0)
    return Moments({"norm": layer, "dead": dead}, labels=labels)


def test_tables_have_a_row_per_layer_batch_and_composition() -> None:
    layer = moments_of(make_pixels(images=6, channels=3))
    moments = labelled(layer, LABELS)
    table = composition_table(moments, [4, 1], draws=64)
    assert list(table["layer"].unique()) == ["norm", "dead"]
    assert list(table["composition"].unique()) == list(COMPOSITIONS)
    assert len(table) == 12
    norm = table[table["layer"] == "norm"].set_index(["composition", "batch"])
    assert (norm.loc["iid", "error_relative_to_iid"] == 1).all()
    parts = norm[["mean_bias_sq", "mean_variance", "std_bias_sq", "std_variance"]].sum(axis=1)
    np.testing.assert_allclose(parts, norm["error"], rtol=1e-12)
    # A single image has no composition.
    alone = norm.xs(1, level="batch")["mean_variance"]
    assert alone["single-class"] == pytest.approx(alone["iid"])
    assert table[table["layer"] == "dead"]["error"].isna().all()
    shares = class_table(moments).set_index("layer")
    assert shares.loc["norm", "classes"] == 2
    assert np.isnan(shares.loc["dead", "corrected_share"])


def test_equal_seeds_give_equal_numbers() -> None:
    moments = labelled(moments_of(make_pixels(images=6, channels=3)), LABELS)
    first, again, other = (composition_table(moments, [4], draws=64, seed=s) for s in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_one_position_of_one_image_has_no_variance() -> None:
    layer = moments_of(make_pixels(images=6, channels=3, size=1))
    table = composition_table(Moments({"norm": layer}, labels=LABELS), [1, 2], draws=64)
    assert table[table["batch"] == 1]["error"].isna().all()
    assert table[table["batch"] == 2]["error"].notna().all()


def test_what_cannot_be_asked() -> None:
    layer = moments_of(make_pixels(images=6, channels=3))
    with pytest.raises(ImagesError, match="class of each image"):
        composition_table(Moments({"norm": layer}))
    with pytest.raises(ImagesError, match="class of each image"):
        class_table(Moments({"norm": layer}))
    with pytest.raises(SettingError, match="at least 1"):
        composition_table(labelled(layer, LABELS), [0, 2])
    with pytest.raises(SettingError, match="none"):
        composition_table(labelled(layer, LABELS), [])
