"""The embedded default, as a newcomer runs it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import normstats as ns
from normstats.demo import demo_images, demo_model
from normstats.inputs import open_images


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_demo_writes_a_run_and_says_what_it_found(normstats, in_tmp: Path) -> None:
    outcome = normstats("demo")
    assert outcome.status == 0, outcome.err
    assert "layer3.1.bn2" in outcome.out
    assert "BatchNorm" in outcome.out
    assert "runs/demo" in outcome.err
    study = ns.open_study("runs/demo")
    assert study.errors()["layer"].nunique() == 13
    assert study.moments.images == 1797
    assert 5 <= len(study.findings) <= 8
    assert set(study.parts) == {"grouping", "plane", "mixing", "composition"}

    again = normstats("demo", "--quiet")  # a second run is not an error, and replaces nothing
    assert again.status == 0
    assert again.err == ""
    assert again.out == outcome.out
    assert (in_tmp / "runs" / "demo-2" / "errors.csv").read_bytes() == (
        in_tmp / "runs" / "demo" / "errors.csv"
    ).read_bytes()

    shown = normstats("show", "runs/demo")
    assert shown.status == 0
    assert shown.out == outcome.out

    one = normstats("show", "runs/demo", "--layer", "layer1.*.bn1")
    assert "layer1.0.bn1" in one.out
    assert "layer2.0.bn1" not in one.out
    missing = normstats("show", "runs/demo", "--layer", "layer1.bn1")
    assert missing.status == 2
    assert "layer1.1.bn1" in missing.err

    refused = normstats("demo", "--out", "runs/demo")
    assert refused.status == 2
    assert "--force" in refused.err


def test_python_and_command_line_agree(normstats, in_tmp: Path) -> None:
    normstats("demo", "--out", "run")
    errors = ns.open_study("run").errors()
    moments = ns.capture(demo_model(), demo_images())
    study = ns.analyze(moments, list(errors["method"].unique()))
    pd.testing.assert_frame_equal(study.errors(), errors)

    # The fingerprint is that of the same images in a file.
    np.save("digits.npy", demo_images().dataset.tensors[0].numpy())
    images = open_images("digits.npy", input_channels=1)
    assert sum(len(batch) for batch in images.batches(256)) == 1797
    assert ns.open_study("run").provenance["images_from"]["sha256"] == images.fingerprint
