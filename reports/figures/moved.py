"""What moved between runs, and what re-estimating on other images would gain, over the layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from normstats.comparison import Comparison
from normstats.comparison.findings import settled
from normstats.errors import SettingError, did_you_mean
from normstats.findings import batch_norm_sizes
from normstats.printable import printable
from normstats_reports.figures.run_lines import LINES, line, look_of
from normstats_reports.figures.scales import across_size, decades_axis, layers_across, plain
from normstats_reports.figures.selection import UNITS, layer_names
from normstats_reports.figures.style import (
    BESIDE,
    GREY,
    LEGEND,
    RED,
    Look,
    grid,
    layer_label,
    legend,
    look,
    new_axes,
    say,
    styled,
    title,
)

Array = NDArray[np.float64]

_SIZES_DRAWN = 3  # batch sizes


@styled
def drift(comparison: Comparison, against: str = "first", ax: Axes | None = None) -> Axes:
    """How far each layer's population moved, a line a run; bars are 95 % confidence intervals.

    Args:
        comparison: of runs whose layers correspond.
        against: ``"first"`` for each run against the reference, ``"before"`` for each against the
            one before it.
        ax: to draw into; new ones by default.

    Raises:
        SettingError: ``against`` is neither.
    """
    if against not in ("first", "before"):
        raise SettingError(f"Drift against {against!r} is not known.", "Choose first or before.")
    table = comparison.tables["drift"]
    names = layer_names(table)
    if ax is None:
        width, margins = across_size(names or ["-"], right=LEGEND)
        (ax,) = new_axes(width, 2.4, margins)
    first = layer_label(comparison.names[0])
    whence = f"from {first}" if against == "first" else "from run to run"
    title(ax, f"How far populations moved {whence}")
    ax.set_ylabel("drift [σ²]")
    runs = comparison.names
    pairs = [(run, runs[0] if against == "first" else before) for before, run in pairwise(runs)]
    drawn = [
        settled(table[(table["run"] == run) & (table["against"] == before)], *_DRIFT)
        for run, before in pairs
    ]
    values = np.concatenate([rows["value"] for rows in drawn]) if names else np.array([])
    if not (values > 0).any():
        say(ax, "nothing moved" if names else "channels do not correspond")
        return ax
    layers_across(ax, names)
    low, _ = decades_axis(ax.yaxis, values)
    grid(ax, "y")
    for place, ((run, _), rows) in enumerate(zip(pairs, drawn, strict=True), start=1):
        across = np.arange(len(names)) + _shift(place - 1, len(pairs))
        name = layer_label(run)
        line(ax, across, rows, look_of(place), name if against == "first" else f"to {name}")
    _noise(ax, np.array([rows["noise"] for rows in drawn], dtype=np.float64), max(low, 0.0))
    legend(ax, **BESIDE)
    return ax


_DRIFT = ("drift", "drift_debiased")


def _noise(ax: Axes, noise: Array, bottom: float) -> None:
    """What sampling would have added: a dotted line, or words where it is off the scale."""
    known = noise[np.isfinite(noise).all(axis=1)]
    if not len(known):
        ax.plot([], [], linestyle="none", label="sampling noise\nnot known")
        return
    most = known.max(axis=0)
    style: dict[str, Any] = {"color": GREY, "linestyle": (0, (1, 2)), "linewidth": 1.2}
    if most.max() > bottom:
        ax.plot(
            *(np.arange(len(most)), np.where(most > bottom, most, np.nan)),
            **style,
            label="sampling noise,\ntaken away",
            scaley=False,
        )
    else:
        text = f"sampling noise taken\naway: {plain(float(f'{most.max():.1g}'))} or less"
        ax.plot([], [], linestyle="none", label=text)


@styled
def shift(comparison: Comparison, run: str | None = None, ax: Axes | None = None) -> Axes:
    """The reference's statistics on another run's images, against BatchNorm's own there.

    Args:
        comparison: of image sets of one model.
        run: whose images; the second's by default.
        ax: to draw into; new ones by default.

    Raises:
        SettingError: there is no such run, or it is not compared so.
    """
    run = comparison.names[1] if run is None else run
    table = comparison.tables["shift"]
    rows = table[table["run"] == run]
    if rows.empty:
        known = [str(name) for name in table["run"].unique()]
        raise SettingError(
            f"There is no domain shift to {printable(run)!r} to draw.",
            did_you_mean(run, known)
            or "Compare runs of the same checkpoint on other images; run folders, not pages.",
        )
    names = layer_names(rows)
    errors = comparison.studies[run].errors()
    if ax is None:
        width, margins = across_size(names, right=LEGEND + 0.25)
        (ax,) = new_axes(width, 2.6, margins)
    of, on = layer_label(comparison.names[0]), layer_label(run)
    title(ax, f"On {on}: statistics of {of}, or its own")
    ax.set_ylabel(UNITS["error"])
    layers_across(ax, names)
    sizes = _some_sizes(batch_norm_sizes(errors))
    own = {
        size: errors[errors["method"] == f"bn@{size}"].set_index("layer")["error"].reindex(names)
        for size in sizes
    }
    theirs = settled(rows, "error", "error_debiased")
    decades_axis(
        ax.yaxis, np.concatenate([theirs["value"], rows["stored_error"].dropna(), *own.values()])
    )
    grid(ax, "y")
    places = np.arange(len(names))
    line(ax, places, theirs, Look(RED, "D", "-"), f"statistics of {of}")
    if rows["stored_error"].notna().any():
        of_stored = look("running")
        ax.plot(
            *(places, rows["stored_error"].astype(float)),
            color=of_stored.color,
            linestyle=of_stored.line,
            marker=of_stored.marker,
            markersize=3.5,
            linewidth=1.2,
            label="stored statistics",
        )
    for size, dashes in zip(sizes, LINES, strict=False):
        ax.plot(
            *(places, own[size]),
            color=look("bn@1").color,
            linestyle=dashes,
            linewidth=1.2,
            marker="o",
            markersize=2.5,
            label=f"its own, batch of {size}",
        )
    legend(ax, **BESIDE)
    return ax


def _shift(place: int, count: int) -> float:
    """Beside one another, so that intervals can be seen."""
    return (place - (count - 1) / 2) * min(0.12, 0.5 / count)


def _some_sizes(sizes: Sequence[int]) -> list[int]:
    """Few of the batch sizes above one, from the smallest to the largest."""
    larger = [size for size in sizes if size > 1] or list(sizes)
    if len(larger) <= _SIZES_DRAWN:
        return larger
    return [larger[0], larger[(len(larger) - 1) // 2], larger[-1]]
