"""How far a population moved: against integration over quantiles, pixels and simulations."""

from typing import Any

import numpy as np
import pytest
from helpers.comparisons import make_layers, make_run
from helpers.enumeration import Array, make_pixels, moments_of
from scipy.integrate import quad
from scipy.stats import norm

import normstats as ns
from normstats.blocks import Blocks
from normstats.comparison.drift import layer_drift, moved
from normstats.comparison.sides import LayerSide
from normstats.population import Population


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.5, 1.0), (-0.3, 2.0), (2.0, 0.25)])
def test_it_is_the_wasserstein_distance_of_normal_distributions(mean: float, std: float) -> None:
    before, after = norm(0.7, 1.3), norm(mean, std)
    # W₂² on the line is the mean squared difference of quantiles (Villani 2003, theorem 2.18).
    truth, _ = quad(lambda share: (after.ppf(share) - before.ppf(share)) ** 2, 0, 1)
    parts = moved(*(np.array([value]) for value in (0.7, 1.3**2, mean, std**2)))
    assert sum(parts).item() == pytest.approx(truth / 1.3**2, rel=1e-4, abs=1e-8)


def test_a_layer_from_its_pixels() -> None:
    before, after = make_pixels(30, 8, seed=1), make_pixels(30, 8, seed=1) * 1.3 + 0.4
    before[:, 2] = 1.0  # dead in one run, alive in the other
    after[:, 2] = make_pixels(30, 1, seed=9)[:, 0]
    after[:, 5] = 3.0
    first = make_run({"layer": before}, methods=["bn@2"])
    second = make_run({"layer": after}, methods=["bn@2"], checkpoint="b" * 64)
    found = ns.compare({"one": first, "two": second})
    alive = np.array([True, True, False, True, True, False, True, True])
    mean, std = before.mean(axis=(0, 2, 3)), before.std(axis=(0, 2, 3))
    to_mean, to_std = after.mean(axis=(0, 2, 3)), after.std(axis=(0, 2, 3))
    weights = np.where(alive, np.linspace(0.5, 2, 8) ** 2, 0)
    weights /= weights.sum()
    std[2] = to_std[5] = 1.0  # they have no weight
    row = found.drift().iloc[0]
    expected = {
        "of_mean": ((to_mean - mean) ** 2 / std**2) @ weights,
        "of_std": ((to_std - std) ** 2 / std**2) @ weights,
        "log_std_ratio": np.log(to_std / std) @ weights,
    }
    for column, value in expected.items():
        assert row[column] == pytest.approx(value, rel=1e-9), column
    assert row["drift"] == pytest.approx(row["of_mean"] + row["of_std"], rel=1e-12)
    assert (row["alive_in_both"], row["channels"]) == (6, 8)
    channels = found.channels()
    assert channels["alive_in_both"].to_list() == alive.tolist()
    np.testing.assert_allclose(channels["weight"], weights)
    np.testing.assert_allclose(
        channels["mean_shift"][alive], ((to_mean - mean) / std)[alive], rtol=1e-9
    )
    known = channels[channels["alive_in_both"]]
    assert row["drift"] == pytest.approx(known["drift"] @ known["weight"], rel=1e-9)


def test_a_constant_change_of_the_same_images_moves_them_for_certain() -> None:
    found = ns.compare(
        {
            "one": make_run(make_layers()),
            "two": make_run(make_layers(scale=3.0), checkpoint="b" * 64),
        }
    ).drift()
    # σ' = 3σ whatever the images: (3 − 1)² in units of σ².
    np.testing.assert_allclose(found["of_std"], 4, rtol=1e-9)
    np.testing.assert_allclose(found["log_std_ratio"], np.log(3), rtol=1e-9)
    np.testing.assert_allclose(found["image_correlation"], 1, atol=1e-5)
    other = ns.compare(
        {
            "one": make_run(make_layers()),
            "two": make_run(make_layers(scale=3.0), checkpoint="b" * 64, images="2" * 64),
        }
    ).drift()
    width, of_others = (d["drift_high"] - d["drift_low"] for d in (found, other))
    assert (width < of_others).all()
    assert other["image_correlation"].isna().all()


def test_channels_that_were_exchanged_do_not_mean_the_same() -> None:
    exchanged = {name: values[:, ::-1] for name, values in make_layers().items()}
    found = ns.compare({"one": make_run(), "two": make_run(exchanged, checkpoint="b" * 64)})
    assert (found.drift()["image_correlation"].abs() < 0.5).all()
    claims = {finding.claim: finding.text for finding in found.findings}
    assert "hardly mean what they meant" in claims["meaning of channels"]


def test_the_correlation_is_that_of_the_channels_means() -> None:
    one, two = make_pixels(30, 4, seed=1), make_pixels(30, 4, seed=2)
    found = ns.compare(
        {
            "one": make_run({"layer": one}, methods=["bn@2"], weights="uniform"),
            "two": make_run({"layer": two}, methods=["bn@2"], checkpoint="b" * 64),
        }
    ).drift()
    means = one.mean(axis=(2, 3)), two.mean(axis=(2, 3))
    truth = np.mean([np.corrcoef(means[0][:, c], means[1][:, c])[0, 1] for c in range(4)])
    assert found["image_correlation"].item() == pytest.approx(truth, abs=1e-6)


def side_of(pixels: Array, seed: int) -> LayerSide:
    layer = moments_of(pixels)
    population = Population.of(layer)
    return LayerSide(population.mean, population.variance, None, population.alive).with_images(
        layer, Blocks.of(layer.images, seed=seed)
    )


def experiments(count: int, shift: float, scale: float) -> list[dict[str, Any]]:
    """Drifts of two independent samples of 60 images from a known population and a moved one."""
    found = []
    for seed in range(count):
        before, after = (
            np.random.default_rng([seed, which]).normal(size=(60, 8, 1, 1))
            + np.random.default_rng([seed, which, 1]).normal(size=(60, 8, 3, 3))
            for which in (0, 1)
        )
        sides = side_of(before, 0), side_of(after * scale + shift, 1)
        found.append(layer_drift(*sides, "uniform", same_images=False))
    return found


def test_noise_is_what_sampling_adds_where_nothing_moved() -> None:
    found = experiments(150, 0.0, 1.0)
    plug_in, noise = (np.mean([row[c] for row in found]) for c in ("drift", "noise"))
    # var(m)·2/N over σ² for the mean alone, with var(m) = 1 + 1/9 and σ² = 2.
    assert plug_in > 2 * (1 + 1 / 9) / 60 / 2
    assert noise == pytest.approx(plug_in, rel=0.1)
    assert np.mean([row["drift_low"] == 0 for row in found]) > 0.9


@pytest.mark.parametrize(("shift", "scale"), [(0.5, 1.0), (0.3, 1.4), (-1.0, 0.7)])
def test_intervals_hold_the_truth(shift: float, scale: float) -> None:
    found = experiments(200, shift, scale)
    truth = (shift**2 + 2 * (scale - 1) ** 2) / 2  # σ² = 2
    held = np.mean([row["drift_low"] <= truth <= row["drift_high"] for row in found])
    assert 0.9 <= held <= 0.99
    debiased, plug_in = (np.mean([row[c] for row in found]) for c in ("drift_debiased", "drift"))
    assert abs(debiased - truth) < abs(plug_in - truth)
    assert debiased == pytest.approx(truth, rel=0.03)
