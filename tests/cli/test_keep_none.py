"""``analyze --keep none``: sums in place of moments, with the same tables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.networks import small

from normstats.run_folder import ABOUT, MOMENTS, UNFINISHED

pytestmark = pytest.mark.usefixtures("without_timm")

_OPTIONS = [
    *("analyze", "weights.pt", "--images", "images.npz", "--arch", "networks.py:small"),
    *("--methods", "bn@1,bn@2,bn@4,gn:4,in,ln,running", "--batch-size", "8", "--quiet"),
    *("--memory-format", "contiguous"),
]
_SUMS = [*_OPTIONS, "--keep", "none"]
_TABLES = ("errors.csv", "layers.csv", "channels.csv", "crossovers.csv")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a network, its weights and images."""
    monkeypatch.chdir(tmp_path)
    source = Path(__file__).parents[1] / "helpers" / "networks.py"
    (tmp_path / "networks.py").write_bytes(source.read_bytes())
    torch.save(small().state_dict(), "weights.pt")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (240, 3, 16, 16)) * rng.uniform(0.2, 1, (240, 1, 1, 1))
    np.savez("images.npz", images=pixels.astype(np.uint8), labels=np.arange(240) % 3)
    return tmp_path


def test_the_same_tables(place: Path, normstats: Callable[..., object]) -> None:
    assert normstats(*_OPTIONS, "--out", "kept").status == 0
    assert normstats(*_SUMS, "--out", "sums").status == 0
    kept, sums = (pd.read_csv(place / run / "errors.csv") for run in ("kept", "sums"))
    assert list(sums) == list(kept)
    single = kept["batch"].fillna(1) == 1
    for column in ("mean_bias_sq", "mean_variance", "var_bias_sq", "var_variance"):
        np.testing.assert_allclose(sums[column], kept[column], rtol=1e-6, atol=1e-9)
    for column in ("error", "residual", "error_low", "error_high"):
        ours, theirs = sums.loc[single, column], kept.loc[single, column]
        # The network saw them in other batches: other last digits of float32.
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(sums["error"], kept["error"], rtol=0.1)


def test_what_is_refused_and_what_works(place: Path, normstats: Callable[..., object]) -> None:
    assert normstats(*_SUMS, "--out", "run").status == 0
    for question in ("grouping", "plane", "mixing", "composition", "validate"):
        refused = normstats(question, "run")
        assert refused.status == 2, question
        assert "were not kept" in refused.err
        assert "--keep layers" in refused.err
    assert "less exact" in normstats("show", "run").out
    assert normstats("report", "run", "--out", "page.html").status == 0
    other = ["--out", "other"]
    assert normstats(*_SUMS, *other, "--full").status == 2
    (place / "own.py").write_text("def halves(mean, variance, layer):\n    return mean, variance\n")
    refused = normstats(*_SUMS, *other, "--methods", "bn@2,own.py:halves")
    assert refused.status == 2
    assert not (place / "other").exists()


def test_going_on(place: Path, normstats: Callable[..., object]) -> None:
    assert normstats(*_SUMS, "--out", "whole").status == 0
    assert normstats(*_SUMS, "--out", "cut").status == 0
    run = place / "cut"
    (run / ABOUT).unlink()
    (run / MOMENTS / "moments.json").unlink()
    (run / MOMENTS).rename(run / UNFINISHED)
    (run / UNFINISHED / "part-00003.json").unlink()
    damaged = run / UNFINISHED / "part-00007.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-8])
    refused = normstats(*_SUMS, "--methods", "bn@2,gn:2", "--out", "cut")
    assert refused.status == 2
    assert "differs in: sums" in refused.err
    assert normstats(*_OPTIONS, "--out", "cut").status == 2  # nor are moments mixed in
    assert normstats(*_SUMS, "--out", "cut").status == 0
    for name in _TABLES:
        assert (run / name).read_bytes() == (place / "whole" / name).read_bytes()
    for file in (place / "whole" / MOMENTS).glob("part-*"):
        assert (run / MOMENTS / file.name).read_bytes() == file.read_bytes()


@pytest.mark.slow
def test_two_ranks(place: Path, normstats: Callable[..., object]) -> None:
    assert normstats(*_SUMS, "--out", "alone").status == 0
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    subprocess.run(
        [sys.executable, *launcher, "-m", "normstats", *_SUMS, "--out", "together"],
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )
    for name in _TABLES:
        ours, theirs = (pd.read_csv(place / run / name) for run in ("together", "alone"))
        numbers = theirs.select_dtypes("number")
        np.testing.assert_allclose(ours[list(numbers)], numbers, rtol=1e-6, atol=1e-9)
