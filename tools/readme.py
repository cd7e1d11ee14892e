"""Put a run of the demo into README.md: what it says, and pictures of its page.

python tools/readme.py
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import TextWrapper
from typing import TYPE_CHECKING

from PIL import Image

from normstats.study import open_study

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
IMAGES = ROOT / "docs" / "images"
THEMES = ("light", "dark")
BEGIN = "<!-- Written by tools/readme.py; a test holds it to what the demo says. -->"
END = "<!-- Up to here. -->"

_TABLE = "What the error is made of"
_WIDTH = 120
_WINDOW = {"width": 1000, "height": 900}
_COLORS = 256  # of a picture, which keeps it small and looks the same


def run_demo(folder: Path) -> str:
    """Run the demo into a folder; what it prints."""
    command = [sys.executable, "-m", "normstats", "demo", "--quiet", "--out", str(folder)]
    surroundings = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return subprocess.run(
        command, env=surroundings, stdout=subprocess.PIPE, text=True, encoding="utf-8", check=True
    ).stdout


def summary(run: Path, printed: str) -> str:
    """What README.md quotes: a table as it is printed, then the findings.

    Args:
        run: the demo's run folder.
        printed: what it printed.
    """
    tables = printed.split("\n\n")
    table = next(text for text in tables if text.startswith(_TABLE))
    lines = [line.rstrip() for line in table.splitlines()]
    wrap = TextWrapper(_WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
    findings = [wrap.fill(finding.text) for finding in open_study(run).findings]
    return "\n".join(["```text", *lines, "```", "", *findings])


def with_summary(readme: str, text: str) -> str:
    """README.md with the text between its two marks."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def take_pictures(page: Path, folder: Path) -> None:
    """Take the page's head and its first figure, in both themes."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for theme in THEMES:
            shown = browser.new_page(color_scheme=theme, viewport=_WINDOW, device_scale_factor=2)
            shown.goto(page.resolve().as_uri())
            _keep(_head(shown), folder / f"findings-{theme}.png")
            _keep(shown.locator("figure").first.screenshot(), folder / f"figure-{theme}.png")
        browser.close()


def _head(page: Page) -> bytes:
    """The window as it opens, down to the last finding that is seen whole."""
    boxes = [item.bounding_box() for item in page.locator(".findings > li").all()]
    ends = [box["y"] + box["height"] for box in boxes if box is not None]
    height = max(end for end in ends if end < _WINDOW["height"]) + 10
    return page.screenshot(clip={"x": 0, "y": 0, "width": _WINDOW["width"], "height": height})


def _keep(picture: bytes, file: Path) -> None:
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(_COLORS, dither=Image.Dither.NONE).save(file, optimize=True)


def pictures_in(readme: str) -> set[str]:
    """The files of pictures that README.md refers to."""
    return set(re.findall(r'(?:src|srcset)="([^"]+)"', readme))


def main() -> None:
    """Write both."""
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "demo"
        text = summary(run, run_demo(run))
        take_pictures(run / "report.html", IMAGES)
    readme = README.read_text(encoding="utf-8")
    README.write_text(with_summary(readme, text), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
