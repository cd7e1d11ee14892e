"""How the runs of a comparison are drawn: a colour, marker and line each, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from normstats_reports.figures.style import COLORS, Look

_MARKERS = "osD^vP*X<>"
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)))


def look_of(place: int) -> Look:
    """How the run at this place is drawn in every figure; the reference is the first."""
    return Look(
        COLORS[place % len(COLORS)], _MARKERS[place % len(_MARKERS)], LINES[place % len(LINES)]
    )


def line(ax: Axes, places: NDArray[Any], rows: pd.DataFrame, of_run: Look, name: str) -> None:
    """Points joined by a line, each with its interval as far as the Axes go."""
    columns = rows[["value", "value_low", "value_high"]].to_numpy(dtype=np.float64)
    value, low, high = columns.T
    known = np.isfinite(value) & ~np.isnan(low) & ~np.isnan(high)
    ends: Any = np.clip([low[known], high[known]], *ax.get_ylim())
    ax.vlines(places[known], *ends, color=of_run.color, linewidth=1.2)
    ax.plot(
        *(places, value),
        color=of_run.color,
        linestyle=of_run.line,
        marker=of_run.marker,
        markersize=4,
        linewidth=1.1,
        label=name,
    )
