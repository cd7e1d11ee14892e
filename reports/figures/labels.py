"""Names beside points and at the ends of lines, none over another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from normstats.printable import printable
from normstats_reports.figures.style import SMALL, TEXT, ink, text_inches

Box = tuple[float, float, float, float]  # left, bottom, right, top; in points

LINE = 1.25  # of the text size: how high a line of it is
_MARKER = 4.0  # points around a point's middle
BESIDE_POINT = _MARKER + 1
_NEAR = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))
_SIDES = (*_NEAR, (1, 2), (0, 2), (-1, 2), (-1, -2), (0, -2), (1, -2))  # 2: a line further
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
    scale = 72 / ax.figure.dpi

    def on_paper(some: Sequence[Named]) -> list[Named]:
        places = ax.transData.transform([(point.x, point.y) for point in some]) * scale
        return [replace(point, x=x, y=y) for point, (x, y) in zip(some, places, strict=True)]

    if not points:
        return
    left, bottom, right, top = (float(value) * scale for value in ax.get_window_extent().extents)
    taken = on_paper(avoid) if avoid else []
    for point, side in zip(
        points, sides(on_paper(points), (left, bottom, right, top), taken), strict=True
    ):
        if side is None:
            continue
        to_right, up = side
        ax.annotate(
            printable(point.name),
            (point.x, point.y),
            xytext=(to_right * BESIDE_POINT, rise(up)),
            textcoords="offset points",
            ha=_ALIGN[to_right],
            va="center" if not up else "bottom" if up > 0 else "top",
            fontsize=SMALL,
            color=ink(ax),
            parse_math=False,
        )


def sides(
    points: Sequence[Named], frame: Box, avoid: Sequence[Named] = ()
) -> list[tuple[int, int] | None]:
    """Where each point's name covers least: right or left (1, 0, −1) and lines up or down.

    Args:
        points: in points of paper, upwards; None for those whose names may be left out and have
            no room.
        frame: in which names should be.
        avoid: words that are already there, up and right of their points.
    """
    markers = [(p.x - _MARKER, p.y - _MARKER, p.x + _MARKER, p.y + _MARKER) for p in points]
    taken = [_box(word.x, word.y, printable(word.name), (1, 1)) for word in avoid]
    found: list[tuple[int, int] | None] = [None] * len(points)
    for place in sorted(range(len(points)), key=lambda place: not points[place].needed):
        point = points[place]
        least, best, best_box = math.inf, _SIDES[0], frame
        for side in _SIDES:
            box = _box(point.x, point.y, printable(point.name), side)
            cost = _cost(box, [*taken, *markers], frame)
            if cost < least:
                least, best, best_box = cost, side, box
            if not cost:
                break
        if least > 1 and not point.needed:
            continue
        taken.append(best_box)
        found[place] = best
    return found


def rise(lines: int) -> float:
    """How far above a point its name begins, or below it ends, that is some lines up or down."""
    if not lines:
        return 0.0
    return math.copysign(BESIDE_POINT + (abs(lines) - 1) * LINE * SMALL, lines)


def _box(x: float, y: float, text: str, side: tuple[int, int]) -> Box:
    width, height = text_inches(text, SMALL) * 72, LINE * SMALL
    left = x + {1: BESIDE_POINT, 0: -width / 2, -1: -BESIDE_POINT - width}[side[0]]
    bottom = y + rise(side[1]) - (height / 2 if not side[1] else 0 if side[1] > 0 else height)
    return left, bottom, left + width, bottom + height


def _cost(box: Box, others: Sequence[Box], frame: Box) -> float:
    """Square points that the box shares with others, or has outside the frame."""
    inside = _shared(box, frame)
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
    spread = apart(fractions, TEXT * LINE / height)
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
