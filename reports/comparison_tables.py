"""The tables of a comparison's page: numbers as text, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from normstats.comparison import Comparison
from normstats.comparison.drift import pairs
from normstats.comparison.findings import drift_of, settled
from normstats.findings import AS_VALUE, MedianLayer, batch_norm_sizes
from normstats.printable import printable
from normstats.study import Study
from normstats_reports.page_frame import data_link
from normstats_reports.page_tables import Cell, Column, batch, span

_MIDDLE_BATCH = 8


@dataclass(frozen=True)
class Table:
    """A table as the page shows it.

    Attributes:
        caption: above it.
        head: the title of its first column.
        columns: the others.
        rows: each with the name in its first column.
        data: the same and more as CSV in a link; empty where the page has it elsewhere.
        groups: titles above some columns, and how many they are above; none by default.
    """

    caption: str
    head: str
    columns: Sequence[Column]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    data: str = ""
    groups: Sequence[tuple[str, int]] = ()


def runs(comparison: Comparison) -> Table:
    """A row a run: its checkpoint, its images."""
    return Table(
        "What is compared; all of it is under Provenance",
        "run",
        [
            Column("checkpoint", "the file or the zoo's name"),
            Column("SHA-256", "of the checkpoint, its first digits"),
            Column("images", "where they are from"),
            Column("how many", "images"),
            Column("layers", "captured"),
            Column("channels", "in all layers"),
            Column("methods", "computed"),
        ],
        [(printable(name), _of_run(study)) for name, study in comparison.studies.items()],
    )


def _of_run(study: Study) -> list[Cell]:
    checkpoint = study.provenance.get("checkpoint", {})
    images = study.provenance.get("images_from", {})
    return [
        Cell(_end(checkpoint.get("path"))),
        Cell(printable(str(checkpoint.get("sha256") or "not known")[:12])),
        Cell(_end(images.get("path"))),
        Cell.of(study.provenance["images"], f"{study.provenance['images']:,}"),
        Cell.of(len(study.layers()), f"{len(study.layers()):,}"),
        Cell.of(len(study.channels()), f"{len(study.channels()):,}"),
        Cell.of(study.errors()["method"].nunique()),
    ]


def _end(path: Any) -> str:
    """The last part of a path."""
    return printable(Path(str(path)).name) if path else "not known"


def moved(comparison: Comparison) -> Table:
    """A row a layer: its drift against the first run, and from each run to the next."""
    drift, names = comparison.drift(), comparison.names
    columns = [Column("channels", "alive in the first run and the second")]
    cells: dict[str, list[Cell]] = {
        str(row["layer"]): [Cell.of(row["alive_in_both"], f"{row['alive_in_both']:,}")]
        for row in drift_of(drift, names[1], names[0]).to_dict("records")
    }
    groups = [("", 1)]
    for run, against in pairs(names, comparison.kind):
        whence = printable(against)
        before = len(columns)
        columns.append(Column("drift", f"since {whence}, in units of its σ²"))
        rows = drift_of(drift, run, against).to_dict("records")
        for row in rows:
            cells[str(row["layer"])].append(Cell.measured(row, "value"))
        columns.append(Column("σ'/σ", "how many times as large standard deviations became"))
        for row in rows:
            cells[str(row["layer"])].append(Cell.of(np.exp(row["log_std_ratio"])))
        if not all(pd.isna(row["image_correlation"]) for row in rows):
            columns.append(Column("correlation", "of channel means over the same images"))
            for row in rows:
                cells[str(row["layer"])].append(Cell.of(row["image_correlation"]))
        groups.append((f"{whence} to {printable(run)}", len(columns) - before))
    noise = " without sampling noise," if drift["drift_debiased"].notna().all() else ""
    return Table(
        f"Drift of each layer's population,{noise} in units of the earlier run's σ²",
        "layer",
        columns,
        [(printable(layer), row) for layer, row in cells.items()],
        data_link(drift),
        groups,
    )


def shift(comparison: Comparison) -> Table:
    """A row a layer: the first run's statistics on each other image set, and what is better."""
    table, first = comparison.shift(), printable(comparison.names[0])
    columns: list[Column] = []
    groups: list[tuple[str, int]] = []
    cells: dict[str, list[Cell]] = {str(layer): [] for layer in table["layer"].unique()}
    for name, rows in table.groupby("run", sort=False):
        run, errors = printable(name), comparison.studies[str(name)].errors()
        sizes = [size for size in batch_norm_sizes(errors) if size > 1]
        own = f"bn@{min(sizes, key=lambda size: abs(size - _MIDDLE_BATCH))}" if sizes else "bn@1"
        of_own = errors[errors["method"] == own].set_index("layer")["error"]
        columns += [
            Column("of the first", f"error of the statistics of {first} on {run}"),
            Column("stored", f"error of the statistics stored in the checkpoint on {run}"),
            Column(own, f"error of BatchNorm's own statistics on {run}"),
            Column("its own from", "batch size from which BatchNorm's own are better"),
        ]
        groups.append((f"on {run}", 4))
        for row in settled(rows, "error", "error_debiased").to_dict("records"):
            layer = str(row["layer"])
            meets = span(row["batch_low"], row["batch_high"])
            cells[layer] += [
                Cell.measured(row, "value"),
                Cell.measured(row, "stored_error"),
                Cell.of(of_own.get(layer, np.nan)),
                Cell.of(row["batch_number"], batch(str(row["batch"])), meets),
            ]
    return Table(
        f"Errors of the statistics of {first}, of those stored, and of a batch's own on other "
        "images, in units of their σ²; and from which batch size its own are better",
        "layer",
        columns,
        [(printable(layer), row) for layer, row in cells.items()],
        data_link(table),
        groups,
    )


def sides(comparison: Comparison) -> Table:
    """A row a method: error, residual and crossover of each run's median layer."""
    table = comparison.sides()
    methods = list(table["method"].unique())
    by_place = table.set_index(["run", "method"])
    crossovers = {run: study.crossovers() for run, study in comparison.studies.items()}
    columns: list[Column] = []
    for name in comparison.names:
        run = printable(name)
        columns += [
            Column("error", f"of the median layer of {run}, in units of σ²"),
            Column("residual", f"of the median layer of {run}"),
            Column("beaten from", f"batch from which BatchNorm's residual is lower in {run}"),
        ]
    rows = []
    for method in methods:
        cells: list[Cell] = []
        for name in comparison.names:
            if (name, method) not in by_place.index:
                cells += [Cell("-")] * 3
                continue
            row = by_place.loc[(name, method)]
            cells += [Cell.measured(row, "error"), Cell.measured(row, "residual")]
            cells.append(_beaten(crossovers[name], method))
        rows.append((printable(method), cells))
    return Table(
        "The median layer of each run, method by method",
        "method",
        columns,
        rows,
        data_link(table),
        [(printable(name), 3) for name in comparison.names],
    )


def _beaten(crossovers: pd.DataFrame, method: str) -> Cell:
    chosen = crossovers["quantity"].eq("residual") & crossovers["method"].eq(method)
    rows = crossovers[chosen].rename(columns=AS_VALUE)
    median = MedianLayer.of(rows, "value")
    if median is None:
        return Cell("-")
    text = str(rows.loc[rows["layer"] == median.layer, "batch"].iloc[0])
    return Cell.of(median.value, batch(text), span(median.low, median.high))
