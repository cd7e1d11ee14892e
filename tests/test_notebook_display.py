"""What moments and studies show in a notebook: everything that matters, readable in any theme."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.pages import HOSTILE, Outline, make_study

import normstats as ns

# Background and text of the themes; notebooks set both, whatever the system prefers.
THEMES = {
    "JupyterLab light": ("#ffffff", "rgba(0, 0, 0, 0.87)"),
    "JupyterLab dark": ("#111111", "rgba(255, 255, 255, 0.87)"),
    "VS Code light": ("#ffffff", "#3b3b3b"),
    "VS Code dark": ("#1f1f1f", "#cccccc"),
}


@pytest.fixture(scope="module")
def study() -> ns.Study:
    return make_study()


def test_moments_show_what_was_captured(study: ns.Study) -> None:
    shown = Outline(study.moments._repr_html_())
    assert repr(study.moments) in shown.text
    assert "checkpoint: nets/stem.th" in shown.text
    assert "4 classes of 10 images: a, b, c, stem" in shown.text
    assert "Left out (1) stem.left: it never ran" in shown.text.replace(")stem", ") stem")
    assert len(shown.all("details")) == 2
    assert len(shown.all("tr")) == 1 + 4


def test_moments_on_disk_are_not_read_to_be_shown(study: ns.Study, tmp_path: Path) -> None:
    study.moments.save(tmp_path)
    moments = ns.Moments.open(tmp_path)
    for file in tmp_path.glob("*.safetensors"):
        file.write_bytes(b"")
    shown = Outline(moments._repr_html_())
    assert "on disk" in shown.text
    assert len(shown.all("tr")) == 1 + 4


def test_moments_without_classes_or_losses(study: ns.Study) -> None:
    plain = replace(study.moments, labels=None, classes=(), left_out={}, provenance={})
    shown = Outline(plain._repr_html_())
    assert "no classes" in shown.text
    assert "Left out" not in shown.text
    uneven = replace(plain, labels=study.moments.labels.clip(0, 2))
    assert "3 classes of 10 to 20 images" in Outline(uneven._repr_html_()).text


def test_studies_show_findings_and_what_is_missing(study: ns.Study) -> None:
    shown = Outline(study._repr_html_())
    for finding in study.findings:
        assert finding.text in shown.text
    for note in study.notes:
        assert note in shown.text
    assert len(shown.all("tr")) == 1 + study.errors()["method"].nunique()


def test_names_are_text() -> None:
    study = make_study((HOSTILE, "a", "b", "c"))
    for html in (study._repr_html_(), study.moments._repr_html_()):
        assert not Outline(html).all("script")
        assert not Outline(html).all("img")
        assert HOSTILE in Outline(html).text


def unreadable(browser: Any, html: str, theme: str, system: str) -> list[str]:
    """What has too little contrast, according to axe."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    background, text = THEMES[theme]
    context = browser.new_context(color_scheme=system)
    page = context.new_page()
    page.set_content(
        f"<body style='background: {background}; color: {text}; font: 13px sans-serif'>"
        f"{html.replace('<details>', '<details open>')}"
    )
    found = axe.Axe().run(page, options={"runOnly": ["color-contrast"]}).response
    context.close()
    assert found["passes"] or found["violations"]  # it looked at something
    assert found["incomplete"] == []
    return [node["html"] for rule in found["violations"] for node in rule["nodes"]]


@pytest.mark.slow
@pytest.mark.parametrize("system", ["light", "dark"])
@pytest.mark.parametrize("theme", THEMES)
def test_it_is_readable(browser: Any, study: ns.Study, theme: str, system: str) -> None:
    for shown in (study, study.moments):
        assert unreadable(browser, shown._repr_html_(), theme, system) == []


@pytest.mark.slow
def test_a_color_of_its_own_would_be_found(browser: Any) -> None:
    grey = "<p style='color: #444'>words</p>"
    assert unreadable(browser, grey, "JupyterLab light", "dark") == []
    assert unreadable(browser, grey, "JupyterLab dark", "light") != []
