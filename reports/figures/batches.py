"""One layer's methods: bias² against variance, and BatchNorm's error over batch sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from normstats.decomposition import bias_and_variance
from normstats.errors import MethodError
from normstats.findings import batch_norm_sizes
from normstats.study import Study
from normstats_reports.figures.labels import Named, name_line_ends, name_points
from normstats_reports.figures.scales import batch_axis, decades_axis, log_ticks, plain
from normstats_reports.figures.selection import (
    UNITS,
    check_quantity,
    rows_of_layer,
)
from normstats_reports.figures.style import (
    SMALL,
    Margins,
    grid,
    ink,
    layer_label,
    look,
    new_axes,
    say,
    styled,
    text_inches,
    title,
)
from normstats_reports.terminal import compact

Array = NDArray[np.float64]

SHADE = 0.15
_DECADES = 4  # of bias² and of variance
_BELOW = 5.0  # times: how far below BatchNorm's curve a level is off the scale
_NO_VALUE = "no method has a value here"


@styled
def tradeoff(study: Study, layer: str, ax: Axes | None = None) -> Axes:
    """Bias² against variance, a point a method; BatchNorm's batch sizes joined by a line.

    Dashed curves join points of equal error. Where a part is zero, or as good as zero (four
    decades below the largest), the axis has a zero.

    Args:
        study: of the layer.
        layer: its name.
        ax: to draw into; new ones by default.

    Raises:
        LayerError: the study has no such layer.
    """
    rows = rows_of_layer(study, layer)
    if ax is None:
        (ax,) = new_axes(3.8, 3.2)
    title(ax, f"{layer_label(layer)}: bias² and variance")
    ax.set_xlabel("variance [σ²]")
    ax.set_ylabel("bias² [σ²]")
    bias, variance = bias_and_variance(rows)
    known = np.isfinite(bias.to_numpy() + variance.to_numpy())
    rows, bias, variance = rows[known], bias[known], variance[known]
    if rows.empty:
        say(ax, _NO_VALUE)
        return ax
    decades_axis(ax.xaxis, variance, pad=2.2, decades=_DECADES)
    decades_axis(ax.yaxis, bias, pad=2.2, decades=_DECADES)
    words = _equal_errors(ax, rows["error"], variance, bias)
    points = rows.assign(x=variance, y=bias)
    curve = points[points["method"].str.startswith("bn@")].sort_values("batch")
    ax.plot(curve["x"], curve["y"], color=look("bn@1").color, linewidth=1.2, label="BatchNorm")
    for method, x, y in zip(points["method"], points["x"], points["y"], strict=True):
        of_method = look(method)
        ax.plot(
            [x], [y], linestyle="none", marker=of_method.marker, markersize=5, color=of_method.color
        )
    name_points(ax, _names(points, curve), words)
    return ax


def _names(points: pd.DataFrame, curve: pd.DataFrame) -> list[Named]:
    """Methods' names; of BatchNorm's curve those of the ends are needed."""
    ends = set(curve["method"].iloc[[0, -1]]) if len(curve) else set()
    return [
        Named(x, y, method, needed=method in ends or not method.startswith("bn@"))
        for method, x, y in zip(points["method"], points["x"], points["y"], strict=True)
    ]


def _equal_errors(
    ax: Axes, errors: pd.Series[float], variance: pd.Series[float], bias: pd.Series[float]
) -> list[Named]:
    """Curves bias² + variance = a round number, written where they turn and no point is."""
    words: list[Named] = []
    frame = ax.get_window_extent()
    points = ax.transData.transform(np.column_stack([variance, bias]))
    height = 2 * SMALL * ax.figure.dpi / 72
    least = max(getattr(axis.get_transform(), "linthresh", 0.0) for axis in (ax.xaxis, ax.yaxis))
    share = 1 / (1 + np.exp(-np.linspace(-16, 16, 49)))
    name = "error "
    for level in equal_error_levels(errors, least):
        style = {"color": ink(ax), "alpha": 0.35, "linewidth": 0.7, "linestyle": (0, (4, 3))}
        ax.plot(level * share, level * (1 - share), scalex=False, scaley=False, zorder=0.5, **style)
        knee = 0.5 * level
        x, y = ax.transData.transform((knee, knee))
        width = text_inches(name + plain(level), SMALL) * ax.figure.dpi
        near = np.abs(points - (x + width / 2, y + height / 2)) < (width / 2 + height, height)
        inside = x + width < frame.x1 and y + height < frame.y1
        if inside and not near.all(axis=1).any():
            words.append(Named(knee, knee, name + plain(level)))
            ax.annotate(
                words[-1].name,
                (knee, knee),
                xytext=(3, 3),
                textcoords="offset points",
                fontsize=SMALL - 0.5,
                color=ink(ax),
                alpha=0.7,
                annotation_clip=True,
            )
            name = ""
    return words


def equal_error_levels(errors: Iterable[float], least: float) -> list[float]:
    """Round numbers among the errors, the largest first.

    Args:
        errors: of the methods drawn.
        least: where an axis has its zero, below which there is no room for curves.
    """
    positive = [error for error in errors if error > 0]
    if not positive:
        return []
    low, high = max(min(positive) / 2, 2 * least), max(max(positive) * 3, 4 * least)
    return log_ticks(low, high)[::-1]


@styled
def batch_curve(study: Study, layer: str, quantity: str = "error", ax: Axes | None = None) -> Axes:
    """BatchNorm over batch sizes, the other methods' levels, and where they meet.

    Bands and bars are 95 % confidence intervals over images. A level far below the curve is drawn
    along the bottom, with its number.

    Args:
        study: of the layer.
        layer: its name.
        quantity: ``"error"`` or ``"residual"``.
        ax: to draw into; new ones by default.

    Raises:
        LayerError: the study has no such layer.
        MethodError: the study has no ``bn@B``.
        SettingError: the quantity is neither.
    """
    check_quantity(quantity)
    rows = rows_of_layer(study, layer)
    curve = rows[rows["method"].str.startswith("bn@")].sort_values("batch")
    if curve.empty:
        raise MethodError(
            "The study has no batch size of BatchNorm.", "Analyze again with bn@1,bn@2,bn@8,bn@32."
        )
    others = rows[~rows["method"].str.startswith("bn@") & np.isfinite(rows[quantity])]
    if ax is None:
        (ax,) = new_axes(3.8, 3.2, Margins(right=1.3))
    title(ax, f"{layer_label(layer)}: BatchNorm's {quantity} over batch sizes")
    ax.set_xlabel("batch size B")
    ax.set_ylabel(UNITS[quantity])
    batch_axis(ax.xaxis, batch_norm_sizes(curve))
    curve = curve[np.isfinite(curve[quantity])]
    if not len(curve) + len(others):
        say(ax, _NO_VALUE)
        return ax
    low, _ = decades_axis(ax.yaxis, known_levels(curve[quantity], others[quantity]))
    grid(ax)
    _draw_curve(ax, curve, quantity)
    ends = (
        [(float(curve[quantity].iloc[-1]), "BatchNorm", look("bn@1").color)] if len(curve) else []
    )
    for _, row in others.iterrows():
        ends.append(_draw_level(ax, row, quantity, low))
    _draw_crossovers(ax, _crossovers(study, layer, quantity), others, quantity)
    name_line_ends(ax, ends)
    return ax


def known_levels(curve: Sequence[float] | Array, others: Sequence[float] | Array) -> Array:
    """The values that the axis covers: all but levels far below the curve.

    Those would take all the room; a line along the bottom says enough.
    """
    values = np.concatenate([curve, others])
    reference = float(np.min(curve)) if len(curve) else float(values.max()) * 1e-5
    return values[values > reference / _BELOW]


def _draw_curve(ax: Axes, curve: pd.DataFrame, quantity: str) -> None:
    of_curve = look("bn@1")
    batches = curve["batch"].to_numpy(dtype=np.float64)
    low, high = (curve[f"{quantity}_{end}"].to_numpy() for end in ("low", "high"))
    ax.fill_between(batches, low, high, color=of_curve.color, alpha=SHADE, linewidth=0)
    ax.plot(
        batches,
        curve[quantity],
        color=of_curve.color,
        marker=of_curve.marker,
        markersize=4,
        linewidth=1.6,
        label="BatchNorm",
        zorder=3,
    )


def _draw_level(
    ax: Axes, row: pd.Series[float], quantity: str, bottom: float
) -> tuple[float, str, str]:
    """A line across, and what to write at its end."""
    method, level = str(row["method"]), float(row[quantity])
    of_method = look(method)
    low, high = float(row[f"{quantity}_low"]), float(row[f"{quantity}_high"])
    if level <= bottom:
        name, level = f"{method}: {compact(level)}", bottom
    else:
        name = method
        if np.isfinite(low) and np.isfinite(high):
            ax.axhspan(low, high, color=of_method.color, alpha=SHADE, linewidth=0)
    ax.axhline(
        level,
        color=of_method.color,
        linestyle=of_method.line,
        linewidth=1.2,
        label=method,
        clip_on=level > bottom,
    )
    return level, name, of_method.color


def _crossovers(study: Study, layer: str, quantity: str) -> pd.DataFrame:
    crossovers = study.tables.crossovers
    return inside(crossovers[(crossovers["layer"] == layer) & (crossovers["quantity"] == quantity)])


def inside(crossovers: pd.DataFrame) -> pd.DataFrame:
    """The crossovers that lie among the batch sizes computed."""
    batch = crossovers["batch_number"].astype(float)
    return crossovers[np.isfinite(batch) & (batch > 0)]


def _draw_crossovers(
    ax: Axes, crossovers: pd.DataFrame, others: pd.DataFrame, quantity: str
) -> None:
    """A ring at each, with its interval as far as the Axes go."""
    levels = others.set_index("method")[quantity]
    left, right = ax.get_xlim()
    for _, row in crossovers.iterrows():
        level, batch = float(levels[row["method"]]), float(row["batch_number"])
        low, high = (float(row[f"batch_{end}"]) for end in ("low", "high"))
        if np.isfinite(low):
            ax.plot(
                [max(low, left), min(high, right)],
                [level, level],
                color=ink(ax),
                linewidth=2.5,
                solid_capstyle="butt",
                zorder=4,
            )
        ax.plot(
            [batch],
            [level],
            marker="o",
            markersize=8,
            markerfacecolor="none",
            markeredgecolor=ink(ax),
            linestyle="none",
            zorder=5,
        )
