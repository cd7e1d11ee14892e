"""Further questions to a run, and methods of one's own, through the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.enumeration import make_pixels, moments_of
from helpers.refusals import analyze, assert_refused, bring

import normstats as ns


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stored = {"running_mean": np.zeros(8), "running_variance": np.ones(8)}
    moments = ns.Moments(
        {
            name: moments_of(make_pixels(60, 8, seed=seed), **stored)
            for seed, name in enumerate(("stem", "head"))
        },
        labels=np.arange(60) % 4,
        classes=("a", "b", "c", "d"),
    )
    study = ns.analyze(moments, ["bn@2", "bn@4", "gn:4", "ln"])
    return study.save(tmp_path_factory.mktemp("further") / "run")


@pytest.mark.parametrize(
    ("arguments", "words", "table"),
    [
        (["grouping", "--groups", "2,4"], ["4 groups", "stem", "saved", "best"], "grouping"),
        (["plane", "--batch", "4"], ["The best cell with a batch of 4", "bn@4"], "plane"),
        (["composition", "--batches", "4"], ["single-class", "floor"], "composition"),
        (["mixing", "--with", "running,gn:4"], ["its share", "gn:4"], "mixing"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else value,
)
def test_an_answer_is_printed_and_kept(
    normstats: Callable[..., Any], saved: Path, arguments: list[str], words: list[str], table: str
) -> None:
    command, *settings = arguments
    outcome = normstats(command, saved, *settings)
    assert outcome.status == 0, outcome.err
    assert [word for word in words if word not in outcome.out] == []
    kept = pd.read_csv(saved / f"{table}.csv")
    assert set(kept["layer"]) == {"stem", "head"}
    content = json.loads(normstats(command, saved, "--json", "--quiet").out)
    assert len(content[table]) == len(kept)
    assert normstats("show", saved).status == 0


def test_labels_are_needed_to_compose(normstats: Callable[..., Any], tmp_path: Path) -> None:
    moments = ns.Moments({"a": moments_of(make_pixels(20, 4))})
    run = ns.analyze(moments, ["bn@2", "bn@4"]).save(tmp_path / "run")
    assert_refused(normstats("composition", run), "class of each image")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["grouping", "--groups", "3"], ["No layer's groups can be audited", "3 groups"]),
        (["grouping", "--groups", "x"], ["--groups 'x' is not a list of numbers"]),
        (["composition", "--batches", "0"], ["--batches '0' is not a list of numbers"]),
        (["plane", "--batch", "0"], ["--batch 0 makes no sense"]),
        (["mixing", "--with", "bn@4"], ["bn@4 cannot be mixed"]),
        (["mixing", "--with", "bogus"], ["'bogus' is not a normalization method"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_questions_that_make_no_sense(
    normstats: Callable[..., Any], saved: Path, arguments: list[str], words: list[str]
) -> None:
    command, *settings = arguments
    assert_refused(normstats(command, saved, *settings), *words)


MINE = """
import numpy as np
import normstats as ns

def filter_response(mean, variance, layer):
    power = (variance + mean**2).mean(axis=-2)
    return np.zeros_like(power), power

frn = ns.Method.from_function("frn", filter_response, batch=1)
wrong = ns.Method.from_function("wrong", lambda mean, variance, layer: mean, batch=2)
endless = ns.Method.from_function(
    "endless", lambda mean, variance, layer: (mean[..., 0, :], variance[..., 0, :] / 0), batch=1
)
broken = ns.Method.from_function("broken", lambda mean, variance, layer: layer.nothing, batch=1)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    bring(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def test_a_method_of_ones_own_from_a_file(normstats: Callable[..., Any], place: Path) -> None:
    outcome = normstats(*analyze(methods="bn@2,mine.py:frn,ln"))
    assert outcome.status == 0, outcome.err
    errors = pd.read_csv("run/errors.csv")
    assert set(errors["method"]) == {"bn@2", "ln", "frn"}
    assert errors["error"].notna().all()
    assert "frn" in normstats("show", "run").out


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ("mine.py:fnr", ["mine.py:fnr is no method", "Did you mean frn?"]),
        ("mine.py:filter_response", ["is no method", "from_function"]),
        ("yours.py:frn", ["There is no file yours.py"]),
        ("mine.py:wrong", ["wrong does not give a mean and a variance"]),
        ("mine.py:broken", ["broken failed with AttributeError"]),
        ("mine.py:endless", ["endless gives values that are not finite"]),
    ],
)
def test_methods_that_are_none(
    normstats: Callable[..., Any], place: Path, methods: str, words: list[str]
) -> None:
    assert_refused(normstats(*analyze(methods=methods)), *words)
