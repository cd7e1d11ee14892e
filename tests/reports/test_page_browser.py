"""The page in a browser: what can be done with it, without scripts too, and by everyone."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from helpers.pages import HOSTILE, HOSTILE_QUOTED, make_study

from normstats_reports.page import write_page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
pytestmark = pytest.mark.slow

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(make_study(), tmp_path_factory.mktemp("browser") / "report.html")


@pytest.fixture
def opened(open_page: Open, file: Path) -> Open:
    """Opens the page, or another file."""

    def opening(of: Path = file, **more: Any) -> Any:
        return open_page(of, **more)

    return opening


def names_shown(page: Any) -> list[str]:
    return [row.inner_text() for row in page.locator("#summary tbody th:visible").all()]


def column(page: Any, title: str) -> list[float]:
    titles = [head.inner_text() for head in page.locator("#summary thead th").all()]
    place = titles.index(title) + 1
    cells = page.locator(f"#summary tbody td:nth-child({place})").all()
    return [float(cell.get_attribute("data-value") or "nan") for cell in cells]


def test_columns_sort_both_ways_and_back(opened: Open) -> None:
    page = opened()
    order = names_shown(page)
    head = page.get_by_role("columnheader", name="bn@8")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(page, "bn@8") == sorted(column(page, "bn@8"))
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert column(page, "bn@8") == sorted(column(page, "bn@8"), reverse=True)
    assert page.locator('#summary [aria-sort]:not([aria-sort="none"])').count() == 1
    page.get_by_role("columnheader", name="layer").get_by_role("button").click()
    assert names_shown(page) == order


def test_crossovers_below_and_beyond_all_sizes_sort_at_the_ends(opened: Open) -> None:
    page = opened()
    head = page.get_by_role("columnheader", name="beats ln from")
    head.get_by_role("button").click()
    values = column(page, "beats ln from")
    assert values == sorted(values)


def test_the_filter_keeps_the_layers_that_match(opened: Open) -> None:
    page = opened()
    page.get_by_label("Show layers whose name has").fill("BODY")
    assert names_shown(page) == ["body.0", "body.1"]
    assert page.locator("#count").inner_text() == "2 of 4"
    page.get_by_label("Show layers whose name has").fill("")
    assert len(names_shown(page)) == 4


def test_links_to_layers_open_them(opened: Open) -> None:
    page = opened(fragment="#layer-body.1")
    layer = page.locator("#layer-body\\.1")
    assert layer.get_attribute("open") is not None
    playwright.expect(layer.locator("summary").first).to_be_in_viewport()
    assert page.locator("details.layer[open]").count() == 1
    page.get_by_role("link", name="head", exact=True).click()
    playwright.expect(page.locator("#layer-head table").first).to_be_visible()
    page.locator("#layer-head > summary").click()
    page.get_by_role("link", name="head", exact=True).click()  # the fragment is the same as before
    playwright.expect(page.locator("#layer-head table").first).to_be_visible()
    page.get_by_role("button", name="Open all").click()
    assert page.locator("details.layer[open]").count() == 4
    page.get_by_role("button", name="Close all").click()
    assert page.locator("details.layer[open]").count() == 0


def background(page: Any) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_the_theme_follows_the_system_until_it_is_chosen(opened: Open) -> None:
    light, dark = opened(color_scheme="light"), opened(color_scheme="dark")
    colors = background(light), background(dark)
    assert colors[0] != colors[1]
    light.get_by_role("button", name="Switch to the dark theme").click()
    assert background(light) == colors[1]
    light.reload()
    assert background(light) == colors[1]
    light.get_by_role("button", name="Switch to the light theme").click()
    assert background(light) == colors[0]


def test_the_keyboard_reaches_everything(opened: Open) -> None:
    page = opened()
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the findings"
    page.keyboard.press("Enter")
    assert page.url.endswith("#findings")
    page.get_by_role("columnheader", name="channels").get_by_role("button").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator('#summary [aria-sort="ascending"]').inner_text() == "effective samples"
    page.locator("#layer-head > summary").focus()
    page.keyboard.press("Space")
    playwright.expect(page.locator("#layer-head table").first).to_be_visible()
    for _ in range(3):
        page.keyboard.press("Tab")
    region = page.locator(":focus")
    assert region.get_attribute("aria-label") == "Methods in head"


def test_without_scripts_everything_can_be_read(opened: Open, file: Path) -> None:
    page = opened(java_script_enabled=False)
    assert page.locator("#filter, #theme, #open-all").locator("visible=true").count() == 0
    assert len(names_shown(page)) == 4
    assert page.locator(".findings li").first.is_visible()
    for details in page.locator("details").all():
        if details.is_visible() and details.get_attribute("open") is None:
            details.locator("summary").first.click()
    assert page.locator("details:not([open])").locator("visible=true").count() == 0
    hidden = page.locator("main :is(p, td, th, dd, li, svg, pre):not([hidden])")
    unseen = hidden.locator("visible=false").all()
    assert {
        element.get_attribute("class") or element.get_attribute("id") for element in unseen
    } <= {"print-only"}
    with page.expect_download() as download:
        page.locator("#figure-heat-map").get_by_role("link", name="Data (CSV)").click()
    assert download.value.suggested_filename == "heat-map.csv"
    assert Path(download.value.path()).read_text(encoding="utf-8").startswith("layer,bn@1")


@pytest.mark.parametrize(
    ("fragment", "place", "button", "file_name"),
    [
        ("", "#figure-heat-map", "Save SVG", "heat-map"),
        ("#layer-head", "#layer-head", "Save SVG: Bias² and variance", "tradeoff-head"),
    ],
)
def test_a_drawing_is_saved_as_a_file(
    opened: Open, fragment: str, place: str, button: str, file_name: str
) -> None:
    page = opened(fragment=fragment)
    page.locator(place).get_by_text("Data and code").first.click()
    with page.expect_download() as download:
        page.locator(place).get_by_role("button", name=button, exact=True).first.click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert download.value.suggested_filename == f"{file_name}.svg"
    assert re.match(r"<svg[^>]* xmlns=\"http://www.w3.org/2000/svg\"", text)
    assert ElementTree.fromstring(text).attrib["color"] == "black"


@pytest.mark.parametrize("look", ["light", "dark", "print"])
def test_axe_finds_nothing_serious(opened: Open, look: str) -> None:
    page = opened(color_scheme="light" if look == "print" else look)
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


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_nothing_is_wider_than_the_window(opened: Open, width: int) -> None:
    page = opened(viewport={"width": width, "height": 800})
    page.get_by_role("button", name="Open all").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_print_has_findings_rules_and_the_layers_that_are_open(opened: Open) -> None:
    page = opened(fragment="#layer-head")
    page.emulate_media(media="print")
    assert page.locator(".rule p").first.is_visible()
    assert page.locator("#layer-head table").first.is_visible()
    assert not page.locator("#layer-stem").is_visible()
    assert page.locator("nav, #theme, #filter-row").locator("visible=true").count() == 0


def test_names_that_others_chose_do_nothing(opened: Open, tmp_path: Path) -> None:
    names = (HOSTILE, HOSTILE_QUOTED, "layer-../#x", "plain")
    file = write_page(make_study(names), tmp_path / "hostile.html")
    page = opened(file)
    assert names_shown(page) == list(names)
    assert page.locator("img").count() == 0
    page.get_by_role("link", name=HOSTILE_QUOTED, exact=True).click()
    assert page.locator("details.layer[open] h3").inner_text() == HOSTILE_QUOTED
    assert page.locator("script").count() == 2
