"""The tables of the page: numbers as text, in the order in which they are shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from normstats.findings import batch_norm_sizes, group_norm, number
from normstats.layer_values import HEADLINES
from normstats.printable import first_few, printable
from normstats.study import Study
from normstats_reports.terminal import compact

_MIDDLE_BATCH = 8
_TERM_NAMES = {
    "error": "error",
    "residual": "residual",
    "mean_bias_sq": "mean bias²",
    "mean_variance": "mean variance",
    "std_bias_sq": "std bias²",
    "std_variance": "std variance",
    "var_bias_sq": "var bias²",
    "var_variance": "var variance",
}


@dataclass(frozen=True)
class Cell:
    """A number in a table.

    Attributes:
        text: as shown.
        value: what it is sorted by; None where it is unknown.
        detail: its interval, in small print.
    """

    text: str
    value: float | None = None
    detail: str = ""

    @classmethod
    def of(cls, value: Any, text: str | None = None, detail: str = "") -> Cell:
        """A number to two digits, unless told otherwise."""
        known = not pd.isna(value)
        shown = compact(value) if text is None else text
        return cls(shown, float(value) if known else None, detail)

    @classmethod
    def measured(cls, row: Mapping[Any, Any], term: str) -> Cell:
        """A term with its interval."""
        detail = span(row.get(f"{term}_low"), row.get(f"{term}_high"))
        return cls.of(row[term], detail=detail)


@dataclass(frozen=True)
class Column:
    """A column of the table of layers: its title, and what it means in one line."""

    title: str
    meaning: str


@dataclass(frozen=True)
class LayerRow:
    """A row of the table of layers; ``anchor`` is where its details are."""

    layer: str
    anchor: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class LayerDetails:
    """All there is about one layer.

    Attributes:
        name: of the layer, made printable.
        anchor: the fragment of its link.
        facts: sentences about its shape and channels.
        methods: a row a method: its name and its cells, as ``term_titles`` has them.
        crossovers: a row a method: its name, B* of the error and of the residual.
    """

    name: str
    anchor: str
    facts: str
    methods: tuple[tuple[str, tuple[Cell, ...]], ...]
    crossovers: tuple[tuple[str, tuple[Cell, ...]], ...]


def span(low: Any, high: Any) -> str:
    """An interval in few characters; empty where it is unknown or has no width."""
    if low is None or high is None or pd.isna(low) or pd.isna(high) or low == high:
        return ""
    if np.isinf(high):
        return f"{compact(low)}–∞"
    if compact(low) == compact(high):  # digits enough that the ends differ
        return f"{number(low, 3)}–{number(high, 3)}"
    return f"{compact(low)}–{compact(high)}"


def batch(text: str) -> str:
    """B* to two digits; the sign of one outside the computed sizes is kept."""
    if not text:
        return "-"
    return text if text[0] in "<>" else compact(float(text))


def anchors(layers: Sequence[str]) -> dict[str, str]:
    """A fragment for each layer that is safe anywhere and unlike any other."""
    found: dict[str, str] = {}
    for layer in layers:
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", layer)[:60].strip("-") or "unnamed"
        anchor, number = f"layer-{plain}", 2
        while anchor in found.values():
            anchor, number = f"layer-{plain}-{number}", number + 1
        found[layer] = anchor
    return found


def headline_methods(errors: pd.DataFrame) -> list[str]:
    """At most six methods that stand for all: BatchNorm small, usual and large, and one a kind."""
    methods = list(errors["method"].unique())
    sizes = [size for size in batch_norm_sizes(errors) if size > 1]
    chosen = []
    if sizes:
        middle = min(sizes, key=lambda size: abs(size - _MIDDLE_BATCH))
        chosen = [f"bn@{size}" for size in dict.fromkeys((sizes[0], middle, sizes[-1]))]
    chosen += [name for name in methods if name in (group_norm(errors), "ln", "in")]
    return chosen or methods[:6]


def summary(study: Study) -> tuple[list[Column], list[LayerRow]]:
    """The table of layers: a row a layer, the headline numbers across."""
    errors, layers = study.errors(), study.layers().set_index("layer")
    methods = headline_methods(errors)
    levels = errors.set_index(["layer", "method"])["error"]
    crossovers = study.crossovers()
    of_residual = {
        (row["layer"], row["method"]): row
        for row in crossovers[crossovers["quantity"] == "residual"].to_dict("records")
    }
    beaten = [m for m in methods if (m.startswith("gn:") or m == "ln") and len(of_residual)]
    columns = [
        Column("channels", "how many the layer has"),
        Column("alive", "channels with σ² > ε"),
        Column("effective samples", "independent values an image is worth to a mean"),
        *(Column(m, f"error of {m}, in units of σ²") for m in methods),
        *(Column(f"beats {m} from", "BatchNorm's residual is lower from here on") for m in beaten),
    ]
    names = anchors(list(layers.index))
    rows = []
    for layer, row in layers.iterrows():
        cells = [
            Cell.of(row["channels"], f"{row['channels']:,}"),
            Cell.of(row["alive_channels"], f"{row['alive_channels']:,}"),
            Cell.of(row["effective_samples_mean"]),
            *(Cell.of(levels.get((layer, method), np.nan)) for method in methods),
        ]
        for method in beaten:
            meets = of_residual.get((layer, method))
            cells.append(Cell("-") if meets is None else _meets(meets))
        rows.append(LayerRow(printable(layer), names[str(layer)], tuple(cells)))
    return columns, rows


def term_titles() -> list[str]:
    """The columns of a layer's table of methods."""
    return [*_TERM_NAMES.values(), "error, median", "error, 90 %"]


