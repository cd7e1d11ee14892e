"""The page's further questions: what is said, drawn and tabled of each part of a study."""

import io
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from helpers.pages import Outline, make_study, validated

import normstats as ns
from normstats.plane import best_at
from normstats_reports.page import render
from normstats_reports.page_help import HELP
from normstats_reports.page_part_tables import PartTable
from normstats_reports.page_parts import Section, sections, unasked
from normstats_reports.terminal import compact


@pytest.fixture(scope="module")
def study() -> ns.Study:
    return validated(make_study())


@pytest.fixture(scope="module")
def parts(study: ns.Study) -> dict[str, Section]:
    return {section.key: section for section in sections(study)}


def cells(table: PartTable) -> dict[str, list[str]]:
    return {name: [cell.text for cell in row] for name, row in table.rows}


def test_every_part_has_figures_tables_and_help(parts: dict[str, Section]) -> None:
    assert list(parts) == ["grouping", "plane", "composition", "mixing", "validation"]
    for key, part in parts.items():
        assert part.figures
        assert part.tables
        assert HELP[key].formulas
        assert all(shown.key == key or shown.key in HELP for shown in part.figures)
        for table in part.tables:
            assert {len(row) + 1 for _, row in table.rows} == {len(table.titles)}


def test_they_are_in_the_page_under_their_own_links(
    study: ns.Study, parts: dict[str, Section]
) -> None:
    outline = Outline(render(study))
    ids = {attributes["id"] for _, attributes in outline.elements if "id" in attributes}
    assert set(parts) <= ids
    assert unasked(study) == []
    assert "not in this run" not in outline.text
    for part in parts.values():
        assert {f"figure-{shown.name}" for shown in part.figures} <= ids
        for table in part.tables:
            assert table.caption in outline.text


def test_grouping_says_what_the_best_groups_save(
    study: ns.Study, parts: dict[str, Section]
) -> None:
    costs, tests = parts["grouping"].tables
    arrangements = study.arrangements()
    for name, row in ((cells[0].text, cells) for _, cells in costs.rows):
        rows = arrangements[arrangements["arrangement"] == name]
        assert [cell.text for cell in row[1:4]] == [
            compact(rows[column].median()) for column in ("bias_sq", "error", "residual")
        ]
    saved = study.grouping().set_index("layer")["error_saved"]
    assert {layer: row[-2] for layer, row in cells(tests).items()} == {
        layer: f"{share:.0%}" for layer, share in saved.items()
    }
    finding = parts["grouping"].figures[1].finding
    best = arrangements.pivot_table("bias_sq", "layer", "arrangement")
    assert f"{(best['best'] / best['index']).median():.0%} of the bias²" in finding


def test_plane_has_the_best_cell_of_each_layer(study: ns.Study, parts: dict[str, Section]) -> None:
    over_layers, by_layer = parts["plane"].tables
    assert list(cells(over_layers)) == ["1", "2", "8"]
    best = best_at(study.plane(), 8).query("quantity == 'error'")
    assert cells(over_layers)["8"][1] == compact(best["error"].median())
    place = by_layer.titles.index("error, B = 8") - 1
    for row in best.itertuples():
        assert cells(by_layer)[row.layer][place] == f"{row.batch} × {row.group_channels}"


def test_composition_has_ratios_and_floors(study: ns.Study, parts: dict[str, Section]) -> None:
    over_layers, by_layer = parts["composition"].tables
    table, classes = study.composition(), study.classes().set_index("layer")
    medians = table.groupby(["composition", "batch"])["error_relative_to_iid"].median()
    found = {(name, row[0].text): row[2].text for name, row in over_layers.rows}
    assert found == {(n, str(b)): compact(value) for (n, b), value in medians.items()}
    assert {layer: row[3] for layer, row in cells(by_layer).items()} == {
        layer: compact(floor) for layer, floor in classes["floor"].items()
    }


def test_mixing_has_shares_and_savings(study: ns.Study, parts: dict[str, Section]) -> None:
    over_layers, by_layer = parts["mixing"].tables
    table = study.mixing()
    assert {name for name, _ in over_layers.rows} == {"running", "gn:2"}
    at_8 = table[(table["batch"] == 8) & (table["other"] == "gn:2")].set_index("layer")
    place = by_layer.titles.index("error with gn:2") - 1
    for layer, row in cells(by_layer).items():
        assert row[place] == compact(at_8.loc[layer, "error"])
        assert row[place + 1] == f"{at_8.loc[layer, 'saving']:.0%}"


def test_validation_has_means_and_correlations(study: ns.Study, parts: dict[str, Section]) -> None:
    (means,) = parts["validation"].tables
    assert "accuracy" in means.titles
    assert means.titles.count("accuracy") == 1  # the re-fitted one was not measured
    kl = study.validation().groupby("method")["kl"].mean()
    assert {method: row[1] for method, row in cells(means).items()} == {
        method: compact(value) for method, value in kl.items()
    }
    error, residual = (shown.finding for shown in parts["validation"].figures)
    assert "0.96" in error
    assert "0.88" in error
    assert "0.91" in residual
    assert "at once" not in residual
    assert "90.0%" in parts["validation"].sentence


@pytest.mark.parametrize("within", [None, np.nan])
def test_too_few_methods_for_a_correlation_are_told(study: ns.Study, within: float) -> None:
    about = study.parts["validation"].about
    correlations = {**about["correlations"], "error_within_layers": within}
    part = ns.study.Part(
        {}, study.parts["validation"].tables, {**about, "correlations": correlations}
    )
    study.parts["validation"], kept = part, study.parts["validation"]
    try:
        shown = [section for section in sections(study) if section.key == "validation"]
    finally:
        study.parts["validation"] = kept
    assert "cannot be told" in shown[0].figures[0].finding


@pytest.mark.parametrize(
    ("name", "column", "drawn"),
    [
        ("arrangements", "best residual", lambda study: _ratio(study)),
        ("composition", "single-class error", lambda study: _single_class(study)),
        ("mixing", "gn:2 error", lambda study: _mixed(study)),
    ],
)
def test_the_data_of_a_figure_are_what_it_draws(
    study: ns.Study, parts: dict[str, Section], name: str, column: str, drawn
) -> None:
    shown = next(s for part in parts.values() for s in part.figures if s.name == name)
    table = pd.read_csv(io.StringIO(unquote(shown.data.partition(",")[2]))).set_index("layer")
    expected = drawn(study)
    np.testing.assert_allclose(table[column].loc[expected.index], expected, rtol=1e-3)


def _ratio(study: ns.Study) -> pd.Series:
    wide = study.arrangements().pivot_table("residual", "layer", "arrangement")
    return wide["best"] / wide["index"]


def _single_class(study: ns.Study) -> pd.Series:
    rows = study.composition().query("composition == 'single-class' and batch == 8")
    return rows.set_index("layer")["error"]


def _mixed(study: ns.Study) -> pd.Series:
    return study.mixing().query("other == 'gn:2' and batch == 8").set_index("layer")["error"]
