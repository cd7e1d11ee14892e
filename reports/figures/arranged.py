"""Other ways to put channels into groups, against groups by index."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from normstats.study import Study
from normstats_reports.figures.groups import audited
from normstats_reports.figures.scales import decades_axis, set_ticks
from normstats_reports.figures.style import (
    BESIDE,
    BLUE,
    GREEN,
    LEGEND,
    ORANGE,
    Margins,
    grid,
    ink,
    legend,
    new_axes,
    say,
    styled,
    title,
)

ARRANGEMENTS = ("random", "similar", "correlated", "best")
_QUANTITIES = {
    "bias_sq": ("bias²", BLUE, "o"),
    "error": ("error", ORANGE, "s"),
    "residual": ("residual", GREEN, "^"),
}
_STEP, _WIDTH = 0.27, 0.2  # between quantities; of the layers of one
_MANY = 300  # points: drawn as an image in SVG


@styled
def arrangements(study: Study, groups: int | None = None, ax: Axes | None = None) -> Axes:
    """What other groups of channels have of the index groups' bias², error and residual.

    A mark a layer, from the first at the left to the last at the right; the bar is their median.
    Computed where the study does not have it yet.

    Args:
        study: to be shown.
        groups: the number of groups, where the study has several; the most common by default.
        ax: to draw into; new ones by default.

    Raises:
        MethodError: the study's audit has no layer with that many groups.
    """
    count = int(audited(study, groups)["groups"].iloc[0])
    ratios = over_index(study.arrangements(), count)
    if ax is None:
        (ax,) = new_axes(4.6, 2.6, Margins(right=LEGEND))
    title(ax, f"{count} groups: what others have of the index groups' error")
    ax.set_ylabel("ratio to index groups")
    known = ratios[list(_QUANTITIES)].to_numpy(dtype=np.float64)
    if not np.isfinite(known).any():
        say(ax, "no layer has a value")
        return ax
    ax.set_xlim(-0.5, len(ARRANGEMENTS) - 0.5)
    set_ticks(ax.xaxis, list(range(len(ARRANGEMENTS))), ARRANGEMENTS)
    decades_axis(ax.yaxis, [*known.ravel(), 1.0])
    grid(ax, "y")
    ax.axhline(1, color=ink(ax), linewidth=0.8)
    for shift, (column, (name, color, marker)) in zip(
        (-_STEP, 0, _STEP), _QUANTITIES.items(), strict=True
    ):
        for place, arrangement in enumerate(ARRANGEMENTS):
            values = ratios.loc[ratios["arrangement"] == arrangement, column].to_numpy()
            _strip(ax, place + shift, values, color, marker, "" if place else name)
    legend(ax, handletextpad=0.2, **BESIDE)
    return ax


def over_index(arrangements: pd.DataFrame, groups: int) -> pd.DataFrame:
    """Each arrangement's bias², error and residual over those of the index groups, by layer.

    Args:
        arrangements: of a study.
        groups: of this number of groups.
    """
    rows = arrangements[arrangements["groups"] == groups]
    by_index = rows[rows["arrangement"] == "index"].set_index("layer")
    columns = list(_QUANTITIES)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = rows[columns].to_numpy() / by_index.loc[rows["layer"], columns].to_numpy()
    return rows[["layer", "arrangement"]].assign(**dict(zip(columns, ratios.T, strict=True)))


def _strip(
    ax: Axes, middle: float, values: NDArray[np.float64], color: str, marker: str, name: str
) -> None:
    """A mark a layer, and their median."""
    places = middle + np.linspace(-_WIDTH / 2, _WIDTH / 2, len(values))
    ax.plot(
        *(places, values),
        linestyle="none",
        marker=marker,
        markersize=3.5,
        markeredgewidth=0,
        alpha=0.85,
        color=color,
        label=name or "_",
        rasterized=len(values) * len(ARRANGEMENTS) * len(_QUANTITIES) > _MANY,
    )
    ends = (middle - _WIDTH / 2 - 0.02, middle + _WIDTH / 2 + 0.02)
    ax.hlines(float(np.nanmedian(values)), *ends, color=ink(ax), linewidth=1.6)
