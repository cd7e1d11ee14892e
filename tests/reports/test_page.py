"""The page as a file: what is in it, what is not, how large it is, and how it is read back."""

import base64
import bz2
import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from helpers.pages import (
    HOSTILE,
    HOSTILE_QUOTED,
    MANY_METHODS,
    Outline,
    make_large_study,
    make_study,
)

import normstats as ns
from normstats.errors import RunFolderError
from normstats_reports.page import read_page, render, write_page, write_report
from normstats_reports.page_figures_layers import chosen_layers, of_layers
from normstats_reports.page_figures_overall import overall
from normstats_reports.page_parts import sections
from normstats_reports.terminal import compact


@pytest.fixture(scope="module")
def study() -> ns.Study:
    return make_study()


@pytest.fixture(scope="module")
def page(study: ns.Study) -> str:
    return render(study)


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    return Outline(page)


def test_findings_come_first_each_with_its_rule(study: ns.Study, outline: Outline) -> None:
    places = [outline.text.index(finding.text) for finding in study.findings]
    assert places == sorted(places)
    assert places[-1] < outline.text.index("Headline numbers of each layer")
    for finding in study.findings:
        assert f"Rule: {finding.rule}." in outline.text


def rows_of(table: str) -> list[list[str]]:
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)(?=<tr>|</tbody>)", table, re.DOTALL)
    plain = (re.sub(r"<i>.*?</i>", "", row) for row in rows)
    return [[re.sub(r"<[^>]*>", "", cell).strip() for cell in row.split("<td")] for row in plain]


def test_the_table_of_layers_has_their_numbers(study: ns.Study, page: str) -> None:
    table = page.partition('<table id="summary">')[2].partition("</table>")[0]
    rows = rows_of(table)
    assert [row[0] for row in rows] == list(study.layers()["layer"])
    alive = study.channels().groupby("layer", sort=False)["alive"].sum()
    assert [row[2].partition(">")[2] for row in rows] == [str(count) for count in alive]
    errors = study.errors().set_index(["layer", "method"])["error"]
    titles = re.findall(r'<th scope="col" class="number"[^>]*>(.*?)</th>', table)
    column = titles.index("bn@8") + 1
    assert [row[column].partition(">")[2] for row in rows] == [
        compact(errors[row[0], "bn@8"]) for row in rows
    ]


def test_every_layer_has_a_table_of_all_methods_under_its_own_link(
    study: ns.Study, page: str, outline: Outline
) -> None:
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] for a in outline.all("a") if (a["href"] or "").startswith("#")]
    assert {link[1:] for link in links if link} <= set(ids)
    for layer, errors in study.errors().groupby("layer"):
        assert f"layer-{layer}" in ids
        table = page.partition(f'id="layer-{layer}">')[2].partition("<table>")[2]
        table = table.partition("</table>")[0]
        rows = rows_of(table)
        assert [row[0] for row in rows] == list(errors["method"])
        assert [row[1].lstrip(">") for row in rows] == [compact(v) for v in errors["error"]]
        assert [row[3].lstrip(">") for row in rows] == [compact(v) for v in errors["mean_bias_sq"]]
        low, high = errors[["error_low", "error_high"]].iloc[0]
        assert f"<i>{compact(low)}–{compact(high)}</i>" in table


def test_tables_and_figures_are_named_for_everyone(outline: Outline) -> None:
    assert len(outline.all("caption")) == len(outline.all("table"))
    assert {head["scope"] for head in outline.all("th")} == {"row", "col"}
    drawings = [div for div in outline.all("div") if div.get("role") == "img"]
    assert len(drawings) == len(outline.all("svg")) == len(outline.all("figure")) > 0
    captions = {caption["id"] for caption in outline.all("figcaption")}
    assert {drawing["aria-labelledby"] for drawing in drawings} == captions


def test_nothing_is_asked_of_anyone(outline: Outline) -> None:
    for tag, attributes in outline.elements:
        for key in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            value = attributes.get(key) or "#"
            assert value.startswith(("#", "data:")), (tag, value[:80])
    assert not [tag for tag in ("link", "iframe", "object", "base") if outline.all(tag)]
    policy = next(m["content"] for m in outline.all("meta") if "http-equiv" in m)
    assert policy is not None
    assert policy.startswith("default-src 'none';")


