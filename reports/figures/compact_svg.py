"""What matplotlib writes as SVG, said more shortly; it looks the same."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from itertools import count, groupby
from xml.etree import ElementTree

from PIL import Image

SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"
DECIMALS = re.compile(r"-?\d+\.\d{3,}")
_GROUP, _USE = f"{SVG}g", f"{SVG}use"
_HREF = f"{XLINK}href"
_OPACITY = re.compile(r"(^|;)opacity:")
_STEP = re.compile(r"([MLCQZz])([^MLCQZz]*)")
_IMAGE = "data:image/png;base64,"
_LARGE = 16_000  # bytes of an image, from which on its colours are fewer
_COLORS = 64  # of marks of a few kinds, one over another
_FEW = 3  # marks that are as short by themselves


def two_decimals(number: re.Match[str]) -> str:
    """A hundredth of a point is enough."""
    return _short(number[0])


def shorter(path: str) -> str:
    """A path with lines across and upwards said as such, and no letter where it is known."""
    said: list[str] = []
    at, before = ["", ""], ""
    for step, numbers in _STEP.findall(path):
        values = [_short(number) for number in numbers.split()]
        letter = step
        if step == "L" and before in "LHV" and values == at:
            continue
        if step == "L" and values[1] == at[1]:
            letter, kept = "H", values[:1]
        elif step == "L" and values[0] == at[0]:
            letter, kept = "V", values[1:]
        else:
            kept = values
        known = letter == before or (letter == "L" and before == "M")
        said.append(f"{' ' if known and letter in 'LCQHV' else letter}{' '.join(kept)}")
        at, before = values[-2:] or at, letter
    return "".join(said)


def _short(number: str) -> str:
    found = f"{float(number):.2f}".rstrip("0").rstrip(".")
    return "0" if found == "-0" else found


def compact(root: ElementTree.Element) -> None:
    """Say once what neighbours have in common; marks as the corners of a path; fewer colours."""
    _share(root)
    numbers = count()
    for group in list(root.iter(_GROUP)):
        _as_corners(group, numbers)
    for image in root.iter(f"{SVG}image"):
        if len(image.attrib[_HREF]) < _LARGE:
            continue
        image.set(_HREF, _IMAGE + _few_colors(image.attrib[_HREF].partition(",")[2]))


def _share(element: ElementTree.Element) -> None:
    """Join paths of one style, and leave out groups that group nothing."""
    children = list(element)
    for place, child in enumerate(children):
        _share(child)
        if child.tag == _GROUP and len(child) == 1 and not child.attrib:
            element[place] = child[0]
    before: ElementTree.Element | None = None
    for child in list(element):
        if child.tag in (_GROUP, f"{SVG}defs") and not len(child):
            element.remove(child)
        elif before is not None and _can_join(before, child):
            before.set("d", f"{before.attrib['d']}{child.attrib['d']}")
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
    return one.tag == other.tag == f"{SVG}path" and first == second


def _share_style(group: ElementTree.Element) -> None:
    """Where all of a group are marks, or words, of one style, it is the group's."""
    styles = {child.attrib.get("style", "") for child in group}
    style = styles.pop()
    # Opacity of a group is not that of each of its marks.
    if styles or not style or "style" in group.attrib or _OPACITY.search(style):
        return
    if len({child.tag for child in group}) == 1 and group[0].tag in (_USE, f"{SVG}text"):
        group.set("style", style)
        for child in group:
            del child.attrib["style"]


def _as_corners(group: ElementTree.Element, numbers: Iterator[int]) -> None:
    """Many marks of one kind as one path with a mark at every corner."""
    found: list[ElementTree.Element] = []
    for kind, run in groupby(list(group), _kind):
        marks = list(run)
        if kind is None or len(marks) < _FEW:
            found += marks
        else:
            found += _corners(marks, next(numbers))
    group[:] = found


def _kind(element: ElementTree.Element) -> tuple[str, str] | None:
    if element.tag != _USE:
        return None
    return element.attrib[_HREF], element.attrib.get("style", "")


def _corners(marks: list[ElementTree.Element], number: int) -> Iterator[ElementTree.Element]:
    """A marker, and the path that bears it; several may share a shape."""
    href = marks[0].attrib[_HREF]
    name = f"{href[1:]}-{number}"
    marker = ElementTree.Element(
        f"{SVG}marker", {"id": name, "markerUnits": "userSpaceOnUse", "overflow": "visible"}
    )
    mark = ElementTree.SubElement(marker, _USE, {_HREF: href})
    if "style" in marks[0].attrib:
        mark.set("style", marks[0].attrib["style"])
    yield marker
    course = " ".join(f"{mark.attrib['x']} {mark.attrib['y']}" for mark in marks)
    where = {f"marker-{place}": f"url(#{name})" for place in ("start", "mid", "end")}
    yield ElementTree.Element(
        f"{SVG}path", {"d": f"M{course}", "style": "fill:none;stroke:none", **where}
    )


def _few_colors(image: str) -> str:
    """An image in base64, again, with fewer colours."""
    with Image.open(io.BytesIO(base64.b64decode(image))) as opened:
        fewer = opened.convert("RGBA").quantize(_COLORS, Image.Quantize.FASTOCTREE)
    buffer = io.BytesIO()
    fewer.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
