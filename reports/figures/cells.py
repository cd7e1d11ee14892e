"""Heat maps: layers by methods, and batch sizes by channels a group; colours over decades."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from normstats.plane import frontier
from normstats.study import Study
from normstats_reports.figures.scales import log_ticks, plain, set_ticks, thinned
from normstats_reports.figures.selection import (
    UNITS,
    check_quantity,
    layer_names,
    rows_of_layer,
)
from normstats_reports.figures.style import (
    ORANGE,
    SMALL,
    Margins,
    ink,
    layer_label,
    new_axes,
    styled,
    text_inches,
    title,
)
from normstats_reports.terminal import compact

Array = NDArray[np.float64]

_DECADES = 4  # of colour; below them all is one
_NUMBER_WIDTH, _NUMBER_HEIGHT = 0.42, 0.16  # inches
_MOST_WITH_NUMBERS = 40  # layers
_HIGHEST = 8.0  # inches


@styled
def heat_map(study: Study, quantity: str = "error", ax: Axes | None = None) -> Axes:
    """Layers down, methods across; the number in each cell where there is room.

    A dash where a layer cannot have the method, or the method has no value there.

    Args:
        study: to be shown.
        quantity: ``"error"`` or ``"residual"``.
        ax: to draw into; new ones by default.

    Raises:
        SettingError: the quantity is neither.
    """
    check_quantity(quantity)
    errors = study.tables.errors
    layers, methods = layer_names(errors), [str(name) for name in errors["method"].unique()]
    values = errors.pivot_table(quantity, "layer", "method", aggfunc="first")
    table = values.reindex(index=layers, columns=methods).to_numpy(dtype=np.float64)
    if ax is None:
        per_layer = 0.19 if len(layers) <= _MOST_WITH_NUMBERS else _HIGHEST / len(layers)
        longest = max(text_inches(layer_label(name)) for name in layers)
        margins = Margins(
            left=longest + 0.15,
            right=0.95,
            bottom=max(text_inches(name) for name in methods) + 0.2,
        )
        (ax,) = new_axes(
            max(0.45 * len(methods), 2.5),
            min(max(per_layer, 0.05) * len(layers), _HIGHEST),
            margins,
        )
    title(ax, f"{quantity} by layer and method")
    _draw_cells(ax, table, UNITS[quantity])
    set_ticks(ax.xaxis, list(range(len(methods))), methods)
    for label in ax.get_xticklabels():
        label.set(rotation=90, rotation_mode="anchor", ha="right", va="center")
    height = ax.get_window_extent().height / ax.figure.dpi
    chosen = thinned(len(layers), height)
    set_ticks(ax.yaxis, chosen, [layer_label(layers[place]) for place in chosen])
    return ax


@styled
def plane(study: Study, layer: str, quantity: str = "error", ax: Axes | None = None) -> Axes:
    """Every batch size with every group size, computed where the study does not have it yet.

    Framed cells are the frontier: the best for each number B·C/G of pooled values.

    Args:
        study: of the layer.
        layer: its name.
        quantity: ``"error"`` or ``"residual"``.
        ax: to draw into; new ones by default.

    Raises:
        LayerError: the plane has no such layer.
        SettingError: the quantity is neither.
    """
    check_quantity(quantity)
    rows = rows_of_layer(study, layer, study.plane())
    batches, sizes = (
        sorted(int(value) for value in rows[column].unique())
        for column in ("batch", "group_channels")
    )
    values = rows.pivot_table(quantity, "group_channels", "batch", aggfunc="first")
    table = values.reindex(index=sizes, columns=batches).to_numpy(dtype=np.float64)
    if ax is None:
        (ax,) = new_axes(
            max(0.55 * len(batches), 3.2), max(0.36 * len(sizes), 1.7), Margins(right=0.95)
        )
    title(ax, f"{layer_label(layer)}: {quantity}, frontier framed")
    names = {
        (sizes.index(size), batches.index(batch)): name
        for size, batch, name in zip(
            rows["group_channels"], rows["batch"], _cell_names(study, layer, rows), strict=True
        )
        if name
    }
    _draw_cells(ax, table, UNITS[quantity], names)
    ax.invert_yaxis()  # few channels at the bottom
    set_ticks(ax.xaxis, list(range(len(batches))), [str(batch) for batch in batches])
    set_ticks(ax.yaxis, list(range(len(sizes))), [str(size) for size in sizes])
    ax.set_xlabel("batch size B")
    ax.set_ylabel("channels a group C/G")
    best = frontier(rows, quantity)  # type: ignore[arg-type]
    for size, batch in zip(best["group_channels"], best["batch"], strict=True):
        corner = (batches.index(batch) - 0.46, sizes.index(size) - 0.44)
        ax.add_patch(Rectangle(corner, 0.92, 0.88, fill=False, edgecolor=ORANGE, linewidth=1.8))
    return ax


def _cell_names(study: Study, layer: str, rows: pd.DataFrame) -> list[str]:
    """IN, BN, LN, and the GroupNorms of the study or else of 32 groups."""
    errors = study.tables.errors
    is_group_norm = (errors["layer"] == layer) & errors["method"].str.fullmatch(r"gn:\d+")
    counts = {int(groups) for groups in errors.loc[is_group_norm, "groups"]}
    names = []
    for batch, groups, named in zip(rows["batch"], rows["groups"], rows["named"], strict=True):
        name = str(named).split("@")[0].upper()
        if not name and batch == 1 and groups in counts:
            name = f"GN:{groups}"
        names.append(name)
    return names


def _draw_cells(
    ax: Axes, table: Array, label: str, names: Mapping[tuple[int, int], str] | None = None
) -> None:
    """The table as an image, its scale of colours at the right, numbers where they fit."""
    ax.set_facecolor("none")
    for spine in ax.spines.values():
        spine.set_visible(False)
    positive = table[np.isfinite(table) & (table > 0)]
    high = float(positive.max()) if positive.size else 1.0
    low = max(float(positive.min()), high * 10.0**-_DECADES) if positive.size else 0.1
    if low == high:
        low, high = low / 2, high * 2
    norm = LogNorm(low, high, clip=True)
    colors = sns.color_palette("mako_r", as_cmap=True)
    # Zero is on no logarithmic scale; it has the colour of the smallest.
    shown = np.ma.masked_invalid(np.where(table <= 0, low, table))
    ax.imshow(shown, cmap=colors, norm=norm, aspect="auto", interpolation="none")
    _scale_of_colors(ax, norm, label)
    _write_numbers(ax, table, colors(norm(shown)), names or {})


def _scale_of_colors(ax: Axes, norm: LogNorm, label: str) -> None:
    assert norm.vmin is not None
    assert norm.vmax is not None
    low, high = np.log10(norm.vmin), np.log10(norm.vmax)
    scale = ax.inset_axes((1.03, 0, 0.035, 1))
    steps = np.geomspace(norm.vmin, norm.vmax, 64)[::-1, None]
    scale.imshow(
        steps,
        cmap=sns.color_palette("mako_r", as_cmap=True),
        norm=norm,
        aspect="auto",
        interpolation="none",
        extent=(0, 1, low, high),
    )
    ticks = log_ticks(norm.vmin, norm.vmax)
    for spine in scale.spines.values():
        spine.set_visible(False)
    scale.set_xticks([])
    scale.yaxis.tick_right()
    scale.yaxis.set_label_position("right")
    scale.set_ylabel(label, color=ink(ax), fontsize=SMALL + 1)
    scale.tick_params(axis="y", length=0, labelsize=SMALL + 1, labelcolor=ink(ax))
    set_ticks(scale.yaxis, [float(np.log10(tick)) for tick in ticks], [plain(t) for t in ticks])


def _write_numbers(
    ax: Axes, table: Array, colors: Array, names: Mapping[tuple[int, int], str]
) -> None:
    """Two digits in each cell, and its name below; a dash where there is no value."""
    frame = ax.get_window_extent()
    rows, columns = table.shape
    width, height = (
        frame.width / ax.figure.dpi / columns,
        frame.height / ax.figure.dpi / rows,
    )
    if width < _NUMBER_WIDTH or height < _NUMBER_HEIGHT:
        return
    luminance = colors[..., :3] @ np.array([0.2126, 0.7152, 0.0722])
    for row, column in np.ndindex(rows, columns):
        value = table[row, column]
        text = compact(float(value)) if np.isfinite(value) else "–"
        if (row, column) in names:
            text = f"{text}\n{names[row, column]}"
        dark = luminance[row, column] < 0.5
        color = ("white" if dark else "#111111") if np.isfinite(value) else ink(ax)
        ax.text(
            *(column, row, text),
            ha="center",
            va="center",
            fontsize=SMALL - 0.5,
            color=color,
            linespacing=1.1,
        )
