"""The whole way, from files to tables, against tables made by an independent script."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.shared import ARCH, CHECKPOINT, DATA, IMAGES, needs_data

METHODS = "bn@1,bn@2,bn@4,bn@8,bn@16,bn@32,bn@64,in,gn:16,gn:8,gn:4,gn:2,ln,bgn@4:8,bgn@8:2"
KEYS = ["layer", "method"]
CLOSED_FORMS = ["mean_bias_sq", "mean_variance", "var_bias_sq", "var_variance"]
RESAMPLED = ["std_bias_sq", "std_variance", "error", "residual"]


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("weights", ["gamma", "uniform"])
def test_the_real_network_agrees_with_the_reference(
    normstats, tmp_path: Path, weights: str
) -> None:
    run = tmp_path / "run"
    arguments = ["analyze", CHECKPOINT, "--arch", ARCH, "--images", IMAGES, "--methods", METHODS]
    outcome = normstats(*arguments, "--weights", weights, "--out", run)
    assert outcome.status == 0, outcome.err
    assert "layer3.2.bn2" in outcome.out
    assert len(json.loads((run / "study.json").read_text())["findings"]) >= 3

    reference = pd.read_csv(DATA / "reference_errors.csv")
    reference = reference[reference["weights"] == weights].set_index(KEYS)
    found = pd.read_csv(run / "errors.csv").set_index(KEYS)
    assert set(found.index) == set(reference.index)
    found = found.loc[reference.index]
    for column in CLOSED_FORMS:
        np.testing.assert_allclose(found[column], reference[column], rtol=1e-4, atol=1e-8)
    for column in RESAMPLED:
        np.testing.assert_allclose(found[column], reference[column], rtol=0.05, atol=3e-4)
        # The reference's own resampling error apart, nearly all are far closer.
        close = np.isclose(found[column], reference[column], rtol=0.02, atol=1e-5)
        assert close.mean() > 0.9

    reference = pd.read_csv(DATA / "reference_channels.csv").set_index(["layer", "channel"])
    found = pd.read_csv(run / "channels.csv").set_index(["layer", "channel"]).loc[reference.index]
    for column in ("mean", "variance", "gamma", "alive"):
        np.testing.assert_allclose(found[column], reference[column], rtol=1e-5, atol=1e-5)


@needs_data
@pytest.mark.slow
def test_overtaking_lies_where_the_design_says(normstats, tmp_path: Path) -> None:
    outcome = normstats(
        *("analyze", CHECKPOINT, "--arch", ARCH, "--images", IMAGES, "--out", tmp_path / "run"),
        *("--methods", "bn@1,bn@2,bn@4,bn@8,bn@16,bn@32,ln", "--json", "--quiet"),
    )
    result = json.loads(outcome.out)
    assert outcome.err == ""
    crossovers = pd.DataFrame(result["crossovers"])
    overtaking = crossovers[crossovers["quantity"] == "residual"]["batch_number"]
    assert overtaking.median() == pytest.approx(7, abs=1)
    assert overtaking.max() == pytest.approx(16, abs=1)
    errors = pd.DataFrame(result["errors"]).groupby("method")[["error", "residual"]].mean()
    assert errors.loc["bn@2", "error"] == pytest.approx(0.079, abs=0.001)
    assert errors.loc["bn@32", "error"] == pytest.approx(0.0054, abs=0.0002)
    assert errors.loc["ln", "error"] == pytest.approx(0.886, abs=0.001)
    assert errors.loc["ln", "residual"] == pytest.approx(0.029, abs=0.001)
