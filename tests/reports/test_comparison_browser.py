"""The page of several runs in a browser: sorted, filtered, without scripts, by everyone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.comparisons import make_domains, make_epochs, make_hostile, make_models
from helpers.pages import HOSTILE, HOSTILE_QUOTED

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
pytestmark = pytest.mark.slow

Open = Callable[..., Any]
MAKE = {"epochs": make_epochs, "domains": make_domains, "models": make_models}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("comparisons")
    return {name: make().to_html(place / f"{name}.html") for name, make in MAKE.items()}


def numbers(page: Any, table: str, column: int) -> list[float]:
    cells = page.locator(f"#{table} tbody td:nth-child({column + 1})").all()
    return [float(cell.get_attribute("data-value") or "nan") for cell in cells]


@pytest.mark.parametrize("table", ["summary", "shift-table"])
def test_columns_sort_below_the_names_of_runs(
    open_page: Open, files: dict[str, Path], table: str
) -> None:
    page = open_page(files["domains"])
    heads = page.locator(f"#{table} thead tr:last-child th")
    for column in range(1, heads.count()):
        heads.nth(column).get_by_role("button").click()
        assert heads.nth(column).get_attribute("aria-sort") == "ascending"
        values = numbers(page, table, column)
        assert values == sorted(values)
        heads.nth(column).get_by_role("button").click()
        assert numbers(page, table, column) == sorted(values, reverse=True)
    assert page.locator(f"#{table} .groups button").count() == 0


def test_the_filter_keeps_the_layers_that_match(open_page: Open, files: dict[str, Path]) -> None:
    page = open_page(files["epochs"])
    page.get_by_label("Show layers whose name has").fill("BODY")
    shown = page.locator("#summary tbody th:visible").all_inner_texts()
    assert shown == ["body.0", "body.1"]
    assert page.locator("#count").inner_text() == "2 of 4"


@pytest.mark.parametrize("name", list(MAKE))
@pytest.mark.parametrize("look", ["light", "dark", "print"])
def test_no_serious_violation(
    open_page: Open, files: dict[str, Path], name: str, look: str
) -> None:
    scheme = "dark" if look == "dark" else "light"
    page = open_page(files[name], color_scheme=scheme, viewport={"width": 1200, "height": 900})
    for details in page.locator("details").all():
        details.evaluate("details => { details.open = true; }")
    if look == "print":
        page.emulate_media(media="print")
    found = axe.Axe().run(page).response["violations"]
    serious = [
        (violation["id"], [node["html"][:200] for node in violation["nodes"][:3]])
        for violation in found
        if violation["impact"] in ("serious", "critical")
    ]
    assert serious == []


@pytest.mark.parametrize("width", [360, 1400])
@pytest.mark.parametrize("name", list(MAKE))
def test_nothing_is_wider_than_the_window(
    open_page: Open, files: dict[str, Path], name: str, width: int
) -> None:
    page = open_page(files[name], viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_scripts_all_is_there(open_page: Open, files: dict[str, Path]) -> None:
    page = open_page(files["domains"], java_script_enabled=False)
    assert page.locator("#summary tbody tr:visible").count() == 4
    assert page.locator("#shift-table tbody tr:visible").count() == 4
    assert not page.locator("#filter-row").is_visible()
    page.locator("#moved .help summary").first.click()
    assert page.locator("#moved .formula").first.is_visible()


def test_the_theme_is_chosen_by_keyboard(open_page: Open, files: dict[str, Path]) -> None:
    page = open_page(files["models"], color_scheme="light")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Switch to the dark theme").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_names_that_others_chose_do_nothing(open_page: Open, tmp_path: Path) -> None:
    page = open_page(make_hostile().to_html(tmp_path / "hostile.html"))
    rows = page.locator("#summary tbody th").all_inner_texts()
    assert rows == [HOSTILE, HOSTILE_QUOTED, "layer-../#x", "plain"]
    assert page.locator("#runs-table tbody th").all_inner_texts() == [HOSTILE, HOSTILE_QUOTED]
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