def details(study: Study) -> Iterator[LayerDetails]:
    """Each layer in turn."""
    errors = _by_layer(study.errors())
    crossovers = _by_layer(study.crossovers())
    channels = _by_layer(study.channels())
    layers = study.layers().set_index("layer")
    names = anchors(list(layers.index))
    for label, row in layers.iterrows():
        layer = str(label)
        yield LayerDetails(
            name=printable(layer),
            anchor=names[layer],
            facts=_facts(row, channels[layer]),
            methods=tuple(_method_rows(errors[layer])),
            crossovers=tuple(_crossover_rows(crossovers[layer])) if layer in crossovers else (),
        )


def _by_layer(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(layer): rows for layer, rows in table.groupby("layer", sort=False)}


def _facts(row: pd.Series[Any], channels: pd.DataFrame) -> str:
    dead = channels.loc[~channels["alive"], "channel"]
    count = f"{row['channels']:,} channels"
    state = f"{len(dead)} of them dead ({first_few(dead, 8)})" if len(dead) else "all alive"
    worth = compact(row["effective_samples_mean"])
    interval = span(row["effective_samples_mean_low"], row["effective_samples_mean_high"])
    interval = f" ({interval})" if interval else ""
    needs = (
        f"BatchNorm's error is 10 % of σ² at a batch of {compact(row['batch_for_10_percent'])} and "
        f"1 % at {compact(row['batch_for_1_percent'])}."
        if np.isfinite(row["batch_for_10_percent"]) and np.isfinite(row["batch_for_1_percent"])
        else ""
    )
    return (
        f"{printable(row['kind'])} with {count}, {state}. An image's {row['positions']:,} "
        f"positions are worth {worth}{interval} independent values to a mean. {needs}"
    ).strip()


def _method_rows(errors: pd.DataFrame) -> Iterator[tuple[str, tuple[Cell, ...]]]:
    for row in errors.to_dict("records"):
        measured = [Cell.measured(row, term) for term in _TERM_NAMES]
        quantiles = [Cell.of(row[f"error_{what}"]) for what in ("median", "p90")]
        yield printable(row["method"]), (*measured, *quantiles)


def _crossover_rows(crossovers: pd.DataFrame) -> Iterator[tuple[str, tuple[Cell, ...]]]:
    by_method: dict[str, dict[str, Cell]] = {}
    for row in crossovers.to_dict("records"):
        by_method.setdefault(row["method"], {})[row["quantity"]] = _meets(row)
    for method, by_quantity in by_method.items():
        yield printable(method), tuple(by_quantity[quantity] for quantity in HEADLINES)


def _meets(row: Mapping[Any, Any]) -> Cell:
    return Cell.of(
        row["batch_number"], batch(row["batch"]), span(row["batch_low"], row["batch_high"])
    )
