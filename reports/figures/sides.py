"""Errors and crossovers of several runs side by side, by relative depth."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from normstats.comparison import Comparison
from normstats.errors import MethodError, did_you_mean
from normstats.findings import batch_norm_sizes
from normstats.printable import printable
from normstats_reports.figures.run_lines import line, look_of
from normstats_reports.figures.scales import batch_axis, decades_axis, set_ticks
from normstats_reports.figures.selection import UNITS, check_quantity
from normstats_reports.figures.style import (
    BESIDE,
    LEGEND,
    Margins,
    grid,
    ink,
    layer_label,
    legend,
    new_axes,
    say,
    styled,
    title,
)


@styled
def errors_by_depth(
    comparison: Comparison, method: str, quantity: str = "error", ax: Axes | None = None
) -> Axes:
    """One method in every run, by relative depth; bars are 95 % confidence intervals.

    Args:
        comparison: any.
        method: that some run has.
        quantity: ``"error"`` or ``"residual"``.
        ax: to draw into; new ones by default.

    Raises:
        MethodError: no run has the method.
        SettingError: the quantity is neither.
    """
    check_quantity(quantity)
    table = comparison.errors()
    rows = table[table["method"] == method]
    if rows.empty:
        known = [str(name) for name in table["method"].unique()]
        raise MethodError(
            f"No run has the method {printable(method)!r}.",
            did_you_mean(method, known) or f"There are {', '.join(known)}.",
        )
    rows = rows.assign(
        value=rows[quantity], value_low=rows[f"{quantity}_low"], value_high=rows[f"{quantity}_high"]
    )
    if ax is None:
        (ax,) = new_axes(5.2, 2.4, Margins(right=LEGEND))
    title(ax, f"{quantity} of {printable(method)} by depth")
    ax.set_ylabel(UNITS[quantity])
    _depth_axis(ax)
    if not (rows["value"] > 0).any():
        say(ax, "nothing to be seen: no value, or all are zero")
        return ax
    decades_axis(ax.yaxis, rows["value"])
    grid(ax, "y")
    _lines_by_depth(ax, comparison, rows)
    return ax


@styled
def crossovers_by_depth(
    comparison: Comparison, method: str = "ln", quantity: str = "residual", ax: Axes | None = None
) -> Axes:
    """The batch size from which BatchNorm is better than a method, by relative depth.

    Arrows are crossovers outside the batch sizes computed.

    Args:
        comparison: any.
        method: that some run has compared with BatchNorm.
        quantity: ``"error"`` or ``"residual"``.
        ax: to draw into; new ones by default.

    Raises:
        MethodError: no run has.
        SettingError: the quantity is neither.
    """
    check_quantity(quantity)
    table = comparison.crossovers()
    rows = table[(table["method"] == method) & (table["quantity"] == quantity)]
    if rows.empty:
        known = [str(name) for name in table["method"].unique()]
        raise MethodError(
            f"No run has compared {printable(method)!r} with BatchNorm.",
            did_you_mean(method, known) or f"There are {', '.join(known) or 'none'}.",
        )
    sizes = batch_norm_sizes(comparison.errors())
    if ax is None:
        (ax,) = new_axes(5.2, 2.4, Margins(right=LEGEND))
    title(ax, f"From which batch BatchNorm has less {quantity} than {printable(method)}")
    ax.set_ylabel("batch size B*")
    _depth_axis(ax)
    batch_axis(ax.yaxis, sizes, pad=1.4)
    grid(ax, "y")
    number = rows["batch_number"].astype(float)
    inside = (number > 0) & np.isfinite(number)
    outside = rows[~inside & number.notna()]
    rows = rows.assign(
        value=number.where(inside), value_low=rows["batch_low"], value_high=rows["batch_high"]
    )
    _lines_by_depth(ax, comparison, rows, legend_too=False)
    for place, run in enumerate(comparison.names):
        of_run = outside[outside["run"] == run]
        for below, arrow, edge in ((True, "v", 0), (False, "^", 1)):
            chosen = of_run[(of_run["batch_number"].astype(float) == 0) == below]
            ax.plot(
                *(chosen["depth"], np.full(len(chosen), ax.get_ylim()[edge])),
                linestyle="none",
                marker=arrow,
                markersize=5,
                markerfacecolor="none",
                markeredgecolor=look_of(place).color,
                clip_on=False,
            )
    if len(outside):
        marks = {"marker": "v", "markersize": 5, "markerfacecolor": "none", "color": ink(ax)}
        ax.plot([], [], linestyle="none", label=f"outside {sizes[0]} to {sizes[-1]}", **marks)
    legend(ax, **BESIDE)
    return ax


def _lines_by_depth(
    ax: Axes, comparison: Comparison, rows: pd.DataFrame, *, legend_too: bool = True
) -> None:
    for place, run in enumerate(comparison.names):
        of_run = rows[rows["run"] == run].sort_values("depth", kind="stable")
        if len(of_run):
            depth = of_run["depth"].to_numpy(dtype=np.float64)
            line(ax, depth, of_run, look_of(place), layer_label(run))
    if legend_too:
        legend(ax, **BESIDE)


def _depth_axis(ax: Axes) -> None:
    ax.set_xlim(-0.02, 1.02)
    set_ticks(ax.xaxis, [0, 0.25, 0.5, 0.75, 1], ["input", "¼", "½", "¾", "output"])
    ax.set_xlabel("relative depth")
