"""The terminal summary: every number of the tables, at any width, and nothing that others chose."""

import io
import re
from dataclasses import asdict

import numpy as np
import pytest
from helpers.enumeration import make_pixels, moments_of
from rich.console import Console

import normstats as ns
from normstats.capturing import LayerDescription
from normstats.errors import LayerError
from normstats.moments import Moments
from normstats_reports.terminal import (
    compact,
    print_descriptions,
    print_json,
    print_layers,
    print_summary,
)

METHODS = ["bn@1", "bn@2", "bn@4", "bn@8", "in", "gn:2", "ln"]


@pytest.fixture(scope="module")
def study() -> ns.Study:
    return ns.analyze(
        Moments({name: moments_of(make_pixels(20, 4, seed=i)) for i, name in enumerate("ab")}),
        METHODS,
    )


def printed(show, *arguments, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    show(console, *arguments)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 100, 200])
def test_every_error_is_there_at_any_width(study: ns.Study, width: int) -> None:
    text = printed(print_summary, study, width=width)
    assert max(map(len, text.splitlines())) <= width
    for layer, rows in study.errors().groupby("layer"):
        lines = " ".join(line for line in text.splitlines() if line.startswith(f" {layer} "))
        assert [compact(value) for value in rows["error"]] == [
            number for number in re.findall(r"\S+", lines) if number not in (layer, "4")
        ]
    for finding in study.findings:
        assert finding.text.split()[0] in text


def test_averages_are_those_of_the_table(study: ns.Study) -> None:
    text = printed(print_summary, study)
    row = next(line for line in text.splitlines() if line.startswith(" ln  "))
    mean = study.errors().query("method == 'ln'")[["mean_bias_sq", "error", "residual"]].mean()
    assert set(map(compact, mean)) <= set(row.split())


def test_one_layer_in_full(study: ns.Study) -> None:
    text = printed(print_layers, study, "b", width=120)
    assert "4 channels, 0 of them dead" in text
    row = study.errors().query("layer == 'b' and method == 'gn:2'").iloc[0]
    line = next(line for line in text.splitlines() if line.startswith(" gn:2"))
    assert compact(row["var_variance"]) in line.split()
    with pytest.raises(LayerError):
        printed(print_layers, study, "c")


def test_json_is_the_tables(study: ns.Study) -> None:
    import json

    content = json.loads(printed(print_json, study))
    assert len(content["errors"]) == len(study.errors())
    assert content["errors"][0]["error"] == pytest.approx(study.errors()["error"][0], rel=1e-9)
    assert content["findings"] == [asdict(finding) for finding in study.findings]


def test_names_that_others_chose_are_text(study: ns.Study) -> None:
    hostile = "[red]\x1b[2J</script>"
    layer = moments_of(make_pixels(20, 4))
    other = ns.analyze(Moments({hostile: layer}, left_out={f"{hostile}2": "why\x07"}), METHODS)
    for show, extra in ((print_summary, ()), (print_layers, ("*",))):
        text = printed(show, other, *extra, width=200)
        assert "[red]" in text
        assert "\x1b" not in text
        assert "\x07" not in text


def test_descriptions_say_why_not() -> None:
    rows = [
        LayerDescription("bn", "BatchNorm2d", (2, 8, 4, 4), 8, (4, 4), captured=True),
        LayerDescription("aux.bn", "BatchNorm2d", channels=8, reason="it never ran"),
    ]
    text = printed(print_descriptions, rows)
    assert "2x8x4x4" in text
    assert "no: it never ran" in text
    assert "1 of 2 layers would be captured" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0054321, "0.0054"),
        (0.1, "0.10"),
        (0.999, "1.0"),
        (31.2, "31"),
        (423.4, "420"),
        (1.27e6, "1.3e6"),
        (3.9e-5, "3.9e-5"),
        (np.nan, "-"),
    ],
)
def test_two_digits(value: float, text: str) -> None:
    assert compact(value) == text
