"""Axes over decades, over batch sizes and over layers, with few and plain tick labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from normstats_reports.figures.style import SMALL, Margins, layer_label, text_inches

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MOST_TICKS = 7
DECADES = 5  # that an axis covers unless asked for others
LINEAR = 0.6  # decades that zero to the smallest value have
LAYER_TICK = 0.14  # inches that a layer's name needs


def plain(value: float) -> str:
    """0.01, 5, 200, 10⁻⁵, 2.5·10⁻⁵."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    power = "10" + str(int(exponent)).translate(_SUPERSCRIPTS)
    digits = mantissa.rstrip("0").rstrip(".")
    return power if digits == "1" else f"{digits}·{power}"


@dataclass(frozen=True)
class Decades:
    """A logarithmic scale over some values, with a zero where some are as good as zero.

    Attributes:
        low, high: the ends; the lower one is negative where there is a zero.
        ticks: few and round.
        threshold: what is smaller lies between it and zero; 0 where there is no zero.
    """

    low: float
    high: float
    ticks: list[float]
    threshold: float = 0.0

    @classmethod
    def over(cls, values: Iterable[float], *, pad: float = 1.6, decades: int = DECADES) -> Decades:
        """Args:
        values: those that are not finite do not count.
        pad: factor between the outermost values and the ends.
        decades: below the largest value; what is smaller is as good as zero.
        """
        known = np.array([value for value in values if np.isfinite(value)], dtype=np.float64)
        positive = known[known > 0]
        if not positive.size:
            positive = np.array([1.0])
        top, least = float(positive.max()), float(positive.min())
        floor = max(least, top * 10.0**-decades)
        if (known < floor * (1 - 1e-9)).any():
            high = top * pad
            return cls(-0.5 * floor, high, [0.0, *log_ticks(floor, high)], floor)
        low, high = floor / pad, top * pad
        return cls(low, high, log_ticks(low, high))


def decades_axis(
    axis: Axis, values: Iterable[float], *, pad: float = 1.6, decades: int = DECADES
) -> tuple[float, float]:
    """An axis over the decades of the values; its ends.

    Args:
        axis: ``ax.xaxis`` or ``ax.yaxis``.
        values, pad, decades: as of ``Decades.over``.
    """
    scale = Decades.over(values, pad=pad, decades=decades)
    set_scale = axis.axes.set_xscale if isinstance(axis, XAxis) else axis.axes.set_yscale
    if scale.threshold:
        set_scale("symlog", linthresh=scale.threshold, linscale=LINEAR)
    else:
        set_scale("log")
    _set_limits(axis, scale.low, scale.high)
    set_ticks(axis, scale.ticks)
    return scale.low, scale.high


def log_ticks(low: float, high: float) -> list[float]:
    """Decades between the ends, or 1, 2, 5 and their decades where there are too few of them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))

    def between(steps: Sequence[float]) -> list[float]:
        # By division: 1e-5 is a rounder number than 10 ** -5.0 is.
        every = (s * 10**e if e >= 0 else s / 10**-e for e in range(first, last + 1) for s in steps)
        return [tick for tick in every if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]

    decades = between([1])
    if len(decades) > _MOST_TICKS:
        return decades[:: math.ceil(len(decades) / _MOST_TICKS)]
    if len(decades) >= 3:
        return decades
    for steps in ([1, 3], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9]):
        ticks = between(steps)
        if len(ticks) >= 3:
            break
    return ticks[:: math.ceil(len(ticks) / _MOST_TICKS)] if ticks else []


def batch_axis(axis: Axis, batches: Sequence[int], *, pad: float = 1.15) -> None:
    """A logarithmic axis over batch sizes, which are its ticks."""
    set_scale = axis.axes.set_xscale if isinstance(axis, XAxis) else axis.axes.set_yscale
    set_scale("log", base=2)
    _set_limits(axis, min(batches) / pad, max(batches) * pad)
    step = math.ceil(len(batches) / 12)
    set_ticks(axis, [float(batch) for batch in batches[::step]])


def set_ticks(axis: Axis, ticks: Sequence[float], labels: Sequence[str] | None = None) -> None:
    """These ticks and no others."""
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_minor_locator(NullLocator())
    if labels is None:
        axis.set_major_formatter(FixedFormatter([plain(tick) for tick in ticks]))
        return
    axis.set_major_formatter(FixedFormatter(list(labels)))
    for label in axis.get_ticklabels():
        label.set_parse_math(False)


def _set_limits(axis: Axis, low: float, high: float) -> None:
    if isinstance(axis, XAxis):
        axis.axes.set_xlim(low, high)
    else:
        axis.axes.set_ylim(low, high)


def layers_across(ax: Axes, names: Sequence[str]) -> None:
    """Layers along the x axis in depth order, as many of them named as there is room for."""
    ax.set_xlim(-0.6, len(names) - 0.4)
    width = ax.get_window_extent().width / ax.figure.dpi
    chosen = thinned(len(names), width)
    set_ticks(ax.xaxis, chosen, [layer_label(names[place]) for place in chosen])
    for label in ax.get_xticklabels():
        label.set(rotation=90, rotation_mode="anchor", ha="right", va="center", size=SMALL)


def thinned(count: int, inches: float) -> list[int]:
    """The places that are named, evenly spaced, from the first on."""
    room = max(1, int(inches / LAYER_TICK))
    return list(range(0, count, math.ceil(count / room)))


def across_size(names: Sequence[str], right: float = 0.2) -> tuple[float, Margins]:
    """Inches that layers along the x axis need, and the margins that their names need."""
    width = min(max(0.3 * len(names), 3.2), 8.0)
    longest = max(text_inches(layer_label(name), SMALL) for name in names)
    return width, Margins(right=right, bottom=longest + 0.2)
