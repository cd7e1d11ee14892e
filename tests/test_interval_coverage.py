"""Confidence intervals against a known population: how often they hold the truth."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

import normstats as ns
from normstats.moments import LayerMoments, Moments

METHODS = "bn@1,bn@2,bn@4,bn@8,bn@16,gn:2,ln"
EXPERIMENTS, IMAGES, POPULATION = 600, 400, 100_000
CHANNELS = 8


def draw(images: int, seed: int) -> Moments:
    """Moments of images whose channels share brightness and contrast, with skewed variances."""
    of_network = np.random.default_rng(0)
    offset = 0.2 * of_network.normal(size=CHANNELS)
    scale = np.exp(0.1 * of_network.normal(size=CHANNELS))
    rng = np.random.default_rng(seed)
    shared, own = rng.normal(size=(images, 1)), rng.normal(size=(images, CHANNELS))
    mean = offset + scale * (0.3 * shared + 0.6 * own)
    contrast = 0.3 * rng.normal(size=(images, 1)) + 0.3 * rng.normal(size=(images, CHANNELS))
    return Moments({"layer": LayerMoments(mean, scale**2 * np.exp(contrast), spatial=(8, 8))})


def held(truth: ns.Study, study: ns.Study) -> dict[str, bool]:
    """Which of the study's intervals hold the truth."""
    found: dict[str, bool] = {}
    errors, true_errors = (s.errors().set_index("method") for s in (study, truth))
    for method in true_errors.index:
        for term in ("error", "residual"):
            row, value = errors.loc[method], true_errors.loc[method, term]
            found[f"{term} of {method}"] = row[f"{term}_low"] <= value <= row[f"{term}_high"]
    keys = ["method", "quantity"]
    crossovers, true_crossovers = (s.crossovers().set_index(keys) for s in (study, truth))
    for key, row in true_crossovers.iterrows():
        ends, value = crossovers.loc[key], row["batch_number"]
        found[f"B* of {key}"] = ends["batch_low"] <= value <= ends["batch_high"]
    layer, true_layer = study.layers().iloc[0], truth.layers().iloc[0]
    for name in ("effective_samples_mean", "effective_samples_variance", "batch_for_10_percent"):
        found[name] = layer[f"{name}_low"] <= true_layer[name] <= layer[f"{name}_high"]
    return found


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    truth = ns.analyze(draw(POPULATION, seed=1), METHODS, draws=8192)

    counts: Counter[str] = Counter()
    for experiment in range(EXPERIMENTS):
        study = ns.analyze(draw(IMAGES, seed=2 + experiment), METHODS)
        counts.update(name for name, holds in held(truth, study).items() if holds)
    coverage = pd.Series(counts) / EXPERIMENTS

    assert len(coverage) == 14 + 4 + 3
    assert coverage.between(0.92, 0.98).all(), coverage
