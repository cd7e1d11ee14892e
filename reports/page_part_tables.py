"""The tables of the page's further questions: over layers first, then layer by layer."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from normstats.plane import best_at
from normstats.printable import printable
from normstats_reports.page_tables import Cell, span
from normstats_reports.terminal import compact

_USERS_BATCHES = (2, 8, 32)
_QUANTITIES = ("error", "residual")


@dataclass(frozen=True)
class PartTable:
    """A table of the page.

    Attributes:
        caption: what its numbers are.
        titles: of the columns, the first that of the rows' names.
        rows: name and cells of each.
        by_layer: whether it is folded: a row a layer.
    """

    caption: str
    titles: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    by_layer: bool = False


def grouping_tables(tests: pd.DataFrame, arrangements: pd.DataFrame) -> Iterator[PartTable]:
    """What each arrangement costs; the test and the savings of each layer."""
    medians = arrangements.groupby(["groups", "arrangement"], sort=False)
    columns = ["bias_sq", "error", "residual"]
    yield PartTable(
        "Errors of GroupNorm by how channels are put into groups, medians over layers",
        ("groups", "arrangement", "bias²", "error", "residual", "layers"),
        tuple(
            (
                str(groups),
                (
                    Cell(printable(name)),
                    *(Cell.of(rows[column].median()) for column in columns),
                    Cell(str(len(rows))),
                ),
            )
            for (groups, name), rows in medians
        ),
    )
    yield PartTable(
        "Index groups against random ones, and the share that the best groups found would save",
        (
            *("layer", "groups", "channels", "bias² by index", "95 % of random", "p", "q"),
            *("bias² saved", "error saved", "residual saved"),
        ),
        tuple(
            (
                printable(row["layer"]),
                (
                    Cell(str(row["groups"])),
                    Cell(f"{row['channels']:,}"),
                    Cell.of(row["index_bias_sq"]),
                    Cell(span(row["random_bias_sq_low"], row["random_bias_sq_high"])),
                    Cell.of(row["p_value"]),
                    Cell.of(row["q_value"]),
                    *(_share(row[f"{what}_saved"]) for what in columns),
                ),
            )
            for row in tests.to_dict("records")
        ),
        by_layer=True,
    )


def plane_tables(plane: pd.DataFrame) -> Iterator[PartTable]:
    """The best cell for several batches: how often it is BatchNorm, and which it is."""
    sizes = sorted(int(size) for size in plane["batch"].unique())
    best = {size: best_at(plane, size) for size in sizes}
    yield PartTable(
        "The best cell with a batch of B or less: in how many layers it pools single channels, "
        "and its value and BatchNorm's, medians over layers",
        (
            "B",
            *(
                title
                for quantity in _QUANTITIES
                for title in (
                    f"{quantity}: single channels in",
                    f"least {quantity}",
                    f"BatchNorm's {quantity}",
                )
            ),
        ),
        tuple((str(size), tuple(_best_counts(rows))) for size, rows in best.items()),
    )
    asked = [size for size in _USERS_BATCHES if size in best] or sizes[-1:]
    layers = plane["layer"].unique()
    by_layer = {
        (size, quantity): {row["layer"]: row for row in rows.to_dict("records")}
        for size in asked
        for quantity, rows in best[size].groupby("quantity", sort=False)
    }
    yield PartTable(
        "The best cell of each layer with a batch of B or less: images × channels a group",
        ("layer", *(f"{what}, B = {size}" for size in asked for what in _QUANTITIES)),
        tuple(
            (
                printable(layer),
                tuple(
                    _best_cell(by_layer[size, quantity].get(layer), quantity)
                    for size in asked
                    for quantity in _QUANTITIES
                ),
            )
            for layer in layers
        ),
        by_layer=True,
    )


def _best_counts(best: pd.DataFrame) -> Iterator[Cell]:
    for quantity in _QUANTITIES:
        rows = best[best["quantity"] == quantity]
        yield Cell(f"{int((rows['group_channels'] == 1).sum())} of {len(rows)} layers")
        yield Cell.of(rows[quantity].median())
        yield Cell.of(rows["batch_norm"].median())


def _best_cell(row: Mapping[Hashable, Any] | None, quantity: str) -> Cell:
    if row is None:
        return Cell.of(np.nan)
    value = float(row[quantity])
    return Cell.of(value, f"{row['batch']} × {row['group_channels']}", compact(value))


def composition_tables(table: pd.DataFrame, classes: pd.DataFrame) -> Iterator[PartTable]:
    """BatchNorm's error by composition and batch; classes and floor of each layer."""
    columns = ["error", "error_relative_to_iid", "residual"]
    yield PartTable(
        "BatchNorm's error by the composition of its batch, medians over layers",
        ("composition", "batch", "error", "against iid", "residual"),
        tuple(
            (
                printable(name),
                (Cell(str(batch)), *(Cell.of(rows[column].median()) for column in columns)),
            )
            for (name, batch), rows in table.groupby(["composition", "batch"], sort=False)
        ),
    )
    yield PartTable(
        "How much of the variance between images lies between classes, and the error that "
        "single-class batches keep however large they are",
        ("layer", "channels", "share", "corrected", "floor", "floor by chance"),
        tuple(
            (
                printable(row["layer"]),
                (
                    Cell(f"{row['channels']:,}"),
                    *(_share(row[name]) for name in ("between_class_share", "corrected_share")),
                    *(Cell.of(row[name]) for name in ("floor", "floor_by_chance")),
                ),
            )
            for row in classes.to_dict("records")
        ),
        by_layer=True,
    )


