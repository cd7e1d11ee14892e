"""Batches put together by class: what they cost BatchNorm, layer by layer."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from normstats.errors import SettingError
from normstats.study import Study
from normstats_reports.figures.scales import across_size, decades_axis, layers_across
from normstats_reports.figures.selection import UNITS, layer_names
from normstats_reports.figures.style import (
    BESIDE,
    BLUE,
    GREEN,
    GREY,
    LEGEND,
    RED,
    grid,
    ink,
    legend,
    new_axes,
    say,
    styled,
    title,
)

# Drawn in this order, so that what lies on another is seen.
_COMPOSITIONS = {
    "single-class": (RED, "D", 4.5),
    "iid": (BLUE, "o", 5.5),
    "class-balanced": (GREEN, "^", 3.5),
}
_FLOORS = {"floor": "floor of single-class", "floor_by_chance": "floor by chance"}


@styled
def composition(study: Study, batch: int | None = None, ax: Axes | None = None) -> Axes:
    """BatchNorm's error by the composition of its batch, layer by layer.

    Computed where the study does not have it yet. The floor is what the error of single-class
    batches falls to however large they are; by chance is the floor of labels that say nothing.

    Args:
        study: of images with classes.
        batch: the batch size; the largest of the study's by default.
        ax: to draw into; new ones by default.

    Raises:
        ImagesError: the images have no classes.
        SettingError: the study has no batches of that size.
    """
    table, classes = study.composition(), study.classes().set_index("layer")
    sizes = sorted(int(size) for size in table["batch"].unique())
    size = sizes[-1] if batch is None else batch
    rows = table[table["batch"] == size]
    if rows.empty:
        raise SettingError(
            f"The study has no composed batches of {size}.",
            f"It has {', '.join(map(str, sizes))}; others come with study.composition([{size}]).",
        )
    names = layer_names(study.tables.errors)
    errors = rows.pivot_table("error", "layer", "composition", aggfunc="first").reindex(names)
    floors = classes[list(_FLOORS)].reindex(names)
    if ax is None:
        width, margins = across_size(names, right=LEGEND)
        (ax,) = new_axes(width, 2.4, margins)
    title(ax, f"BatchNorm with batches of {size}, by what they are made of")
    ax.set_ylabel(UNITS["error"])
    layers_across(ax, names)
    if not np.isfinite(errors.to_numpy()).any():
        say(ax, "no layer has a value")
        return ax
    decades_axis(ax.yaxis, np.concatenate([errors.to_numpy().ravel(), floors.to_numpy().ravel()]))
    grid(ax, "y")
    places = np.arange(len(names))
    for (column, name), color in zip(_FLOORS.items(), (ink(ax), GREY), strict=True):
        ax.plot(
            *(places, floors[column]),
            linestyle="none",
            marker="_",
            markersize=8,
            markeredgewidth=1.6,
            color=color,
            label=name,
        )
    for name, (color, marker, markersize) in _COMPOSITIONS.items():
        ax.plot(
            *(places, errors[name]),
            linestyle="none",
            marker=marker,
            markersize=markersize,
            color=color,
            label=name,
        )
    legend(ax, reverse=True, handletextpad=0.2, **BESIDE)
    return ax
