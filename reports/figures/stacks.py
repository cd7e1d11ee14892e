"""What a method's error is made of, layer by layer."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from normstats.study import Study
from normstats_reports.figures.scales import across_size, layers_across, plain
from normstats_reports.figures.selection import UNITS, rows_of_method
from normstats_reports.figures.style import (
    BESIDE,
    BLUE,
    LEGEND,
    LIGHT_BLUE,
    RED,
    SMALL,
    YELLOW,
    grid,
    ink,
    legend,
    new_axes,
    say,
    styled,
    title,
)
from normstats_reports.terminal import compact

Array = NDArray[np.float64]

# Bias dark and plain, variance light and hatched: to be told apart in grey as well.
PARTS = {
    "mean_bias_sq": ("mean: bias²", BLUE, ""),
    "std_bias_sq": ("std: bias²", RED, ""),
    "mean_variance": ("mean: variance", LIGHT_BLUE, "////"),
    "std_variance": ("std: variance", YELLOW, "\\\\\\\\"),
}
_HATCH = "#303030"  # bars are light in a dark theme too
_CUT = 20.0  # times the median: higher bars are cut off, and their number is written


@styled
def error_parts(study: Study, method: str, ax: Axes | None = None) -> Axes:
    """The parts of a method's error, stacked, a bar a layer in depth order.

    The bar's end has the error's 95 % confidence interval. A bar of more than twenty times the
    median is cut off, with its error written above.

    Args:
        study: to be shown.
        method: its name.
        ax: to draw into; new ones by default.

    Raises:
        MethodError: the study does not have it.
    """
    rows = rows_of_method(study, method)
    names = [str(name) for name in rows.index]
    if ax is None:
        width, margins = across_size(names, right=LEGEND)
        (ax,) = new_axes(width, 2.4, margins)
    title(ax, f"{method}: what the error is made of")
    ax.set_ylabel(UNITS["error"])
    layers_across(ax, names)
    errors = rows["error"].to_numpy(dtype=np.float64)
    finite = errors[np.isfinite(errors)]
    if not finite.size:
        say(ax, f"{method} has no value in any layer")
        return ax
    low, high = (rows[f"error_{end}"].to_numpy(dtype=np.float64) for end in ("low", "high"))
    cut = errors > np.median(finite) * _CUT
    ends = np.where(cut, np.nan, np.fmax(errors, high))
    ceiling = float(np.nanmax(ends)) or 1.0
    ax.set_ylim(0, ceiling * (1.22 if cut.any() else 1.06))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    grid(ax, "y")
    _stack(ax, rows, ceiling)
    places = np.arange(len(names))
    whole = np.isfinite(low) & np.isfinite(high) & ~cut
    ax.vlines(
        places[whole],
        low[whole],
        high[whole],
        color=ink(ax),
        linewidth=min(1.2, 60 / len(names)),
        zorder=3,
    )
    for place in np.flatnonzero(cut):
        _write_cut_off(ax, int(place), float(errors[place]), ceiling)
    legend(ax, reverse=True, **BESIDE)
    return ax


def _stack(ax: Axes, rows: pd.DataFrame, ceiling: float) -> None:
    below = np.zeros(len(rows))
    for term, (name, color, hatch) in PARTS.items():
        above = below + rows[term].to_numpy(dtype=np.float64)
        bottom, top = (np.minimum(ends, ceiling) for ends in (below, above))
        bars = PathPatch(
            _rectangles(bottom, top),
            facecolor=color,
            hatch=hatch,
            edgecolor=_HATCH,
            linewidth=0,
            label=name,
        )
        ax.add_patch(bars)
        below = above


def _rectangles(bottom: Array, top: Array) -> Path:
    """One path of all bars: a patch each would take seconds for some hundred layers."""
    known = np.flatnonzero(top > bottom)
    low, high = bottom[known], top[known]
    left, right = known - 0.4, known + 0.4
    corners = [(left, low), (right, low), (right, high), (left, high)]
    return Path.make_compound_path_from_polys(np.stack([np.stack(c, -1) for c in corners], 1))


def _write_cut_off(ax: Axes, place: int, error: float, ceiling: float) -> None:
    ax.text(
        *(place, ceiling * 1.02, f"↑{compact(error)}"),
        rotation=90,
        rotation_mode="anchor",
        ha="left",
        va="center",
        fontsize=SMALL - 0.5,
        color=ink(ax),
    )
