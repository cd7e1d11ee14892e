"""The page of several runs as a file: what is in it, and what is not."""

import io
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from helpers.comparisons import (
    make_domains,
    make_epochs,
    make_hostile,
    make_layers,
    make_models,
    make_run,
)
from helpers.pages import HOSTILE, HOSTILE_QUOTED, Outline

import normstats as ns
from normstats.errors import RunFolderError
from normstats_reports import comparison_figures
from normstats_reports.comparison_page import render, write_comparison
from normstats_reports.page import read_page, write_page

MAKE = {"checkpoints": make_epochs, "image sets": make_domains, "models": make_models}
NO_SHIFT = "This needs runs of the same checkpoint on other images"


@pytest.fixture(scope="module", params=list(MAKE))
def comparison(request: pytest.FixtureRequest) -> ns.Comparison:
    found: ns.Comparison = MAKE[request.param]()
    assert found.kind == request.param
    return found


@pytest.fixture(scope="module")
def page(comparison: ns.Comparison) -> str:
    return render(comparison)


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    return Outline(page)


def test_findings_come_first_each_with_its_rule(
    comparison: ns.Comparison, outline: Outline
) -> None:
    places = [outline.text.index(finding.text) for finding in comparison.findings]
    assert places == sorted(places)
    assert places[-1] < outline.text.index("What is compared")
    for finding in comparison.findings:
        assert f"Rule: {finding.rule}." in outline.text


def test_what_cannot_be_said_is_said(comparison: ns.Comparison, outline: Outline) -> None:
    silent = {
        "checkpoints": (False, True),
        "image sets": (False, False),
        "models": (True, True),
    }
    no_drift, no_shift = silent[comparison.kind]
    assert ("the layers of the models do not correspond" in outline.text) == no_drift
    assert (NO_SHIFT in outline.text) == no_shift
    figures = {figure["id"] for figure in outline.all("figure")}
    assert ("figure-drift" in figures) == (not no_drift)
    assert ("figure-drift-steps" in figures) == (comparison.kind == "checkpoints")
    assert ("figure-shift-1" in figures) == (not no_shift)
    assert "figure-side-crossovers" in figures
    for note in comparison.notes:
        assert " ".join(note.split()) in outline.text


def test_tables_and_figures_are_named_for_everyone(outline: Outline) -> None:
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] for a in outline.all("a") if (a["href"] or "").startswith("#")]
    assert {link[1:] for link in links if link} <= set(ids)
    assert len(outline.all("caption")) == len(outline.all("table"))
    assert {head["scope"] for head in outline.all("th")} <= {"row", "col", "colgroup"}
    drawings = [div for div in outline.all("div") if div.get("role") == "img"]
    assert len(drawings) == len(outline.all("svg")) == len(outline.all("figure")) > 0


def test_nothing_is_asked_of_anyone(outline: Outline) -> None:
    for tag, attributes in outline.elements:
        for key in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            value = attributes.get(key) or "#"
            assert value.startswith(("#", "data:")), (tag, value[:80])
    assert not [tag for tag in ("link", "iframe", "object", "base") if outline.all(tag)]


def rows_of(link: str) -> pd.DataFrame:
    head, _, text = link.partition(",")
    assert head == "data:text/csv;charset=utf-8"
    return pd.read_csv(io.StringIO(unquote(text)))


def test_the_data_are_those_of_the_comparison(outline: Outline, comparison: ns.Comparison) -> None:
    links = {str(a["download"]): str(a["href"]) for a in outline.all("a") if "download" in a}
    tables = {"summary": comparison.drift(), "shift-table": comparison.shift()}
    tables["sides-table"] = comparison.sides()
    for name, table in tables.items():
        assert (f"{name}.csv" in links) == (len(table) > 0)
        if len(table):
            found = rows_of(links[f"{name}.csv"]).reset_index(drop=True)
            numbers = table.select_dtypes("number").columns
            pd.testing.assert_frame_equal(
                found[numbers], table[numbers], rtol=1e-4, atol=1e-12, check_dtype=False
            )


def test_the_same_runs_give_the_same_bytes(comparison: ns.Comparison, page: str) -> None:
    again: ns.Comparison = MAKE[comparison.kind]()
    assert render(again) == page


def test_the_code_of_a_figure_draws_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = make_domains()
    for place, study in enumerate(comparison.studies.values(), start=1):
        study.save(tmp_path / f"RUN{place}")
    monkeypatch.chdir(tmp_path)
    figures = [*comparison_figures.shift(comparison), *comparison_figures.sides(comparison)][:2]
    for figure in figures:
        exec(figure.code, {})
        assert "<svg" in (tmp_path / f"{figure.name}.svg").read_text(encoding="utf-8")


def test_names_that_others_chose_are_text() -> None:
    comparison = make_hostile()
    outline = Outline(render(comparison))
    assert outline.all("img") == []
    assert [set(script) for script in outline.all("script")] == [set()]
    assert not [a for _, a in outline.elements if any(key.startswith("on") for key in a)]
    for name in (HOSTILE, HOSTILE_QUOTED, "layer-../#x"):
        assert name in outline.text
    titles = [a for _, a in outline.elements if HOSTILE_QUOTED in (a.get("title") or "")]
    assert titles


def test_a_run_of_other_weights_is_told() -> None:
    runs = {
        "one": make_run(weights="uniform"),
        "two": make_run(make_layers(shift=1.0), checkpoint="b" * 64),
    }
    assert "The runs weigh channels differently" in Outline(render(ns.compare(runs))).text


def test_only_a_page_is_replaced_and_none_is_read_as_a_run(tmp_path: Path) -> None:
    comparison = make_models()
    precious = tmp_path / "weights.pth"
    precious.write_bytes(b"\xff\x00precious")
    with pytest.raises(RunFolderError, match="is not a page of normstats"):
        comparison.to_html(precious)
    assert precious.read_bytes() == b"\xff\x00precious"
    file = write_comparison(comparison, tmp_path / "comparison.html")
    before = file.read_bytes()
    assert comparison.to_html(file) == file
    assert file.read_bytes() == before
    with pytest.raises(RunFolderError, match="the page of several runs"):
        read_page(file)
    write_page(make_run(methods=["bn@2"]), file)
    assert len(read_page(file).layers()) == 4
