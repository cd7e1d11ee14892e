"""What a small drawing is made of, as plain SVG: scales, axes, marks and words.

Lengths are points, downwards, as far as the SVG itself: there they are whole pixels, which are
shorter to write.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from markupsafe import Markup

from normstats.printable import printable
from normstats_reports.figures.labels import LINE, apart
from normstats_reports.figures.scales import LINEAR, Decades, plain
from normstats_reports.figures.style import FAINT, TEXT, look

PIXELS_PER_POINT = 1.5  # 8 points are 12 pixels, 16 the size of the page's own words
WIDTH, HEIGHT = 200.0, 130.0  # inside the axes
LEFT, TOP, _BOTTOM = 52.0, 12.0, 34.0  # around them
NAMES = 76.0  # right of them, for the names of lines
TO_MIDDLE = 0.35  # of the text size: from the middle of a word to its base line
_ANCHORS = {1: "start", 0: "middle", -1: "end"}
_MARKS = {  # from the middle, in pixels; and the width of the line where it is not filled
    "o": ("h0", 8),  # its ends are round
    "s": ("m-3-3h7v7h-7z", 0),
    "^": ("m0-4l4 7h-8z", 0),
    "D": ("m0-5l5 5-5 5-5-5z", 0),
    "P": ("m-4 0h8m-4-4v8", 3),
    "X": ("m-3-3l6 6m0-6l-6 6", 3),
    "*": ("m0-5l2 3h3l-2 3 1 4-4-2-4 2 1-4-2-3h3z", 0),
}


@dataclass(frozen=True)
class Scale:
    """Where on paper the values of an axis lie.

    Attributes:
        place: from a value to where it would be on a line of any length.
        ends: the values at the ends of the axis.
        start, stop: where these are on paper.
    """

    place: Callable[[float], float]
    ends: tuple[float, float]
    start: float
    stop: float

    @classmethod
    def across(cls, decades: Decades) -> Scale:
        """From the left to the right."""
        ends = (decades.low, decades.high)
        return cls(_over_decades(decades.threshold), ends, LEFT, LEFT + WIDTH)

    @classmethod
    def upwards(cls, decades: Decades) -> Scale:
        """From the bottom to the top."""
        ends = (decades.low, decades.high)
        return cls(_over_decades(decades.threshold), ends, TOP + HEIGHT, TOP)

    def __call__(self, value: float) -> float:
        """Where a value is; at an end where it lies beyond."""
        low, high = (self.place(end) for end in self.ends)
        share = (self.place(value) - low) / (high - low)
        return self.start + min(max(share, 0.0), 1.0) * (self.stop - self.start)


def _over_decades(threshold: float) -> Callable[[float], float]:
    """As matplotlib's log and symlog scales have it."""
    linear = LINEAR / 0.9

    def place(value: float) -> float:
        if not threshold:
            return math.log10(value) if value > 0 else -math.inf
        if value <= threshold:
            return linear * value / threshold
        return linear + math.log10(value / threshold)

    return place


def bottom_axis(ticks: Sequence[float], x: Scale, title: str) -> Iterable[str]:
    """The lines of both axes, and the ticks and the title of the lower one."""
    bottom = TOP + HEIGHT
    lines = f"M{xy(LEFT, TOP)}V{short(bottom)}h{short(WIDTH)}"
    yield f'<path d="{lines}" fill="none" stroke="currentColor"/>'
    words = [text(x(tick), bottom + TEXT + 4, plain(tick)) for tick in ticks]
    yield aligned(0, [*words, text(LEFT + WIDTH / 2, bottom + 2 * TEXT + 10, title)])


def left_axis(ticks: Sequence[float], y: Scale, title: str, *, grid: bool) -> Iterable[str]:
    """The ticks and the title of the upright axis, and lines across."""
    if grid:
        lines = "".join(f"M{xy(LEFT, y(tick))}h{short(WIDTH)}" for tick in ticks)
        yield f'<path d="{lines}" stroke="currentColor" opacity="{FAINT:g}"/>'
    yield aligned(-1, [text(LEFT - 5, y(tick) + TO_MIDDLE * TEXT, plain(tick)) for tick in ticks])
    middle = xy(TEXT + 1, TOP + HEIGHT / 2)
    yield f'<text transform="translate({middle})rotate(-90)" text-anchor="middle">{title}</text>'


def marks(methods: Iterable[str], places: Sequence[tuple[float, float]]) -> list[str]:
    """A mark for each, those of a family in one path."""
    found: dict[tuple[str, str], str] = {}
    for method, place in zip(methods, places, strict=True):
        family = (look(method).color, look(method).marker)
        found[family] = found.get(family, "") + f"M{xy(*place)}{_MARKS[family[1]][0]}"
    return [_filled(course, color, _MARKS[marker][1]) for (color, marker), course in found.items()]


def _filled(course: str, color: str, line: int) -> str:
    if not line:
        return f'<path d="{course}" fill="{color}"/>'
    cap = ' stroke-linecap="round"' if "h0" in course else ""
    return f'<path d="{course}" stroke="{color}" stroke-width="{line}"{cap} fill="none"/>'


@dataclass(frozen=True)
class LineEnd:
    """Where a line ends at the right, and what is written there."""

    down: float
    name: str
    color: str


def line_ends(ends: Sequence[LineEnd]) -> Iterable[str]:
    """Names right of the axes, each tied to the end of its line."""
    gap, right = TEXT * LINE / HEIGHT, LEFT + WIDTH
    spread = apart(np.array([(end.down - TOP) / HEIGHT for end in ends]), gap)
    ties: dict[str, str] = {}
    for end, place in zip(ends, spread, strict=True):
        beside = TOP + place * HEIGHT
        tie = f"M{xy(right + 1, end.down)}L{xy(right + 12, beside)}"
        ties[end.color] = ties.get(end.color, "") + tie
        yield text(right + 14, beside + TO_MIDDLE * TEXT, end.name)
    for color, tie in ties.items():
        yield f'<path d="{tie}" stroke="{color}"/>'


def dashes(method: str) -> str:
    """The line style of a method, as an attribute."""
    line = look(method).line
    if isinstance(line, str):
        return ""
    return f' stroke-dasharray="{" ".join(f"{length * 1.8:.0f}" for length in line[1])}"'


def text(left: float, down: float, words: str) -> str:
    """Words at a place: where they start, unless aligned otherwise."""
    return f'<text x="{short(left)}" y="{short(down)}">{escape(printable(words))}</text>'


def aligned(side: int, words: Iterable[str]) -> str:
    """Words that start (side 1), are centred (0) or end (−1) at their places."""
    return f'<g text-anchor="{_ANCHORS[side]}">{"".join(words)}</g>'


def svg(drawn: Iterable[str], width: float) -> Markup:
    """The whole drawing."""
    size = f"{short(width)} {short(TOP + HEIGHT + _BOTTOM)}"
    return Markup(
        f'<svg viewBox="0 0 {size}" width="{short(width)}" '
        f'font-size="{short(TEXT)}" font-family="sans-serif" fill="currentColor" '
        f'stroke-width="1.5" aria-hidden="true">{"".join(drawn)}</svg>'
    )


def nothing() -> Markup:
    """Words instead of data."""
    words = text(LEFT + WIDTH / 2, TOP + HEIGHT / 2, "no method has a value here")
    return svg([aligned(0, [words])], LEFT + WIDTH)


def xy(left: float, down: float) -> str:
    """A place in a path."""
    return f"{short(left)} {short(down)}"


def short(length: float) -> str:
    """A length in whole pixels."""
    return f"{length * PIXELS_PER_POINT:.0f}"
