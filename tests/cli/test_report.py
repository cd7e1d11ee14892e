"""``normstats report`` and ``show`` of what it wrote, through the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.pages import make_study
from helpers.refusals import assert_refused


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study().save(tmp_path_factory.mktemp("report") / "run")


def test_a_page_is_written_into_the_run_and_shown_as_the_run_is(
    normstats: Callable[..., Any], run: Path
) -> None:
    outcome = normstats("report", run)
    assert (outcome.status, outcome.out) == (0, "")
    page = run / "report.html"
    assert str(page) in outcome.err.replace("\n", "")
    assert normstats("show", page).out == normstats("show", run).out
    of_layer = normstats("show", page, "--layer", "body.*")
    assert of_layer.status == 0
    assert of_layer.out == normstats("show", run, "--layer", "body.*").out
    content = json.loads(normstats("show", page, "--json").out)
    assert set(content) == set(json.loads(normstats("show", run, "--json").out))


def test_a_page_is_written_elsewhere(
    normstats: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    page = tmp_path / "pages" / "mine.html"
    outcome = normstats("report", run, "--out", page, "--quiet")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_refusals(normstats: Callable[..., Any], run: Path, tmp_path: Path) -> None:
    assert_refused(normstats("report", tmp_path / "none"), "does not exist")
    other = tmp_path / "notes.html"
    other.write_text("<p>mine</p>", encoding="utf-8")
    assert_refused(normstats("report", run, "--out", other), "is not a page of normstats")
    assert other.read_text(encoding="utf-8") == "<p>mine</p>"
    assert_refused(normstats("show", other), "is not a page of normstats")
    assert_refused(normstats("report", run, "--out", tmp_path), "is not a page of normstats")
    assert_refused(normstats("report", run, "--out", other / "page.html"), "cannot be written")
