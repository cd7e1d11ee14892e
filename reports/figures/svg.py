"""A figure as SVG for a page: the same bytes each time, in the page's own font and ink."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from xml.etree import ElementTree

from matplotlib.figure import Figure

from normstats_reports.figures.style import INK, settings

_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_REFERENCE = re.compile(r"#([\w-]+)")
_GROUP = f"{_SVG}g"
_OPACITY = re.compile(r"(^|;)opacity:")
_DECIMALS = re.compile(r"-?\d+\.\d{3,}")
_OLD_FONT = re.compile(r"(?P<weight>\d+ )?(?P<size>[\d.]+px)")
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
    for metadata in root.findall(f"{_SVG}metadata"):
        root.remove(metadata)
    used = set(_references(root))
    for element in root.iter():
        _tidy(element, used)
    _share(root)
    root.set("font-family", "DejaVu Sans, Verdana, sans-serif")
    ElementTree.register_namespace("", _SVG[1:-1])
    ElementTree.register_namespace("xlink", _LINK[1:].split("}")[0])
    return ElementTree.tostring(root, encoding="unicode")


def _share(element: ElementTree.Element) -> None:
    """Say once what neighbours have in common, and leave out groups that group nothing."""
    children = list(element)
    for place, child in enumerate(children):
        _share(child)
        if child.tag == _GROUP and len(child) == 1 and not child.attrib:
            element[place] = child[0]
    before: ElementTree.Element | None = None
    for child in list(element):
        if child.tag == _GROUP and not len(child):
            element.remove(child)
        elif before is not None and _can_join(before, child):
            before.set("d", f"{before.attrib['d']} {child.attrib['d']}")
            element.remove(child)
        else:
            before = child
    if element.tag == _GROUP and len(element) > 1:
        _share_style(element)


def _can_join(one: ElementTree.Element, other: ElementTree.Element) -> bool:
    """Whether both are paths that differ in nothing but their course."""
    both = (one.attrib, other.attrib)
    if any("d" not in of or "id" in of or _OPACITY.search(of.get("style", "")) for of in both):
        return False
    first, second = ({key: of[key] for key in of if key != "d"} for of in both)
    return one.tag == other.tag == f"{_SVG}path" and first == second


def _share_style(group: ElementTree.Element) -> None:
    """Where all of a group are marks of one style, it is the group's."""
    styles = {child.attrib.get("style", "") for child in group}
    style = styles.pop()
    # Opacity of a group is not that of each of its marks.
    if styles or not style or "style" in group.attrib or _OPACITY.search(style):
        return
    if all(child.tag == f"{_SVG}use" for child in group):
        group.set("style", style)
        for child in group:
            del child.attrib["style"]


def _references(root: ElementTree.Element) -> Iterator[str]:
    """The ids that something refers to."""
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == _LINK or "url(" in value:
                yield from _REFERENCE.findall(value[:200])


def _tidy(element: ElementTree.Element, used: set[str]) -> None:
    """Numbers no finer than a hundredth of a point, no unused ids, the page's font and ink."""
    if element.tag != f"{_SVG}text":  # indentation
        element.text = (element.text or "").strip() or None
    element.tail = None
    for key in ("d", "x", "y"):
        if key in element.attrib:
            element.set(key, _DECIMALS.sub(_short, " ".join(element.attrib[key].split())))
    if element.tag == f"{_SVG}text" and "transform" in element.attrib:
        element.set("transform", _DECIMALS.sub(_short, element.attrib["transform"]))
    if element.attrib.get("id") not in used:
        element.attrib.pop("id", None)
    if "style" in element.attrib:
        element.set("style", ";".join(_styles(element.attrib["style"])))


def _short(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _styles(style: str) -> Iterator[str]:
    """The declarations of a style, but the font's family."""
    for declaration in style.split(";"):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key == "font":  # as matplotlib wrote it until 3.9
            found = _OLD_FONT.search(value)
            if found:
                yield f"font-size:{found['size']}"
                if found["weight"]:
                    yield f"font-weight:{found['weight'].strip()}"
        elif key and key != "font-family":
            yield f"{key}:{'currentColor' if value == INK else value}"
