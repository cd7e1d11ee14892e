"""BatchNorm's statistics mixed with another method's: what the best mix has, layer by layer."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from normstats.errors import SettingError
from normstats.study import Study
from normstats_reports.figures.scales import across_size, decades_axis, layers_across
from normstats_reports.figures.selection import UNITS, layer_names
from normstats_reports.figures.style import (
    BESIDE,
    LEGEND,
    grid,
    legend,
    look,
    new_axes,
    say,
    styled,
    title,
)

_USUAL = 8  # images a batch
_ALONE = ["error_of_batch_norm", "error_of_other"]


@styled
def mixing(study: Study, batch: int | None = None, ax: Axes | None = None) -> Axes:
    """The error of BatchNorm, of other methods and of the best mix of the two, layer by layer.

    Computed where the study does not have it yet. Hollow marks are a method alone, filled ones
    the mix.

    Args:
        study: to be shown.
        batch: BatchNorm's batch size; that of the study nearest to 8 by default.
        ax: to draw into; new ones by default.

    Raises:
        SettingError: the study has no mixes with batches of that size.
    """
    table = study.mixing()
    size = usual_batch(table) if batch is None else batch
    rows = table[table["batch"] == size]
    if rows.empty:
        sizes = ", ".join(str(some) for some in sorted(table["batch"].unique()))
        raise SettingError(
            f"The study has no mixes with batches of {size}.",
            f"It has {sizes}; others come with study.mixing(batches=[{size}]).",
        )
    names = layer_names(study.tables.errors)
    if ax is None:
        width, margins = across_size(names, right=LEGEND)
        (ax,) = new_axes(width, 2.4, margins)
    title(ax, f"BatchNorm with batches of {size}, alone and in the best mix")
    ax.set_ylabel(UNITS["error"])
    layers_across(ax, names)
    values = rows[["error", *_ALONE]].to_numpy(dtype=np.float64)
    if not np.isfinite(values).any():
        say(ax, "no layer has a value")
        return ax
    decades_axis(ax.yaxis, values.ravel())
    grid(ax, "y")
    by_other = {
        str(other): some.set_index("layer").reindex(names)
        for other, some in rows.groupby("other", sort=False)
    }
    # Drawn anew for each other method, and unknown where a layer cannot have that one.
    alone = pd.concat([some["error_of_batch_norm"] for some in by_other.values()], axis=1)
    _marks(ax, alone.bfill(axis=1).iloc[:, 0], "bn@1", "BatchNorm alone", mixed=False)
    for other, some in by_other.items():
        _marks(ax, some["error_of_other"], other, f"{other} alone", mixed=False)
    for other, some in by_other.items():
        _marks(ax, some["error"], other, f"mixed with {other}", mixed=True)
    legend(ax, handletextpad=0.2, **BESIDE)
    return ax


def usual_batch(table: pd.DataFrame) -> int:
    """The batch size nearest to 8 in a table of mixes."""
    return int(min(table["batch"].unique(), key=lambda size: abs(size - _USUAL)))


def _marks(ax: Axes, values: pd.Series[float], method: str, name: str, *, mixed: bool) -> None:
    of_method = look(method)
    ax.plot(
        *(np.arange(len(values)), values),
        linestyle="none",
        marker=of_method.marker,
        markersize=5,
        markerfacecolor=of_method.color if mixed else "none",
        markeredgecolor=of_method.color,
        label=name,
    )
