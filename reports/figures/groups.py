"""Index groups against random and against the best ones: is GroupNorm's order of channels good?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from normstats.errors import MethodError
from normstats.findings import SIGNIFICANT
from normstats.study import Study
from normstats_reports.figures.scales import across_size, decades_axis, layers_across
from normstats_reports.figures.selection import layer_names
from normstats_reports.figures.style import (
    BESIDE,
    GREEN,
    LEGEND,
    ORANGE,
    grid,
    ink,
    legend,
    new_axes,
    styled,
    title,
)

Array = NDArray[np.float64]


@styled
def grouping(study: Study, ax: Axes | None = None, groups: int | None = None) -> Axes:
    """Bias² of the index groups against random and against the best ones found, layer by layer.

    Computed where the study does not have it yet. Filled points are better than random ones
    (q < 0.05).

    Args:
        study: to be shown.
        ax: to draw into; new ones by default.
        groups: the number of groups, where the study has several; the most common by default.

    Raises:
        MethodError: the study's audit has no layer with that many groups.
    """
    table = audited(study, groups)
    names = layer_names(study.tables.errors)
    tests = table.reindex(names)
    count = int(table["groups"].iloc[0])
    arrangements = study.arrangements()
    chosen = (arrangements["groups"] == count) & (arrangements["arrangement"] == "best")
    best = arrangements[chosen].set_index("layer")["closed_bias_sq"].reindex(names)
    if ax is None:
        width, margins = across_size(names, right=LEGEND)
        (ax,) = new_axes(width, 2.4, margins)
    title(ax, f"Bias² of {count} groups: by index, at random, the best")
    ax.set_ylabel("bias² [σ²]")
    layers_across(ax, names)
    columns = ["index_bias_sq", "random_bias_sq_low", "random_bias_sq_high"]
    index, low, high = tests[columns].to_numpy(dtype=np.float64).T
    decades_axis(ax.yaxis, np.concatenate([index, low, high, best.to_numpy()]))
    grid(ax, "y")
    _random_range(ax, low, high, "95 % of random")
    _index_points(ax, index, tests["q_value"].to_numpy(dtype=np.float64))
    ax.plot(
        *(np.arange(len(names)), best.to_numpy()),
        linestyle="none",
        marker="_",
        markersize=7,
        markeredgewidth=2,
        color=GREEN,
        label="best found",
    )
    legend(ax, **BESIDE)
    return ax


def audited(study: Study, groups: int | None = None) -> pd.DataFrame:
    """The grouping tests of one number of groups, by layer."""
    tests = study.grouping()
    count = int(tests["groups"].mode().iloc[0]) if groups is None else groups
    rows = tests[tests["groups"] == count]
    if rows.empty:
        known = ", ".join(str(some) for some in tests["groups"].unique())
        raise MethodError(
            f"The study has no audit of {count} groups.",
            f"It has {known}; others come with study.grouping([{count}]).",
        )
    return rows.set_index("layer")


def _random_range(ax: Axes, low: Array, high: Array, name: str) -> None:
    ax.vlines(
        *(np.arange(len(low)), low, high),
        color=ink(ax),
        alpha=0.3,
        linewidth=min(5.0, 120 / len(low)),
        label=name,
    )


def _index_points(ax: Axes, index: Array, q_value: Array) -> None:
    """Filled where the index groups are better than random ones."""
    better = q_value < SIGNIFICANT
    labels = {True: f"index, q < {SIGNIFICANT:g}", False: "index"}
    for filled in (False, True):
        chosen = (better == filled) & np.isfinite(index)
        if chosen.any():
            ax.plot(
                *(np.flatnonzero(chosen), index[chosen]),
                linestyle="none",
                marker="o",
                markersize=4.5,
                markerfacecolor=ORANGE if filled else "none",
                markeredgecolor=ORANGE,
                markeredgewidth=1.4,
                label=labels[filled],
            )


def alignment(ax: Axes, tests: pd.DataFrame) -> None:
    """Index groups' bias² over the mean of random ones."""
    groups = int(tests["groups"].dropna().iloc[0])
    title(ax, f"Are channels of one of {groups} index groups alike? (below 1: yes)")
    ax.set_ylabel("bias² over random")
    random = tests["random_bias_sq"].to_numpy(dtype=np.float64)
    index, low, high = (
        tests[column].to_numpy(dtype=np.float64) / random
        for column in ("index_bias_sq", "random_bias_sq_low", "random_bias_sq_high")
    )
    decades_axis(ax.yaxis, np.concatenate([index, low, high, [1.0]]))
    grid(ax, "y")
    ax.axhline(1, color=ink(ax), linewidth=0.8)
    _random_range(ax, low, high, "95 % of random")
    _index_points(ax, index, tests["q_value"].to_numpy(dtype=np.float64))
    legend(ax, **BESIDE)