def mixing_tables(table: pd.DataFrame, batch: int) -> Iterator[PartTable]:
    """The best mixes over layers, and of each layer with a usual batch."""
    columns = ("share_of_other", "pseudo_samples", "error", "error_of_batch_norm", "error_of_other")
    known = table[table["error"].notna()]
    yield PartTable(
        "The best mix of BatchNorm with another method, medians over layers; saved: of the error "
        "of the better of the two",
        (
            *("mixed with", "batch", "its share", "worth images", "error", "BatchNorm alone"),
            *("other alone", "saved", "layers"),
        ),
        tuple(
            (
                printable(other),
                (
                    Cell(str(size)),
                    _share(rows[columns[0]].median()),
                    *(Cell.of(rows[column].median()) for column in columns[1:]),
                    _share(rows["saving"].median()),
                    Cell(str(len(rows))),
                ),
            )
            for (other, size), rows in known.groupby(["other", "batch"], sort=False)
        ),
    )
    others = [str(other) for other in table["other"].unique()]
    usual = table[table["batch"] == batch].set_index(["layer", "other"])
    yield PartTable(
        f"The best mixes of each layer with a batch of {batch}",
        (
            "layer",
            *(
                title
                for other in map(printable, others)
                for title in (f"share of {other}", f"error with {other}", "saved")
            ),
        ),
        tuple(
            (
                printable(layer),
                tuple(cell for other in others for cell in _mix(usual.loc[(layer, other)])),
            )
            for layer in table["layer"].unique()
        ),
        by_layer=True,
    )


def _mix(row: pd.Series) -> tuple[Cell, Cell, Cell]:
    return _share(row["share_of_other"]), Cell.of(row["error"]), _share(row["saving"])


def validation_tables(table: pd.DataFrame) -> Iterator[PartTable]:
    """What the output does with each method, means over layers."""
    titles = {
        "error": "error",
        "kl": "KL",
        "agreement": "same top class",
        "accuracy": "accuracy",
        "residual": "residual",
        "kl_refit": "KL, re-fitted",
        "agreement_refit": "same top class",
        "accuracy_refit": "accuracy",
    }
    by_method = table.groupby("method", sort=False)
    columns = [name for name in titles if table[name].notna().any()] if len(table) else []
    yield PartTable(
        "The output when one layer's statistics are replaced, means over layers; KL in nats; "
        "re-fitted: with the layer's scale and shift fitted to the new statistics",
        ("method", *(titles[name] for name in columns), "layers"),
        tuple(
            (
                printable(method),
                (
                    *(
                        _share(rows[name].mean(), 1)
                        if name.startswith(("agreement", "accuracy"))
                        else Cell.of(rows[name].mean())
                        for name in columns
                    ),
                    Cell(str(len(rows))),
                ),
            )
            for method, rows in by_method
        ),
    )


def _share(value: float, digits: int = 0) -> Cell:
    return Cell.of(value, "-" if pd.isna(value) else f"{value:.{digits}%}")
