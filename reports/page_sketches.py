"""Two figures of a layer as plain SVG, cheap enough to be drawn for every layer of any network.

They show what ``figures.tradeoff`` and ``figures.batch_curve`` show, with the same scales, colours,
marks and names, in a hundredth of the time and a fifth of the room.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from normstats.decomposition import bias_and_variance
from normstats.findings import batch_norm_sizes
from normstats_reports.figures.batches import SHADE, equal_error_levels, known_levels
from normstats_reports.figures.labels import BESIDE_POINT, Named, rise, sides
from normstats_reports.figures.scales import Decades, plain
from normstats_reports.figures.selection import UNITS
from normstats_reports.figures.style import SMALL, look, text_inches
from normstats_reports.page_drawing import (
    HEIGHT,
    LEFT,
    NAMES,
    TO_MIDDLE,
    TOP,
    WIDTH,
    LineEnd,
    Scale,
    aligned,
    bottom_axis,
    dashes,
    left_axis,
    line_ends,
    marks,
    nothing,
    short,
    svg,
    text,
    xy,
)
from normstats_reports.terminal import compact

_Row = Mapping[Any, Any]  # of a table, by column

_ROOM = 8.0  # right of the axes, where no line ends
# Where a curve of equal error turns: logits of the variance's share.
_TURN = (-5, -3.5, -2.5, -1.7, -1, -0.5, 0, 0.5, 1, 1.7, 2.5, 3.5, 5)


def tradeoff(rows: pd.DataFrame) -> Markup:
    """Bias² against variance, a mark a method.

    Args:
        rows: of one layer in a study's errors.
    """
    points = [point for point in map(_point, rows.to_dict("records")) if point is not None]
    if not points:
        return nothing()
    across = Decades.over([point.variance for point in points], pad=2.2, decades=4)
    upwards = Decades.over([point.bias_sq for point in points], pad=2.2, decades=4)
    x, y = Scale.across(across), Scale.upwards(upwards)
    drawn = [
        *bottom_axis(across.ticks, x, "variance [σ²]"),
        *left_axis(upwards.ticks, y, "bias² [σ²]", grid=False),
    ]
    methods = [point.method for point in points]
    places = [(x(point.variance), y(point.bias_sq)) for point in points]
    errors = [point.error for point in points]
    levels = equal_error_levels(errors, max(across.threshold, upwards.threshold))
    words = _free_words(levels, x, y, places)
    drawn += _equal_errors(levels, x, y, words)
    curve = [at for at, method in enumerate(methods) if method.startswith("bn@")]
    curve.sort(key=lambda at: points[at].batch)
    if len(curve) > 1:
        course = " ".join(xy(*places[at]) for at in curve)
        drawn.append(f'<path d="M{course}" fill="none" stroke="{look("bn@1").color}"/>')
    ends = {methods[at] for at in (*curve[:1], *curve[-1:])}
    named = [
        Named(left, -down, method, needed=method in ends or not method.startswith("bn@"))
        for (left, down), method in zip(places, methods, strict=True)
    ]
    drawn += marks(methods, places)
    drawn.append(f'<g font-size="{short(SMALL)}">{"".join(_names(named, words))}</g>')
    return svg(drawn, LEFT + WIDTH + _ROOM)


@dataclass(frozen=True)
class _Point:
    """A method in the plane of bias² and variance; ``batch`` is BatchNorm's only."""

    method: str
    batch: int
    bias_sq: float
    variance: float
    error: float


def _point(row: _Row) -> _Point | None:
    """None where either part of the error is unknown."""
    bias_sq, variance = bias_and_variance(row)
    if not math.isfinite(bias_sq + variance):
        return None
    return _Point(str(row["method"]), row["batch"], bias_sq, variance, row["error"])


def _free_words(
    levels: Sequence[float], x: Scale, y: Scale, places: Sequence[tuple[float, float]]
) -> list[Named]:
    """Where the curves of equal error turn, and what is written there if no mark is near."""
    words: list[Named] = []
    for level in levels:
        said = f"{'' if words else 'error '}{plain(level)}"
        left, down = x(level / 2), y(level / 2)
        width, height = 72 * text_inches(said, SMALL), 2 * SMALL
        inside = left + width < LEFT + WIDTH and down - height > TOP
        near = (
            abs(mark[0] - left - width / 2) < width / 2 + height / 2
            and abs(mark[1] - down + height / 2) < height
            for mark in places
        )
        if inside and not any(near):
            words.append(Named(left, -down, said))
    return words


def _equal_errors(
    levels: Sequence[float], x: Scale, y: Scale, words: Sequence[Named]
) -> Iterable[str]:
    """Curves bias² + variance = a round number."""
    curves = ""
    for level in levels:
        # What of the curve is inside the axes, in shares of variance.
        least = max(x.ends[0] / level, 1 - y.ends[1] / level, 1e-7)
        most = min(x.ends[1] / level, 1 - y.ends[0] / level, 1 - 1e-7)
        if least < most:
            ends = [math.log(share / (1 - share)) for share in (least, most)]
            logits = np.unique([*ends, *(at for at in _TURN if ends[0] < at < ends[1])])
            shares = 1 / (1 + np.exp(-logits))
            course = (xy(x(level * share), y(level * (1 - share))) for share in shares)
            curves += f"M{' '.join(course)}"
    yield (
        f'<g opacity=".5" font-size="{short(SMALL)}"><path d="{curves}" fill="none" '
        'stroke="currentColor" stroke-width="1" stroke-dasharray="5 3"/>'
    )
    for word in words:
        yield text(word.x + 3, -word.y - 3, word.name)
    yield "</g>"


