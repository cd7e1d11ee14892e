"""Names beside points and at the ends of lines, none over another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from normstats.printable import printable
from normstats_reports.figures.style import CHARACTER, SMALL, TEXT, ink

Box = tuple[float, float, float, float]  # left, bottom, right, top; in points

_LINE = 1.25  # of the text size: how high a line of it is
_MARKER = 4.0  # points around a point's middle
_SIDES = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))
_ALIGN = {1: "left", 0: "center", -1: "right"}


@dataclass(frozen=True)
class Named:
    """A point and its name.

    Attributes:
        needed: whether the name is drawn even where it must lie over something.
    """

    x: float
    y: float
    name: str
    needed: bool = True


def name_points(ax: Axes, points: Sequence[Named], avoid: Sequence[Named] = ()) -> None:
    """Write each point's name beside it, on the side where it covers least.

    Args:
        ax: whose limits are already as they will be.
        points: to be named.
        avoid: words that are already there, up and right of their points.
    """
    if not points:
        return
    scale = 72 / ax.figure.dpi
    places = ax.transData.transform([(point.x, point.y) for point in points]) * scale
    frame = tuple(float(value) * scale for value in ax.get_window_extent().extents)
    markers = [(x - _MARKER, y - _MARKER, x + _MARKER, y + _MARKER) for x, y in places]
    taken: list[Box] = []
    for word in avoid:
        x, y = ax.transData.transform((word.x, word.y)) * scale
        taken.append(_box(x, y, word.name, (1, 1)))
    for (x, y), point in sorted(
        zip(places, points, strict=True), key=lambda pair: not pair[1].needed
    ):
        text = printable(point.name)
        options = [(_box(x, y, text, side), side) for side in _SIDES]
        costs = [_cost(box, [*taken, *markers], frame) for box, _ in options]
        best = int(np.argmin(costs))
        if costs[best] > 1 and not point.needed:
            continue
        box, (right, up) = options[best]
        taken.append(box)
        ax.annotate(
            text,
            (point.x, point.y),
            xytext=(right * (_MARKER + 1), up * (_MARKER + 1)),
            textcoords="offset points",
            ha=_ALIGN[right],
            va={1: "bottom", 0: "center", -1: "top"}[up],
            fontsize=SMALL,
            color=ink(ax),
            parse_math=False,
        )


def _box(x: float, y: float, text: str, side: tuple[int, int]) -> Box:
    width, height = len(text) * CHARACTER * SMALL, _LINE * SMALL
    left = x + {1: _MARKER + 1, 0: -width / 2, -1: -_MARKER - 1 - width}[side[0]]
    bottom = y + {1: _MARKER + 1, 0: -height / 2, -1: -_MARKER - 1 - height}[side[1]]
    return left, bottom, left + width, bottom + height


def _cost(box: Box, others: Sequence[Box], frame: Sequence[float]) -> float:
    """Square points that the box shares with others, or has outside the frame."""
    inside = _shared(box, (frame[0], frame[1], frame[2], frame[3]))
    area = (box[2] - box[0]) * (box[3] - box[1])
    return sum(_shared(box, other) for other in others) + 3 * (area - inside)


def _shared(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def name_line_ends(ax: Axes, ends: Sequence[tuple[float, str, Any]]) -> None:
    """Names right of the Axes, each tied to the height (in data) where its line ends.

    Args:
        ax: whose y axis is already as it will be.
        ends: height, name and colour of each line.
    """
    height = ax.get_window_extent().height * 72 / ax.figure.dpi
    fractions = np.array(
        [ax.transAxes.inverted().transform(ax.transData.transform((1, y)))[1] for y, *_ in ends]
    )
    spread = apart(fractions, TEXT * _LINE / height)
    for (_, name, color), fraction, place in zip(ends, fractions, spread, strict=True):
        ax.annotate(
            printable(name),
            (1, fraction),
            xytext=(1.07, place),
            xycoords=ax.transAxes,
            textcoords=ax.transAxes,
            va="center",
            fontsize=TEXT,
            color=ink(ax),
            annotation_clip=False,
            parse_math=False,
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 0.8,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


def apart(places: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """The places at least ``gap`` apart and, where they fit, between 0 and 1; order is kept."""
    order = np.argsort(places, kind="stable")
    moved = np.clip(places[order], 0.0, 1.0)
    for index in range(1, len(moved)):
        moved[index] = max(moved[index], moved[index - 1] + gap)
    if len(moved):
        moved[-1] = min(moved[-1], 1.0)
    for index in range(len(moved) - 2, -1, -1):
        moved[index] = min(moved[index], moved[index + 1] - gap)
    found = np.empty_like(moved)
    found[order] = moved
    return found
