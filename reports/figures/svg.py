"""A figure as SVG for a page: the same bytes each time, in the page's own font and ink."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from xml.etree import ElementTree

from matplotlib.figure import Figure

from normstats_reports.figures.compact_svg import (
    DECIMALS,
    SVG,
    XLINK,
    compact,
    shorter,
    two_decimals,
)
from normstats_reports.figures.style import INK, settings

_REFERENCE = re.compile(r"#([\w-]+)")
_OLD_FONT = re.compile(r"(?P<weight>\d+ )?(?P<size>[\d.]+px)")
_UNTURNED = re.compile(r"rotate\(-?0 [^)]*\)")
_DOTS_PER_INCH = 160  # of what is rasterised


def figure_svg(figure: Figure, name: str) -> str:
    """The figure as an ``<svg>`` element, to be written into a page.

    Words stay words, in the font of the page. What is drawn in ink is ``currentColor`` and the
    background transparent, so that the page's theme holds. Ids are only those that the figure
    itself refers to, made from ``name``.

    Args:
        figure: to be drawn.
        name: of the figure, other than that of any other figure in the page.
    """
    buffer = io.BytesIO()
    with settings(**{"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        # The page's font may well have what DejaVu has not.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(
            buffer, format="svg", transparent=True, dpi=_DOTS_PER_INCH, metadata={"Date": None}
        )
    root = ElementTree.fromstring(buffer.getvalue())
    for metadata in root.findall(f"{SVG}metadata"):
        root.remove(metadata)
    _keep_style_inside(root)
    used = set(_references(root))
    for element in root.iter():
        _tidy(element, used)
    root.set("fill", "currentColor")
    compact(root)
    root.set("font-family", "DejaVu Sans, Verdana, sans-serif")
    ElementTree.register_namespace("", SVG[1:-1])
    ElementTree.register_namespace("xlink", XLINK[1:-1])
    return ElementTree.tostring(root, encoding="unicode")


def _keep_style_inside(root: ElementTree.Element) -> None:
    """A style sheet in a drawing would hold for the whole page, and other drawings in it."""
    for definitions in root.findall(f"{SVG}defs"):
        for sheet in definitions.findall(f"{SVG}style"):
            definitions.remove(sheet)
    root.set("stroke-linejoin", "round")  # all that it says but what is so by default


def _references(root: ElementTree.Element) -> Iterator[str]:
    """The ids that something refers to."""
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == f"{XLINK}href" or "url(" in value:
                yield from _REFERENCE.findall(value[:200])


def _tidy(element: ElementTree.Element, used: set[str]) -> None:
    """Numbers no finer than a hundredth of a point, no unused ids, the page's font and ink."""
    is_text = element.tag == f"{SVG}text"
    if not is_text:  # indentation
        element.text = (element.text or "").strip() or None
    element.tail = None
    for key in ("x", "y", "transform"):
        if key in element.attrib:
            element.set(key, DECIMALS.sub(two_decimals, element.attrib[key]))
    if is_text and _UNTURNED.fullmatch(element.attrib.get("transform", "")):
        del element.attrib["transform"]
    if "d" in element.attrib:
        element.set("d", shorter(element.attrib["d"]))
    if element.attrib.get("id") not in used:
        element.attrib.pop("id", None)
    if "style" in element.attrib:
        element.set("style", ";".join(_styles(element.attrib["style"], is_text=is_text)))


def _styles(style: str, *, is_text: bool) -> Iterator[str]:
    """The declarations of a style, but the font's family and what goes without saying."""
    for declaration in style.split(";"):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key == "font":  # as matplotlib wrote it until 3.9
            found = _OLD_FONT.search(value)
            if found:
                yield f"font-size:{found['size']}"
                if found["weight"]:
                    yield f"font-weight:{found['weight'].strip()}"
        elif is_text and (key, value) in (("fill", INK), ("text-anchor", "start")):
            continue
        elif key and key != "font-family":
            yield f"{key}:{'currentColor' if value == INK else value}"