def _names(points: Sequence[Named], avoid: Sequence[Named]) -> Iterable[str]:
    """Each point's name where it covers least."""
    frame = (LEFT, -TOP - HEIGHT, LEFT + WIDTH + _ROOM, 0.0)  # above the axes as well
    by_side: dict[int, list[str]] = {}
    for point, side in zip(points, sides(points, frame, avoid), strict=True):
        if side is None:
            continue
        right, up = side
        base = TO_MIDDLE * SMALL if not up else 0.0 if up > 0 else 0.75 * SMALL
        left, down = point.x + right * BESIDE_POINT, -point.y - rise(up) + base
        by_side.setdefault(right, []).append(text(left, down, point.name))
    for right, names in by_side.items():
        yield aligned(right, names)


def batch_curve(rows: pd.DataFrame, crossovers: pd.DataFrame) -> Markup:
    """BatchNorm's error over batch sizes, the other methods' levels, and where they meet.

    Args:
        rows: of one layer in a study's errors.
        crossovers: of that layer's error, those among the batch sizes computed.
    """
    sizes = batch_norm_sizes(rows)
    known = [row for row in rows.to_dict("records") if math.isfinite(row["error"])]
    curve = sorted((row for row in known if _is_curve(row)), key=lambda row: row["batch"])
    others = [row for row in known if not _is_curve(row)]
    if not sizes or not known:
        return nothing()
    errors = {str(row["method"]): float(row["error"]) for row in known}
    levels = known_levels([row["error"] for row in curve], [row["error"] for row in others])
    upwards = Decades.over(levels)
    y = Scale.upwards(upwards)
    x = Scale(math.log2, (sizes[0] / 1.15, sizes[-1] * 1.15), LEFT, LEFT + WIDTH)
    step = math.ceil(len(sizes) / 12)
    drawn = [
        *bottom_axis([float(size) for size in sizes[::step]], x, "batch size B"),
        *left_axis(upwards.ticks, y, UNITS["error"], grid=True),
    ]
    families: dict[str, list[_Row]] = {}
    for row in others:
        families.setdefault(look(row["method"]).color, []).append(row)
    drawn += [_levels(families[color], y) for color in sorted(families)]
    ends = [_end(row, y) for row in others]
    if curve:
        drawn += _curve(curve, x, y)
        ends.append(LineEnd(y(curve[-1]["error"]), "BatchNorm", look("bn@1").color))
    for row in crossovers.to_dict("records"):
        drawn.append(_ring(row, x, y(errors[row["method"]])))
    return svg([*drawn, *line_ends(ends)], LEFT + WIDTH + NAMES)


def _is_curve(row: _Row) -> bool:
    return str(row["method"]).startswith("bn@")


def _curve(rows: Sequence[_Row], x: Scale, y: Scale) -> list[str]:
    """BatchNorm's, with its confidence band."""
    color = look("bn@1").color
    places = [(x(row["batch"]), y(row["error"])) for row in rows]
    known = [row for row in rows if math.isfinite(row["error_low"] + row["error_high"])]
    around = [xy(x(row["batch"]), y(row["error_high"])) for row in known]
    around += [xy(x(row["batch"]), y(row["error_low"])) for row in known[::-1]]
    course = " ".join(xy(*place) for place in places)
    return [
        f'<path d="M{" ".join(around)}z" fill="{color}" opacity="{SHADE:g}"/>' if around else "",
        f'<path d="M{course}" fill="none" stroke="{color}" stroke-width="2.4"/>',
        *marks([str(row["method"]) for row in rows], places),
    ]


def _end(row: _Row, y: Scale) -> LineEnd:
    """What is written at the end of a method's line; its error where that is below the axis."""
    method, error = str(row["method"]), float(row["error"])
    name = f"{method}: {compact(error)}" if error <= y.ends[0] else method
    return LineEnd(y(error), name, look(method).color)


def _levels(rows: Sequence[_Row], y: Scale) -> str:
    """Lines across of the methods of a family, with their confidence bands."""
    bands, lines = "", ""
    for row in rows:
        lines += f"M{xy(LEFT, y(row['error']))}h{short(WIDTH)}"
        if row["error"] > y.ends[0] and math.isfinite(row["error_low"] + row["error_high"]):
            top, bottom = y(row["error_high"]), y(row["error_low"])
            bands += (
                f'<path d="M{xy(LEFT, (top + bottom) / 2)}h{short(WIDTH)}" opacity="{SHADE:g}" '
                f'stroke-width="{short(bottom - top)}"/>'
            )
    method = str(rows[0]["method"])
    lines = f'<path d="{lines}"{dashes(method)}/>'
    return f'<g stroke="{look(method).color}">{bands}{lines}</g>'


def _ring(crossover: _Row, x: Scale, down: float) -> str:
    """At a crossover, with its interval as far as the axes go."""
    place, bar = x(crossover["batch_number"]), ""
    if math.isfinite(crossover["batch_low"]):
        start, stop = (x(max(crossover[f"batch_{end}"], x.ends[0])) for end in ("low", "high"))
        bar = f'<path d="M{xy(start, down)}H{short(stop)}" stroke-width="4"/>'
    ring = f'<circle cx="{short(place)}" cy="{short(down)}" r="6"/>'
    return f'<g fill="none" stroke="currentColor">{bar}{ring}</g>'
