"""What an image is worth."""

import numpy as np
import pytest
from helpers.enumeration import moments_of

import normstats as ns
from normstats import effective_samples
from normstats.closed_forms import Groups
from normstats.population import Population


def test_independent_positions_are_worth_their_number() -> None:
    """16 independent normal values an image, of which every moment is known."""
    pixels = np.random.default_rng(0).normal(size=(20_000, 1, 4, 4))
    moments = Groups.of(Population.of(moments_of(pixels)), 1).moments
    assert effective_samples.of_mean(moments)[0] == pytest.approx(16, rel=0.05)
    assert effective_samples.of_variance(moments)[0] == pytest.approx(16, rel=0.05)


def test_positions_that_are_all_alike_are_worth_one() -> None:
    """Kish: with intraclass correlation ρ the design effect is 1 + (m − 1)ρ."""
    rng = np.random.default_rng(1)
    share = 0.3
    pixels = np.sqrt(share) * rng.normal(size=(20_000, 1, 1, 1))
    pixels = pixels + np.sqrt(1 - share) * rng.normal(size=(20_000, 1, 4, 4))
    layers = ns.analyze(ns.Moments({"a": moments_of(pixels)}), "bn@2,bn@4").layers()
    assert layers["design_effect_mean"][0] == pytest.approx(1 + 15 * share, rel=0.05)
    assert layers["effective_samples_mean"][0] == pytest.approx(16 / (1 + 15 * share), rel=0.05)


def test_a_layers_value_gives_its_variances() -> None:
    rng = np.random.default_rng(2)
    scale = np.array([1.0, 2.0, 5.0])[:, None, None]
    pixels = rng.normal(size=(500, 3, 1, 1)) + scale * rng.normal(size=(500, 3, 4, 4))
    layer = moments_of(pixels, epsilon=0.0, gamma=np.array([1.0, 2.0, 0.5]))
    study = ns.analyze(ns.Moments({"a": layer}), "bn@8,bn@64", draws=4096)
    errors, row = study.errors().set_index("method"), study.layers().iloc[0]
    expected = 1 / (8 * row["effective_samples_mean"])
    assert errors.loc["bn@8", "mean_variance"] == pytest.approx(expected, rel=1e-9)
    expected = 1 / (2 * 64 * row["effective_samples_variance"])
    assert errors.loc["bn@64", "std_variance"] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("error", "batch"),
    [(0.08, 2), (0.04, 4), (0.0565685, 2.828427), (0.02, 8), (0.005, 32), (1.0, 2)],
)
def test_the_batch_that_an_error_needs(error: float, batch: float) -> None:
    curve = np.array([np.nan, 0.08, 0.04, 0.02])
    found = effective_samples.batch_needed([1, 2, 4, 8], curve, error)
    assert found == pytest.approx(batch, rel=1e-3)


def test_no_curve_no_batch() -> None:
    assert np.isnan(effective_samples.batch_needed([], np.array([]), 0.1))
    assert np.isnan(effective_samples.batch_needed([1], np.array([np.nan]), 0.1))
