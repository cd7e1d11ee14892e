"""Runs side by side: told apart, named, opened; their tables, findings and notes."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.comparisons import make_domains, make_epochs, make_layers, make_models, make_run

import normstats as ns
from normstats.comparison.drift import DRIFT_COLUMNS
from normstats.comparison.shift import SHIFT_COLUMNS
from normstats.errors import RunFolderError, SettingError
from normstats_reports.page import write_report

B, TWO = "b" * 64, "2" * 64
FEWER = make_layers(("stem", "body.0", "body.1"))
WIDER = {name: np.concatenate([v, v], axis=1) for name, v in make_layers().items()}


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        ({"checkpoint": B}, "checkpoints"),
        ({"checkpoint": B, "images": TWO}, "checkpoints"),
        ({"checkpoint": None}, "checkpoints"),
        ({"images": TWO}, "image sets"),
        ({"images": None}, "image sets"),
        ({}, "repeats"),
        ({"pixels": FEWER, "checkpoint": B}, "models"),
        ({"pixels": WIDER, "checkpoint": B}, "models"),
        ({"pixels": FEWER, "checkpoint": B, "left_out": {"head": "NaN"}}, "checkpoints"),
        ({"pixels": FEWER, "images": TWO}, "image sets"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_what_runs_are_is_told_from_where_they_come_from(other: dict[str, Any], kind: str) -> None:
    found = ns.compare(
        {"one": make_run(methods=["bn@2"]), "two": make_run(methods=["bn@2"], **other)}
    )
    assert found.kind == kind
    assert found.drift().empty == (kind == "models")
    assert found.shift().empty == (kind != "image sets")
    assert list(found.drift()) == list(DRIFT_COLUMNS)
    assert list(found.shift()) == list(SHIFT_COLUMNS)


def test_layers_that_do_not_match_are_named_with_the_reason() -> None:
    lost = make_run(FEWER, checkpoint=B, left_out={"head": "its values are NaN"})
    notes = " ".join(ns.compare({"one": make_run(), "two": lost}).notes)
    assert "head (not in two: its values are NaN)" in notes
    notes = " ".join(ns.compare({"one": make_run(), "two": make_run(WIDER, checkpoint=B)}).notes)
    assert "stem (other numbers of channels: 8 in one, 16 in two)" in notes
    assert "channels of different models do not correspond" in notes


def test_the_caller_may_say_what_runs_are() -> None:
    runs = {"one": make_run(checkpoint=None, images=None), "two": make_run(checkpoint=None)}
    found = ns.compare(runs, kind="image sets")
    assert (found.kind, len(found.shift())) == ("image sets", 4)
    assert "said by the caller" in found.relation.reason
    with pytest.raises(SettingError, match="is not known"):
        ns.compare(runs, kind="domains")  # type: ignore[arg-type]


def test_repeats_have_no_drift() -> None:
    found = ns.compare({"one": make_run(), "two": make_run(methods=["bn@2"])})
    assert (found.drift()[["drift", "drift_low", "drift_high", "noise"]] == 0).all(axis=None)
    assert (found.drift()["image_correlation"] > 0.999).all()
    assert found.findings[0].claim == "the same population"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("runs")
    first = make_run().save(place / "a" / "run")
    second = make_run(make_layers(shift=1.0), checkpoint=B).save(place / "b" / "run")
    return [first, second]


def test_folders_give_the_runs_their_names(folders: list[Path], tmp_path: Path) -> None:
    assert ns.compare(folders).names == ("a/run", "b/run")
    third = make_run(checkpoint="c" * 64).save(tmp_path / "third")
    assert ns.compare([*folders, str(third)]).names == ("a/run", "b/run", "third")
    assert ns.compare([make_run(), folders[0]]).names == ("run 1", "run")


def test_pages_compare_without_intervals(folders: list[Path]) -> None:
    whole = ns.compare(folders)
    pages = ns.compare([write_report(ns.open_study(folder), folder) for folder in folders])
    assert pages.names == whole.names
    columns = ["drift", "of_mean", "of_std", "log_std_ratio"]
    found, truth = pages.drift()[columns], whole.drift()[columns]
    pd.testing.assert_frame_equal(found, truth, rtol=5e-3, atol=1e-4)
    assert pages.drift()[["drift_debiased", "drift_low", "noise"]].isna().all(axis=None)
    assert whole.drift()[["drift_debiased", "drift_low", "noise"]].notna().all(axis=None)
    notes = [note for note in pages.notes if "No moments of a/run" in note]
    assert "report.html" in notes[0]


def test_refusals(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="One run cannot be compared"):
        ns.compare([folders[0]])
    with pytest.raises(SettingError, match="is given twice"):
        ns.compare([folders[0], folders[0] / ".." / "run"])
    with pytest.raises(SettingError, match="is given twice"):
        ns.compare([folders[0], folders[0] / "report.html"])
    with pytest.raises(RunFolderError, match="does not exist"):
        ns.compare([folders[0], tmp_path / "none"])


def test_checkpoints_also_step_by_step() -> None:
    found = make_epochs()
    pairs = found.drift()[["run", "against"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [["epoch-2", "epoch-1"], ["epoch-9", "epoch-1"], ["epoch-9", "epoch-2"]]
    claims = {finding.claim: finding.text for finding in found.findings}
    assert "moves least in the last step" in claims["step by step"]
    assert "mostly mean what they meant" in claims["meaning of channels"]
    three = ns.compare(
        {str(i): make_run(make_layers(shift=i), images=str(i) * 64) for i in (1, 2, 3)}
    )
    assert set(three.drift()["against"]) == {"1"}


def test_findings_quote_the_median_layer() -> None:
    found = make_domains()
    first = found.findings[0]
    table = found.shift()
    median = table["error_debiased"].sort_values().iloc[1]
    assert (first.claim, first.value) == ("domain shift, night", pytest.approx(median))
    row = table[table["error_debiased"] == first.value].iloc[0]
    assert (first.low, first.high) == (row["error_low"], row["error_high"])
    assert row["layer"] in first.rule
    assert {f.claim for f in make_models().findings} == {"overtaking", "batch noise"}


def test_sides_are_the_runs_own_numbers() -> None:
    found = make_models()
    for name, study in found.studies.items():
        errors = found.errors()
        mine = errors[errors["run"] == name].drop(columns=["run", "depth"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, study.errors())
        depth = errors.loc[errors["run"] == name, "depth"].unique()
        count = len(study.layers())
        np.testing.assert_allclose(depth, (np.arange(count) + 0.5) / count)
        sides = found.sides()
        of_ln = sides[(sides["run"] == name) & (sides["method"] == "ln")]["error"].item()
        values = study.errors().query("method == 'ln'")["error"].sort_values()
        assert of_ln == values.iloc[(count - 1) // 2]


def test_it_shows_itself() -> None:
    found = make_epochs()
    assert repr(found) == "Comparison(checkpoints: epoch-1, epoch-2, epoch-9)"
    shown = found._repr_html_()
    assert "epoch-9" in shown
    assert found.findings[0].text.split(" (")[0] in shown.replace("&#x27;", "'")