@pytest.fixture(scope="module")
def run(study: ns.Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study.save(tmp_path_factory.mktemp("page") / "RUN")


@pytest.fixture(scope="module")
def written(page: str, run: Path) -> Path:
    file = run / "report.html"
    file.write_text(page, encoding="utf-8", newline="\n")
    return file


def test_the_same_study_gives_the_same_bytes(run: Path, written: Path) -> None:
    before = written.read_bytes()
    assert write_report(ns.open_study(run), run) == written
    assert written.read_bytes() == before


def test_the_results_are_read_back(study: ns.Study, written: Path) -> None:
    read = read_page(written)
    assert [str(finding) for finding in read.findings] == [str(f) for f in study.findings]
    assert read.notes == study.notes
    assert (read.settings, read.provenance) == (study.settings, study.provenance)
    frames = read.frames()
    assert list(frames) == list(study.frames())
    for name, table in study.frames().items():
        digits = {"rtol": 1e-3, "atol": 1e-3} if name == "channels" else {"rtol": 1e-4}
        pd.testing.assert_frame_equal(frames[name], table, check_dtype=False, **digits)
    assert np.isinf(study.crossovers()["batch_number"]).any()


def test_what_needs_the_moments_says_that_a_page_has_none(written: Path) -> None:
    read = read_page(written)
    for ask in (lambda: read.composition([4]), lambda: read.plane([4]), lambda: read.moments):
        with pytest.raises(RunFolderError) as caught:
            ask()
        assert str(written) in caught.value.message
        assert caught.value.hint


def with_results(page: str, files: object) -> str:
    packed = bz2.compress(json.dumps(files).encode())
    content = json.dumps({"bz2": base64.b64encode(packed).decode()})
    return re.sub(r'(id="results">).*?(</script>)', rf"\g<1>{content}\g<2>", page)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda page: "<p>nothing</p>", "is not a page of normstats"),
        (lambda page: page[: page.index('id="results">') + 4000], "are damaged"),
        (lambda page: page.replace('{"bz2": "', '{"bz2": "!'), "are damaged"),
        (lambda page: page.replace('{"bz2": "', '{"zip": "'), "are damaged"),
        (lambda page: page.replace('{"bz2": "', '{"": "", "bz2": "'), "are damaged"),
        (lambda page: with_results(page, []), "are damaged"),
        (lambda page: with_results(page, {"study.json": "{}", "channels.json": "{}"}), "damaged"),
        (lambda page: with_results(page, {"../evil.csv": "x"}), "called '../evil.csv'"),
    ],
    ids=["no page", "cut off", "not base64", "unknown", "two", "empty", "no tables", "a path"],
)
def test_damaged_pages(page: str, tmp_path: Path, harm: Callable[[str], str], words: str) -> None:
    file = tmp_path / "report.html"
    file.write_text(harm(page), encoding="utf-8")
    with pytest.raises(RunFolderError) as caught:
        read_page(file)
    assert words in caught.value.message
    assert str(file) in caught.value.message
    assert list(tmp_path.parent.glob("**/evil.csv")) == []


