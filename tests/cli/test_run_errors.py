"""Runs that cannot be written or read, and methods that no layer can have, as a user meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import networks, odd_networks
from helpers.refusals import analyze, assert_refused, bring


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the program is started, and good input lies."""
    monkeypatch.chdir(tmp_path)
    bring(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("x" * 300, ["cannot be written to xxx", "--out"]),  # longer than file systems allow
        ("net.pth/run", ["net.pth/run cannot be made", "is not a folder", "--out"]),
        ("net.pth", ["net.pth exists and is not a run of normstats", "--out"]),
        ("images", ["images exists and is not a run of normstats; it is left", "--out"]),
    ],
    ids=["long", "below a file", "file", "folder"],
)
def test_runs_that_cannot_be_written(
    normstats: Callable[..., Any], place: Path, out: str, words: list[str]
) -> None:
    assert_refused(normstats(*analyze(out=out)), *words)
    assert sorted(path.name for path in place.iterdir()) == ["images", "net.pth"]


def test_a_run_that_is_there(normstats: Callable[..., Any], place: Path) -> None:
    assert normstats(*analyze(out="there")).status == 0
    words = ["there already holds a run", "replace it with --force"]
    assert_refused(normstats(*analyze(out="there")), *words)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda run: (run / "study.json").unlink(), ["is not a run of normstats", "--out"]),
        (lambda run: (run / "study.json").write_text("{"), ["is damaged", "analyze` again"]),
        (lambda run: (run / "study.json").write_text("[]"), ["is damaged", "again"]),
        (lambda run: (run / "errors.csv").unlink(), ["is damaged", "errors.csv", "again"]),
        (lambda run: (run / "errors.csv").write_text("x"), ["is damaged", "analyze` again"]),
        (lambda run: (run / "errors.csv").write_text(""), ["is damaged", "analyze` again"]),
        (
            lambda run: (run / "study.json").write_text(json.dumps({"schema": 99})),
            ["written in schema 99; this normstats reads", "Install the normstats"],
        ),
    ],
    ids=["no study", "cut", "list", "no table", "other table", "empty table", "schema"],
)
def test_runs_that_cannot_be_read(
    normstats: Callable[..., Any],
    place: Path,
    damage: Callable[[Path], object],
    words: list[str],
) -> None:
    assert normstats(*analyze(out="good")).status == 0
    damage(place / "good")
    assert_refused(normstats("show", "good"), "good", *words)


def test_no_run_at_all(normstats: Callable[..., Any], place: Path) -> None:
    assert_refused(normstats("show", "nowhere"), "nowhere does not exist", "analyze --out")


def test_a_layer_that_a_run_does_not_have(normstats: Callable[..., Any], place: Path) -> None:
    torch.save(networks.breaks().state_dict(), place / "breaks.pth")
    arch = f"{networks.__file__}:breaks"
    assert normstats(*analyze("breaks.pth", arch=arch, out="made")).status == 0
    words = ["No layer matches 'bn1'", "The layers are good"]
    assert_refused(normstats("show", "made", "--layer", "bn1"), *words)


def test_layers_that_are_called_by_numbers(normstats: Callable[..., Any], place: Path) -> None:
    assert normstats(*analyze(out="made")).status == 0
    assert normstats("show", "made", "--layer", "4").status == 0
    words = ["No layer matches '2'", "The layers are 1, 4"]
    assert_refused(normstats("show", "made", "--layer", "2"), *words)


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ("gn:5", ["None of the methods is possible in any layer", "5 groups do not divide"]),
        ("gn:5ch", ["None of the methods is possible", "groups of 5 channels do not divide"]),
        ("bn@0", ["'bn@0': the batch size must be at least 1", "bn@B (BatchNorm over B images)"]),
        ("bgn@2:0", ["the number of groups or channels must be at least 1"]),
        ("bn", ["'bn' is not a normalization method", "Methods are"]),
        ("ln@8", ["'ln@8' is not a normalization method", "Methods are"]),
        ("layernorm", ["'layernorm' is not a normalization method"]),
        (" , ", ["No method was given", "Methods are"]),
    ],
)
def test_methods(
    normstats: Callable[..., Any], place: Path, methods: str, words: list[str]
) -> None:
    assert_refused(normstats(*analyze(methods=methods)), *words)


def test_statistics_that_no_layer_stores(normstats: Callable[..., Any], place: Path) -> None:
    torch.save(odd_networks.tokens().state_dict(), place / "tokens.pth")
    given = {"arch": f"{odd_networks.__file__}:tokens", "channel_dim": -1, "methods": "running"}
    words = ["None of the methods is possible", "no statistics are stored"]
    assert_refused(normstats(*analyze("tokens.pth", **given)), *words)
