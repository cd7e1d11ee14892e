"""analyze(), its tables, and the run folder."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.enumeration import make_pixels, moments_of, sample_of

import normstats as ns
from normstats.decomposition import TERMS, decompose
from normstats.errors import MethodError, RunFolderError, SettingError
from normstats.moments import LayerMoments, Moments
from normstats.population import Population
from normstats.resampling import Resamples

METHODS = ["bn@1", "bn@2", "bn@4", "in", "gn:2", "gn:4", "ln", "running"]


@pytest.fixture(scope="module")
def moments() -> Moments:
    one = moments_of(
        make_pixels(20, 4, seed=1),
        gamma=np.array([1.0, 2.0, 0.5, 1.0]),
        running_mean=np.zeros(4),
        running_variance=np.ones(4),
    )
    return Moments({"a": one, "b": moments_of(make_pixels(20, 6, seed=2))})


@pytest.fixture(scope="module")
def study(moments: Moments) -> ns.Study:
    return ns.analyze(moments, METHODS)


def test_errors_have_a_row_per_layer_and_method(study: ns.Study) -> None:
    errors = study.errors()
    promised = ["layer", "channels", "method", "batch", "groups", "weights"]
    assert list(errors.columns[:14]) == [*promised, *TERMS]
    assert list(errors[errors["layer"] == "a"]["method"]) == METHODS
    b = errors[errors["layer"] == "b"].set_index("method")
    assert list(b.index) == [m for m in METHODS if m not in ("gn:4", "running")]
    assert b.loc["gn:2", "groups"] == 2
    assert b.loc["bn@4", "batch"] == 4
    assert b.loc["bn@4", "groups"] == 6
    assert errors["batch"].isna().sum() == 1


def test_a_layers_value_is_the_weighted_mean_of_its_channels(moments: Moments) -> None:
    population = Population.of(moments["a"])
    terms = decompose(population, sample_of(population, "ln", Resamples(20)))
    for weights, expected in (
        ("gamma", np.average(terms.error, weights=np.array([1.0, 4.0, 0.25, 1.0]))),
        ("uniform", terms.error.mean()),
    ):
        row = ns.analyze(moments, ["ln"], weights=weights).errors().iloc[0]
        assert row["error"] == pytest.approx(expected, rel=1e-12)
        assert row["error_median"] == pytest.approx(np.median(terms.error))
        assert row["error_standard_error"] == 0
        assert row["weights"] == weights


def test_channels_hold_the_ideal_statistics(study: ns.Study) -> None:
    channels = study.channels()
    pixels = make_pixels(20, 4, seed=1)
    a = channels[channels["layer"] == "a"]
    np.testing.assert_allclose(a["variance"], pixels.var(axis=(0, 2, 3)))
    np.testing.assert_allclose(a["gamma"], [1.0, 2.0, 0.5, 1.0])
    assert channels[channels["layer"] == "b"]["gamma"].isna().all()
    assert channels["alive"].all()


def test_crossovers_lie_on_batch_norms_curve(study: ns.Study) -> None:
    crossovers = study.crossovers()
    assert set(crossovers["quantity"]) == {"error", "residual"}
    same = crossovers[crossovers["method"] == "in"]
    np.testing.assert_allclose(same["batch_number"], 1.0)
    running = crossovers[
        (crossovers["method"] == "running") & (crossovers["quantity"] == "residual")
    ]
    assert list(running["batch"]) == [">4"]
    errors = study.errors().set_index(["layer", "method"])["residual"]
    row = crossovers.set_index(["layer", "method", "quantity"]).loc[("b", "gn:2", "residual")]
    below, above = (errors["b", "bn@2"], errors["b", "bn@4"])
    if 2 < row["batch_number"] < 4:
        assert above < errors["b", "gn:2"] < below


def test_what_a_layer_cannot_have_is_said_once(study: ns.Study) -> None:
    assert study.notes == (
        "gn:4 is left out of b: 4 groups do not divide the layer's channels.",
        "running is left out of b: no statistics are stored.",
    )


def test_left_out_layers_are_in_the_notes(moments: Moments) -> None:
    study = ns.analyze(replace(moments, left_out={"c": "NaN in 3 of 20 images"}), ["ln"])
    assert study.notes == ("c is left out: NaN in 3 of 20 images",)


def test_methods_that_no_layer_can_have_are_an_error(moments: Moments) -> None:
    with pytest.raises(MethodError, match="gn:5 is left out of every layer"):
        ns.analyze(moments, ["gn:5"])


def test_unknown_weights_are_an_error(moments: Moments) -> None:
    with pytest.raises(SettingError, match="loud"):
        ns.analyze(moments, ["ln"], weights="loud")  # type: ignore[arg-type]


def test_one_position_has_no_instance_norm() -> None:
    flat = LayerMoments(
        np.random.default_rng(0).normal(size=(30, 4)), np.zeros((30, 4)), spatial=(1, 1)
    )
    study = ns.analyze(Moments({"head": flat}), ["bn@1", "bn@2", "bn@8", "in", "ln"])
    errors = study.errors().set_index("method")["error"]
    assert errors[["in", "bn@1"]].isna().all()
    assert errors[["bn@2", "bn@8", "ln"]].notna().all()
    assert "in has no value in head: one position has no variance." in study.notes
    batches = study.crossovers().set_index(["method", "quantity"])["batch"]
    assert batches["in", "error"] == ""


def test_a_saved_study_comes_back_whole(study: ns.Study, tmp_path: Path) -> None:
    study.save(tmp_path / "runs" / "one")
    again = ns.open_study(tmp_path / "runs" / "one")
    for table in ("errors", "layers", "channels", "crossovers"):
        pd.testing.assert_frame_equal(getattr(study, table)(), getattr(again, table)())
    assert again.findings == study.findings
    assert again.notes == study.notes
    assert again.settings == study.settings
    np.testing.assert_array_equal(again.moments["a"].mean, study.moments["a"].mean)
    assert repr(again) == repr(study)


def test_equal_input_gives_equal_bytes(moments: Moments, tmp_path: Path) -> None:
    for name in ("one", "two"):
        ns.analyze(moments, METHODS).save(tmp_path / name)
    files = [path for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) == 8
    for path in files:
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes(), path.name


def test_a_run_is_replaced_only_by_force(study: ns.Study, moments: Moments, tmp_path: Path) -> None:
    study.save(tmp_path / "run")
    (tmp_path / "run" / "my notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="already holds a run"):
        study.save(tmp_path / "run")
    ns.analyze(moments, ["ln"]).save(tmp_path / "run", force=True)
    assert set(ns.open_study(tmp_path / "run").errors()["method"]) == {"ln"}
    assert (tmp_path / "run" / "my notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_that_is_no_run_is_never_touched(study: ns.Study, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "errors.csv").write_text("mine")
    with pytest.raises(RunFolderError, match="not a run"):
        study.save(tmp_path / "thesis", force=True)
    assert (tmp_path / "thesis" / "errors.csv").read_text() == "mine"
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError):
        study.save(tmp_path / "file" / "run")


@pytest.mark.parametrize("damage", ["json", "table", "schema", "missing"])
def test_damaged_runs_are_named(study: ns.Study, tmp_path: Path, damage: str) -> None:
    folder = study.save(tmp_path / "run")
    about = folder / "study.json"
    if damage == "json":
        about.write_text("{")
    elif damage == "table":
        (folder / "errors.csv").write_text("layer\n")
    elif damage == "schema":
        about.write_text(about.read_text().replace('"schema": 1', '"schema": 9'))
    else:
        about.unlink()
    with pytest.raises(RunFolderError) as caught:
        ns.open_study(folder)
    assert caught.value.hint


def test_further_parts_are_computed_when_asked_for_and_kept(
    moments: Moments, tmp_path: Path
) -> None:
    labels = np.arange(20) % 3
    study = ns.analyze(replace(moments, labels=labels, classes=("x", "y", "z")), METHODS)
    assert study.parts == {}
    assert study.askable() == ("grouping", "plane", "mixing", "composition")
    assert set(study.grouping()["groups"]) == {2}  # the study's own GroupNorm
    tests = study.grouping([2])
    assert list(tests["layer"]) == ["a", "b"]
    assert study.grouping() is not tests
    pd.testing.assert_frame_equal(study.grouping(), tests)  # as it was asked, not the default
    assert set(study.orders()) == {("a", 2), ("b", 2)}
    assert {"index", "best"} < set(study.arrangements()["arrangement"])
    study.plane([1, 2])
    study.mixing("running,ln", [2])
    study.composition([4])
    assert set(study.classes()["layer"]) == {"a", "b"}

    study.save(tmp_path / "run")
    again = ns.open_study(tmp_path / "run")
    assert list(again.parts) == ["grouping", "plane", "mixing", "composition"]
    for name, table in study.frames().items():
        pd.testing.assert_frame_equal(again.frames()[name], table, check_dtype=False)
    assert again.plane(batches=[1, 2]) is not None
    assert again.findings == study.findings
    assert set(again.plane([4])["batch"]) == {4}

    ns.analyze(moments, METHODS).save(tmp_path / "run", force=True)
    assert not (tmp_path / "run" / "plane.csv").exists()  # it was of other moments


def test_a_part_is_added_to_a_run_without_its_moments(moments: Moments, tmp_path: Path) -> None:
    ns.analyze(moments, METHODS).save(tmp_path / "run")
    part = tmp_path / "run" / "moments" / "part-00000.safetensors"
    before = part.stat().st_mtime_ns
    study = ns.open_study(tmp_path / "run")
    study.plane([1, 2])
    study.save(tmp_path / "run", force=True)
    assert part.stat().st_mtime_ns == before
    assert set(ns.open_study(tmp_path / "run").parts) == {"plane"}


def test_study_json_has_every_number_but_those_of_channels(
    moments: Moments, tmp_path: Path
) -> None:
    study = ns.analyze(moments, METHODS)
    study.grouping([2])
    content = json.loads((study.save(tmp_path / "run") / "study.json").read_text())
    for name, table in study.frames().items():
        if name in ("channels", "orders"):
            assert name not in content
            continue
        assert len(content[name]) == len(table)
        assert list(content[name][0]) == list(table.columns)
        for column in table.select_dtypes("float"):
            for row, value in zip(content[name], table[column], strict=True):
                assert row[column] == (value if np.isfinite(value) else None)


def test_findings_say_what_the_tables_say(moments: Moments) -> None:
    study = ns.analyze(moments, ["bn@2", "bn@8", "in", "gn:2", "ln"])
    found = {finding.claim: finding for finding in study.findings}
    assert len(found) == len(study.findings) <= 8
    weights = [finding.weight for finding in study.findings]
    assert weights == sorted(weights, reverse=True)
    errors = study.errors()
    for claim, method in (("batch noise", "bn@2"), ("unlike channels", "ln")):
        finding = found[claim]
        rows = errors[errors["method"] == method].sort_values("error")
        median = rows.iloc[(len(rows) - 1) // 2]
        assert finding.value == median["error"]
        assert (finding.low, finding.high) == (median["error_low"], median["error_high"])
        assert f"{median['error']:.2g} ({median['error_low']:.2g} to" in finding.text
        assert median["layer"] in finding.rule
    assert {"overtaking, error", "overtaking, residual", "group norm between"} < set(found)
    assert "effective samples" in {f.claim for f in ns.analyze(moments, ["in"]).findings}


def test_findings_tell_of_index_groups_either_way(moments: Moments) -> None:
    study = ns.analyze(moments, METHODS)
    tests = study.grouping([2])
    for p, words in ((0.5, "are not more alike"), (0.001, "are more alike than by chance")):
        part = study.parts["grouping"]
        study.parts["grouping"] = replace(
            part, tables={**part.tables, "grouping": tests.assign(q_value=p)}
        )
        (finding,) = (f for f in study.findings if f.claim == "index groups")
        assert words in finding.text


def test_a_study_shows_itself_in_a_notebook(moments: Moments) -> None:
    hostile = Moments({"<script>alert(1)</script>": moments["a"]})
    study = ns.analyze(hostile, ["bn@2", "bn@4", "ln"])
    html = study._repr_html_()
    assert "Study(1 layers" in html
    assert "<script>" not in html