def test_results_that_unpack_without_end(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from normstats_reports import page_results

    monkeypatch.setattr(page_results, "_MOST_BYTES", 2**20)
    file = tmp_path / "report.html"
    file.write_text(with_results(page, {"study.json": "0" * 2**21}), encoding="utf-8")
    with pytest.raises(RunFolderError, match="larger than any study"):
        read_page(file)


def test_names_that_others_chose_are_text() -> None:
    names = (HOSTILE, HOSTILE_QUOTED, f"{HOSTILE}.{HOSTILE_QUOTED}", "plain")
    page = render(make_study(names))
    outline = Outline(page)
    assert outline.all("img") == []
    assert [set(script) - {"type"} for script in outline.all("script")] == [{"id"}, set()]
    assert not [a for _, a in outline.elements if any(key.startswith("on") for key in a)]
    headings = outline.text.partition("Each layer What is this?")[2]
    for name in names:
        assert name in headings
    assert f"/{HOSTILE}.th" in outline.text
    assert f"{HOSTILE}.left is left out" in outline.text


def test_what_was_not_asked_is_left_out_and_how_to_ask_is_said(study: ns.Study) -> None:
    outline = Outline(render(ns.analyze(study.moments, ["bn@2", "ln"], draws=16)))
    ids = {figure["id"] for figure in outline.all("figure")}
    absent = {"grouping", "arrangements", "damage-error", "composition", "mixing", "plane-stem"}
    assert not {f"figure-{name}" for name in absent} & ids
    assert "figure-heat-map" in ids
    for part in ("grouping", "plane", "composition", "mixing", "validate"):
        assert f"not in this run; normstats {part} RUN asks for it." in outline.text


def test_every_layer_is_drawn_and_three_have_more(study: ns.Study, page: str) -> None:
    errors = study.errors()
    ranked = errors[errors["method"] == "bn@2"].sort_values("error")["layer"].to_list()
    chosen, said = chosen_layers(study)
    assert chosen == [ranked[3], ranked[1], ranked[0]]
    assert all(layer in said for layer in chosen)
    for layer in ranked:
        own = page.partition(f'id="layer-{layer}">')[2].partition('<details class="layer"')[0]
        assert f'id="figure-tradeoff-{layer}"' in own
        assert f'id="figure-batch-curve-{layer}"' in own
        assert (f'id="figure-channel-map-{layer}"' in own) == (layer in chosen)
        assert (f'id="figure-plane-{layer}"' in page) == (layer in chosen)


def data_of(link: str) -> pd.DataFrame:
    head, _, text = link.partition(",")
    assert head == "data:text/csv;charset=utf-8"
    return pd.read_csv(io.StringIO(unquote(text)))


def test_the_data_of_a_figure_are_those_of_the_study(study: ns.Study) -> None:
    shown = {figure.key: figure for figure in overall(study)}
    table = data_of(shown["heat-map"].data).set_index("layer")
    for row in study.errors().itertuples():
        assert table.loc[row.layer, row.method] == pytest.approx(row.error, rel=1e-3)


def test_the_data_of_a_layer_are_those_of_the_study(study: ns.Study) -> None:
    drawn_of = of_layers(study)
    for layer, rows in study.errors().groupby("layer"):
        drawn = drawn_of[f"layer-{layer}"]
        table = data_of(drawn.data)
        assert table["method"].to_list() == rows["method"].to_list()
        for column in ("error", "error_low", "error_high"):
            np.testing.assert_allclose(table[column], rows[column], rtol=1e-3, atol=1e-12)
        np.testing.assert_allclose(table["bias_sq"] + table["variance"], rows["error"], rtol=2e-3)


@pytest.mark.slow
def test_the_code_of_a_figure_draws_it(
    study: ns.Study, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = of_layers(study)[f"layer-{chosen_layers(study)[0][0]}"]
    parts = [shown for section in sections(study) for shown in section.figures]
    alone = [*overall(study), *parts, *chosen.more]
    drawn = [(figure.code, [figure.name]) for figure in alone]
    drawn.append((chosen.code, [figure.name for figure in chosen.small]))
    code = "\n".join(lines for lines, _ in drawn).replace('"RUN"', repr(str(run)))
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    for name in (name for _, names in drawn for name in names):
        assert "<svg" in (tmp_path / f"{name}.svg").read_text(encoding="utf-8")


def test_only_a_page_is_replaced(study: ns.Study, tmp_path: Path) -> None:
    precious = tmp_path / "weights.pth"
    precious.write_bytes(b"\xff\x00precious")
    with pytest.raises(RunFolderError, match="is not a page of normstats"):
        write_page(study, precious)
    assert precious.read_bytes() == b"\xff\x00precious"
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pth"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layers", "channels", "most"), [(53, 26_560, 2e6), (161, 110_000, 4e6)], ids=["50", "161"]
)
def test_pages_of_large_networks_are_small(layers: int, channels: int, most: float) -> None:
    large = make_large_study(make_study(methods=MANY_METHODS), layers, channels)
    begun = time.process_time()
    size = len(render(large).encode())
    taken = time.process_time() - begun
    assert size < most
    if layers == 53:
        assert taken < 15
