"""One image set's statistics on another: against stored statistics, quantiles, simulations."""

import numpy as np
import pytest
from helpers.comparisons import make_domains, make_layers, make_run
from helpers.enumeration import Array, enumerate_batches, make_pixels, moments_of
from scipy.integrate import quad
from scipy.stats import norm

import normstats as ns
from normstats.blocks import Blocks
from normstats.comparison.shift import constants_error
from normstats.comparison.sides import LayerSide
from normstats.crossover import crossover
from normstats.layer_values import LayerValues
from normstats.population import Population
from normstats.resampling import Resamples


def test_it_is_the_distance_of_normal_distributions_in_units_of_the_new_one() -> None:
    table = make_domains().shift()
    for layer in ("stem", "head"):
        row = table.set_index("layer").loc[layer]
        day, night = make_layers()[layer], make_layers(shift=1.0, scale=1.5)[layer]
        weights = np.linspace(0.5, 2, 8) ** 2
        distances = []
        for channel in range(8):
            there = norm(day[:, channel].mean(), np.sqrt(day[:, channel].var() + 1e-5))
            here = norm(night[:, channel].mean(), np.sqrt(night[:, channel].var() + 1e-5))
            square, _ = quad(lambda u, a=there, b=here: (a.ppf(u) - b.ppf(u)) ** 2, 0, 1)
            distances.append(square / here.var())
        truth = np.average(distances, weights=weights)
        assert row["error"] == pytest.approx(truth, rel=1e-4)
        assert row["error"] == pytest.approx(row["mean_bias_sq"] + row["std_bias_sq"], rel=1e-12)


def test_it_is_the_error_of_running_where_just_these_are_stored() -> None:
    there, here = make_pixels(30, 8, seed=1), make_pixels(50, 8, seed=2)
    mean, variance = there.mean(axis=(0, 2, 3)), there.var(axis=(0, 2, 3))
    count = here[:, 0].size
    layer = moments_of(here, running_mean=mean, running_variance=variance * count / (count - 1))
    study = ns.analyze(ns.Moments({"layer": layer}), ["running", "bn@1", "bn@2", "bn@8"], draws=64)
    row = study.errors().iloc[0]
    values = LayerValues(layer, "gamma", Resamples(50, draws=64), Blocks.of(50))
    alive = variance > layer.epsilon
    found = constants_error(values, LayerSide(mean, variance, None, alive)).row()
    for term in ("mean_bias_sq", "std_bias_sq", "error", "error_debiased", "residual"):
        assert found[term] == pytest.approx(row[term], rel=1e-9), term
    assert (found["error_low"], found["error_high"]) == pytest.approx(
        (row["error_low"], row["error_high"]), rel=1e-9
    )
    assert found["residual"] == found["mean_variance"] == found["std_variance"] == 0


def test_the_crossover_is_where_a_batch_of_the_new_images_is_as_good() -> None:
    found = make_domains()
    errors = found.studies["night"].errors()
    for row in found.shift().itertuples():
        curve = errors[(errors["layer"] == row.layer) & errors["method"].str.startswith("bn@")]
        meets = crossover(curve["batch"].to_list(), curve["error"].to_list(), row.error_debiased)
        assert (row.batch, row.batch_number) == (str(meets), pytest.approx(meets.batch, rel=1e-9))
        assert row.batch_low <= row.batch_number <= row.batch_high
        stored = errors[(errors["layer"] == row.layer) & (errors["method"] == "running")]
        assert row.stored_error == stored["error"].item()


def test_a_batch_from_the_crossover_on_is_better_by_enumeration() -> None:
    rng = np.random.default_rng(0)
    night = 0.5 * rng.normal(size=(4, 6, 1, 1)) + rng.normal(size=(4, 6, 5, 5))
    day = night + 0.5 * night.std(axis=(0, 2, 3), keepdims=True)
    mean, s = night.mean(axis=(0, 2, 3)), np.sqrt(night.var(axis=(0, 2, 3)) + 1e-5)
    of_day = (day.mean(axis=(0, 2, 3)) - mean) ** 2 / s**2
    of_day += (np.sqrt(day.var(axis=(0, 2, 3)) + 1e-5) - s) ** 2 / s**2
    truth = []
    for batch in (1, 2, 3, 4):
        all_batches = enumerate_batches(night, batch, 6, 1e-5)
        of_batch = (all_batches.expected_mean - mean) ** 2 + all_batches.variance_of_mean
        of_batch += (all_batches.expected_std - s) ** 2 + all_batches.variance_of_std
        truth.append(float((of_batch / s**2).mean()))
    methods = ["bn@1", "bn@2", "bn@3", "bn@4"]
    runs = [
        ns.analyze(
            ns.Moments(
                {"layer": moments_of(pixels)},
                provenance={"checkpoint": {"sha256": "a"}, "images_from": {"sha256": name}},
            ),
            methods,
            draws=4096,
        )
        for name, pixels in (("day", day), ("night", night))
    ]
    row = ns.compare(runs).shift().iloc[0]
    assert row["error"] == pytest.approx(of_day.mean(), rel=1e-9)
    expected = crossover([1, 2, 3, 4], truth, row["error_debiased"]).batch
    assert 1 < expected < 4
    assert row["batch_number"] == pytest.approx(expected, rel=0.03)


def layer_side(pixels: Array, seed: int) -> LayerSide:
    layer = moments_of(pixels)
    population = Population.of(layer)
    return LayerSide(population.mean, population.variance, None, population.alive).with_images(
        layer, Blocks.of(layer.images, seed=seed)
    )


def test_intervals_hold_the_truth_and_count_the_noise_of_both_image_sets() -> None:
    truth = (0.6**2 + (1.5 - 1) ** 2 * 2) / (1.5**2 * 2)  # σ² = 2 there, 1.5²·2 here
    held, debiased, narrower = [], [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        there, here = (
            rng.normal(size=(60, 8, 1, 1)) + rng.normal(size=(60, 8, 3, 3)) for _ in range(2)
        )
        values = LayerValues(
            moments_of(here * 1.5 + 0.6), "uniform", Resamples(60, draws=16), Blocks.of(60)
        )
        side = layer_side(there, 1)
        row = constants_error(values, side).row()
        held.append(row["error_low"] <= truth <= row["error_high"])
        debiased.append(row["error_debiased"])
        exact = constants_error(values, LayerSide(side.mean, side.variance, None, side.alive)).row()
        narrower.append(
            exact["error_high"] - exact["error_low"] < row["error_high"] - row["error_low"]
        )
    assert 0.9 <= np.mean(held) <= 0.99
    assert np.mean(debiased) == pytest.approx(truth, rel=0.03)
    assert np.mean(narrower) > 0.9


def test_other_runs_have_no_shift_and_the_reference_none_on_itself() -> None:
    found = ns.compare(
        {"one": make_run(), "two": make_run(images="2" * 64), "three": make_run(images="3" * 64)}
    )
    assert set(found.shift()["run"]) == {"two", "three"}
    # The same pixels under another fingerprint: nothing but rounding.
    assert (found.shift()["error"] < 1e-20).all()
    assert set(found.shift()["batch"]) == {">32"}
