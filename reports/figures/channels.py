"""One layer's channels: are they alike, as LayerNorm and GroupNorm take them to be?"""

from __future__ import annotations

import math
from itertools import cycle, islice

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from normstats.methods import Method
from normstats.study import Study
from normstats_reports.figures.scales import decades_axis
from normstats_reports.figures.selection import rows_of_layer
from normstats_reports.figures.style import (
    BESIDE,
    COLORS,
    GREY,
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

Array = NDArray[np.float64]

_MOST_COLORS = 8  # groups
_MARKERS = ("o", "s", "^", "D", "v", "P", "*", ">")
_GROUP_COLORS = [color for color in COLORS if color not in (COLORS[6], COLORS[7], COLORS[8])]
_MANY = 200  # points: drawn as an image in SVG
_WIDE = 20.0  # ratio of largest to smallest from which on the axis is logarithmic


@styled
def channel_map(
    study: Study, layer: str, groups: int | None = None, ax: Axes | None = None
) -> Axes:
    """The channels' ideal means against their ideal standard deviations.

    The cross is what all channels together have: were LayerNorm's assumption true, every channel
    would lie there.

    Args:
        study: of the layer.
        layer: its name.
        groups: index groups to colour; by default those of the study's GroupNorm, up to eight.
        ax: to draw into; new ones by default.

    Raises:
        LayerError: the study has no such layer.
        MethodError: that many groups do not divide the channels.
    """
    channels = rows_of_layer(study, layer, study.tables.channels)
    count = _groups(study, layer) if groups is None else groups
    Method.parse(f"gn:{count}").groups_in(len(channels))
    if ax is None:
        (ax,) = new_axes(3.8, 3.2, Margins(right=1.2))
    title(ax, f"{layer_label(layer)}: {len(channels)} channels, mean against std")
    ax.set_xlabel("mean μ [activation]")
    ax.set_ylabel("std σ [activation]")
    mean = channels["mean"].to_numpy()
    std = np.sqrt(channels["variance"].to_numpy())
    alive = channels["alive"].to_numpy(dtype=bool)
    if not np.isfinite(std).any():
        say(ax, "no channel has a value here")
        return ax
    pooled = math.sqrt(float(np.mean(std**2) + np.var(mean)))
    bottom = _std_axis(ax, std[alive], pooled)
    grid(ax)
    of_group = np.arange(len(channels)) // (len(channels) // count)
    _draw_groups(ax, mean, np.maximum(std, bottom), alive, of_group)
    ax.plot(
        *([mean.mean()], [max(pooled, bottom)]),
        linestyle="none",
        marker="+",
        markersize=13,
        markeredgewidth=2,
        color=ink(ax),
        label="all pooled",
        clip_on=False,
    )
    legend(ax, handletextpad=0.2, **BESIDE)
    return ax


def _groups(study: Study, layer: str) -> int:
    """The most groups, up to eight, of a GroupNorm that the layer has; else one."""
    rows = rows_of_layer(study, layer)
    counts = rows.loc[rows["method"].str.startswith("gn:"), "groups"]
    known = [int(groups) for groups in counts.dropna() if groups <= _MOST_COLORS]
    return max(known, default=1)


def _std_axis(ax: Axes, std: Array, pooled: float) -> float:
    """Over the live channels; logarithmic where they differ much. The lowest value drawn."""
    values = np.append(std[std > 0], pooled)
    values = values[values > 0]
    if values.size and values.max() / values.min() > _WIDE:
        low, _ = decades_axis(ax.yaxis, np.maximum(values, values.max() * 1e-5))
        return low
    ax.set_ylim(0, (float(values.max()) if values.size else 1.0) * 1.08)
    return 0.0


def _draw_groups(
    ax: Axes, mean: Array, std: Array, alive: NDArray[np.bool_], of_group: NDArray[np.int64]
) -> None:
    """Live channels in their group's colour and marker, dead ones as crosses."""
    count = int(of_group.max()) + 1
    markers = list(islice(cycle(_MARKERS), count))
    colors = list(islice(cycle(_GROUP_COLORS), count))
    for group in range(count):
        chosen = alive & (of_group == group)
        if not chosen.any():
            continue
        ax.plot(
            *(mean[chosen], std[chosen]),
            linestyle="none",
            marker=markers[group],
            markersize=5.5 if len(mean) < _MANY else 3.5,
            markeredgewidth=0,
            color=colors[group],
            alpha=0.85,
            label=_group_label(group, count),
            rasterized=len(mean) > _MANY,
            clip_on=False,
        )
    if not alive.all():
        ax.plot(
            *(mean[~alive], std[~alive]),
            linestyle="none",
            marker="x",
            markersize=5,
            color=GREY,
            label=f"dead ({int((~alive).sum())})",
            rasterized=len(mean) > _MANY,
            clip_on=False,
        )


def _group_label(group: int, count: int) -> str:
    """In the legend where there are few."""
    if count == 1:
        return "channels"
    return f"group {group + 1}" if count <= 16 else f"_group {group + 1}"
