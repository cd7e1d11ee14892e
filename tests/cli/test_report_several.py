"""``normstats report RUN1 RUN2 ...`` through the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.comparisons import make_layers, make_run
from helpers.refusals import assert_refused


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("several")
    methods = ["bn@2", "bn@8", "ln"]
    far = make_layers(shift=1.0)
    return [
        make_run(methods=methods).save(place / "one"),
        make_run(far, methods=methods, checkpoint="b" * 64).save(place / "two"),
        make_run(far, methods=methods, images="2" * 64).save(place / "three"),
    ]


def test_several_runs_become_one_page_here(
    normstats: Callable[..., Any],
    runs: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = normstats("report", *runs)
    assert (outcome.status, outcome.out) == (0, "")
    assert "comparison.html" in outcome.err
    assert "Checkpoints of one training: one, two, three" in Path("comparison.html").read_text()
    assert [file.name for file in tmp_path.iterdir()] == ["comparison.html"]


def test_elsewhere_quietly_and_from_pages(
    normstats: Callable[..., Any], runs: list[Path], tmp_path: Path
) -> None:
    file = tmp_path / "pages" / "domains.html"
    for run in (runs[0], runs[2]):
        assert normstats("report", run, "--quiet").status == 0
    pages = [run / "report.html" for run in (runs[0], runs[2])]
    outcome = normstats("report", *pages, "--out", file, "--quiet")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    text = file.read_text(encoding="utf-8")
    assert "Image sets of one model: one, three" in text
    assert "This needs the captured moments" in text
    assert normstats("report", runs[0], runs[2], "--out", file, "--quiet").status == 0
    assert "figure-shift-1" in file.read_text(encoding="utf-8")


def test_refusals(normstats: Callable[..., Any], runs: list[Path], tmp_path: Path) -> None:
    out = ("--out", tmp_path / "page.html")
    assert_refused(normstats("report", runs[0], tmp_path / "none", *out), "does not exist")
    assert_refused(normstats("report", runs[0], runs[1], runs[0], *out), "is given twice")
    mine = tmp_path / "mine.html"
    mine.write_text("<p>mine</p>", encoding="utf-8")
    assert_refused(normstats("report", runs[0], mine, *out), "is not a page of normstats")
    refused = normstats("report", runs[0], runs[1], "--out", mine)
    assert_refused(refused, "is not a page of normstats")
    assert mine.read_text(encoding="utf-8") == "<p>mine</p>"
    assert not out[1].exists()
    assert normstats("report", runs[0], runs[1], *out).status == 0
    assert_refused(normstats("report", out[1], runs[1]), "the page of several runs")
    assert_refused(normstats("show", out[1]), "the page of several runs")
