"""Numbers over the depth of the network: parts of the error, what an image is worth, groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from normstats.findings import batch_norm_sizes, group_norm
from normstats.study import Study
from normstats_reports.figures.groups import alignment, audited
from normstats_reports.figures.scales import (
    across_size,
    batch_axis,
    decades_axis,
    layers_across,
)
from normstats_reports.figures.selection import (
    check_quantity,
    layer_names,
)
from normstats_reports.figures.style import (
    BESIDE,
    BLUE,
    LEGEND,
    RED,
    grid,
    ink,
    legend,
    look,
    new_axes,
    say,
    styled,
    title,
)

Array = NDArray[np.float64]


@styled
def depth_profiles(study: Study, quantity: str = "residual") -> Figure:
    """Over depth: what an image is worth, where BatchNorm meets LN and GN, and how groups do.

    The lowest panel is the bias² of the index groups over that of random ones where the study has
    its grouping, else the design effect. Bars are 95 % confidence intervals over images (of the
    grouping: the central 95 % of random groups); arrows are crossovers outside the sizes computed.

    Args:
        study: to be shown.
        quantity: of the crossovers: ``"error"`` or ``"residual"``.

    Raises:
        SettingError: the quantity is neither.
    """
    check_quantity(quantity)
    names = layer_names(study.tables.layers)
    width, margins = across_size(names, right=LEGEND)
    worth, crossing, last = new_axes(width, 1.6, margins, rows=3)
    _effective_samples(worth, study.tables.layers)
    _crossovers(crossing, study, names, quantity)
    if "grouping" in study.parts:
        alignment(last, audited(study).reindex(names))
    else:
        _design_effects(last, study.tables.layers)
    layers_across(last, names)
    for ax in (worth, crossing):
        ax.set(xlim=last.get_xlim(), xticks=[])
    figure = last.get_figure()
    assert isinstance(figure, Figure)
    return figure


def _effective_samples(ax: Axes, layers: pd.DataFrame) -> None:
    columns = {"mean": ("to the mean", BLUE, "o"), "variance": ("to the variance", RED, "s")}
    values = [layers["positions"], *(layers[f"effective_samples_{what}"] for what in columns)]
    decades_axis(ax.yaxis, np.concatenate(values))
    title(ax, "What an image is worth")
    ax.set_ylabel("independent values")
    grid(ax, "y")
    ax.plot(
        np.arange(len(layers)),
        layers["positions"],
        drawstyle="steps-mid",
        color=ink(ax),
        linewidth=1,
        linestyle=(0, (3, 2)),
        label="its positions",
    )
    for shift, (what, (name, color, marker)) in zip((-0.12, 0.12), columns.items(), strict=True):
        of_column = layers[[f"effective_samples_{what}{end}" for end in ("", "_low", "_high")]]
        value, low, high = of_column.to_numpy(dtype=np.float64).T
        _dots(ax, value, low, high, shift, color, marker, name)
    legend(ax, **BESIDE)


def _crossovers(ax: Axes, study: Study, names: list[str], quantity: str) -> None:
    title(ax, f"From which batch BatchNorm has less {quantity}")
    ax.set_ylabel("batch size B*")
    sizes = batch_norm_sizes(study.tables.errors)
    table = study.tables.crossovers[study.tables.crossovers["quantity"] == quantity]
    pooled = group_norm(study.tables.errors)
    drawn = [name for name in ("ln", pooled) if name and (table["method"] == name).any()]
    if not drawn:
        say(ax, "neither ln nor gn was compared with BatchNorm")
        ax.set_yticks([])
        return
    batch_axis(ax.yaxis, sizes, pad=1.4)
    grid(ax, "y")
    beyond = ""
    for shift, method in zip((-0.12, 0.12), drawn, strict=False):
        rows = table[table["method"] == method].set_index("layer").reindex(names)
        columns = rows[["batch_number", "batch_low", "batch_high"]]
        value, low, high = columns.to_numpy(dtype=np.float64).T
        of_method = look(method)
        inside = (value > 0) & np.isfinite(value)
        shown = np.where(inside, value, np.nan)
        _dots(ax, shown, low, high, shift, of_method.color, of_method.marker, f"than {method}")
        for outside, edge, arrow in ((value == 0, 0, "v"), (np.isposinf(value), 1, "^")):
            if not outside.any():
                continue
            beyond = f"outside {sizes[0]} to {sizes[-1]}"
            ax.plot(
                *(np.flatnonzero(outside) + shift, np.full(outside.sum(), ax.get_ylim()[edge])),
                linestyle="none",
                marker=arrow,
                markersize=5,
                markerfacecolor="none",
                markeredgecolor=of_method.color,
                clip_on=False,
            )
    if beyond:
        marks = {"marker": "v", "markersize": 5, "markerfacecolor": "none", "color": ink(ax)}
        ax.plot([], [], linestyle="none", label=beyond, **marks)
    legend(ax, **BESIDE)


def _design_effects(ax: Axes, layers: pd.DataFrame) -> None:
    """Kish's: positions over effective samples."""
    title(ax, "Design effect: positions that make one independent value")
    ax.set_ylabel("positions")
    decades_axis(
        ax.yaxis, np.concatenate([layers[f"design_effect_{w}"] for w in ("mean", "variance")])
    )
    grid(ax, "y")
    for shift, what, color, marker in ((-0.12, "mean", BLUE, "o"), (0.12, "variance", RED, "s")):
        value = layers[f"design_effect_{what}"].to_numpy(dtype=np.float64)
        low, high = (
            (layers["positions"] / layers[f"effective_samples_{what}_{end}"]).to_numpy()
            for end in ("high", "low")
        )
        _dots(ax, value, low, high, shift, color, marker, f"of the {what}")
    legend(ax, **BESIDE)


def _dots(
    ax: Axes,
    value: Array,
    low: Array,
    high: Array,
    shift: float,
    color: str,
    marker: str,
    name: str,
) -> None:
    """A point a layer, with its interval as far as the Axes go."""
    places = np.arange(len(value)) + shift
    known = np.isfinite(value) & ~np.isnan(low) & ~np.isnan(high)
    ends: Any = np.clip([low[known], high[known]], *ax.get_ylim())
    ax.vlines(places[known], *ends, color=color, linewidth=1.4)
    ax.plot(places, value, linestyle="none", marker=marker, markersize=4, color=color, label=name)
