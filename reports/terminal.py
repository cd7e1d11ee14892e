"""A study in the terminal: tables of layers by method, averages, crossovers and findings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from normstats.decomposition import TERMS
from normstats.findings import method_averages, with_interval
from normstats.layer_values import HEADLINES
from normstats.moments import match_layers
from normstats.printable import printable
from normstats.run_folder import to_json
from normstats.study import Study

if TYPE_CHECKING:
    from normstats.capturing import LayerDescription  # imports torch

LIMITS = (
    "Measured in eval mode, one layer at a time; an error of statistics is not a loss of accuracy."
)


def print_summary(console: Console, study: Study) -> None:
    """Errors of every layer and method, what they are made of, crossovers, findings."""
    console.print(_origin(study))
    console.print(heading("Error by layer and method", _unit(study)))
    for table in _layer_tables(study.errors(), console.width):
        console.print(table)
    console.print(heading("What the error is made of", "means over layers"))
    console.print(_averages(study))
    if len(study.crossovers()):
        console.print(heading("From which batch size BatchNorm is better", "over layers"))
        console.print(_crossovers(study.crossovers()))
    if study.notes:
        console.print(heading("Left out"))
        console.print(bullets(study.notes))
    console.print(heading("In words"))
    console.print(bullets([finding.text for finding in study.findings]))
    console.print(Padding(Text(LIMITS, style="dim"), (1, 1, 0, 1)))


def print_layers(console: Console, study: Study, globs: str) -> None:
    """Every number of the layers that match.

    Raises:
        LayerError: a pattern matches no layer.
    """
    errors, crossovers, channels = study.errors(), study.crossovers(), study.channels()
    for name in match_layers(list(errors["layer"].unique()), globs):
        of_layer = channels[channels["layer"] == name]
        dead = int((~of_layer["alive"]).sum())
        console.print(heading(printable(name), f"{len(of_layer)} channels, {dead} of them dead"))
        console.print(_worth(study.layers().query("layer == @name").iloc[0]))
        console.print(_terms(errors[errors["layer"] == name].set_index("method")))
        console.print(Text(" with 95 % confidence intervals over images", style="dim"))
        console.print(_intervals(errors[errors["layer"] == name].set_index("method")))
        meets = crossovers[crossovers["layer"] == name]
        if len(meets):
            console.print(Text(" BatchNorm is better from a batch of", style="dim"))
            console.print(_layer_crossovers(meets))


def print_descriptions(console: Console, layers: Sequence[LayerDescription]) -> None:
    """The layers of a network, as ``normstats layers`` lists them."""
    table = light_table("layer", "type", "input shape", "channels", "map", "captured", left=2)
    table.columns[-1].justify, table.columns[-1].no_wrap = "left", False
    for layer in layers:
        name = " = ".join((layer.name, *layer.aliases))
        kind = f"{layer.kind} over {layer.over}" if layer.over else layer.kind
        kind += f", {layer.groups} groups" if layer.groups else ""
        table.add_row(
            Text(printable(name)),
            Text(printable(kind)),
            "x".join(map(str, layer.input_shape)) if layer.input_shape else "-",
            str(layer.channels or "-"),
            "x".join(map(str, layer.spatial)) or "-",
            Text("yes" if layer.captured else printable(f"no: {layer.reason}")),
        )
    console.print(table)
    captured = sum(layer.captured for layer in layers)
    console.print(Text(f" {captured} of {len(layers)} layers would be captured", style="dim"))


def print_json(console: Console, study: Study) -> None:
    """Everything but what has a row a channel, as one JSON object: that of ``study.json``."""
    console.out(to_json(study.to_dict()), end="", highlight=False)


def compact(value: float) -> str:
    """Two significant digits in few characters: 0.0054, 0.90, 420, 1.3e6."""
    if not np.isfinite(value):
        return "-"
    rounded = float(f"{value:.2g}")
    if rounded == 0:
        return "0"
    if 1e-4 <= abs(rounded) < 1e5:
        digits = max(0, 1 - math.floor(math.log10(abs(rounded))))
        return f"{rounded:.{digits}f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _origin(study: Study) -> Table:
    """What was analyzed: the network, the images and what was done to them."""
    checkpoint = study.provenance.get("checkpoint", {})
    images = study.provenance.get("images_from", {})
    channels = study.channels()
    grid = Table.grid(padding=(0, 1))
    rows = [
        ("checkpoint", checkpoint.get("path", "")),
        ("architecture", checkpoint.get("arch", "")),
        ("layers", f"{channels['layer'].nunique()}, with {len(channels):,} channels"),
        ("images", f"{study.provenance['images']:,} {images.get('path', '')}"),
        ("input", images.get("input", "")),
    ]
    for name, text in rows:
        if text:
            grid.add_row(Text(f" {name}", style="dim"), Text(printable(text)))
    return grid


def heading(title: str, detail: str = "") -> Text:
    """A line above a table."""
    text = Text(f"\n{title}", style="bold")
    return text.append(f"  {detail}", style="not bold dim") if detail else text


def _unit(study: Study) -> str:
    weights = study.settings["weights"]
    how = "channels weighted by γ²" if weights == "gamma" else "plain averages over channels"
    return f"in units of σ², {how}"


def light_table(*columns: str, left: int = 1) -> Table:
    """A light table; the first ``left`` columns are words, the rest numbers."""
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if index < left else "right", no_wrap=True)
    return table


def _layer_tables(errors: pd.DataFrame, width: int) -> Iterator[Table]:
    """Layers down, methods across; as many tables as the width asks for."""
    layers, methods = list(errors["layer"].unique()), list(errors["method"].unique())
    channels = errors.groupby("layer", sort=False)["channels"].first()
    cells = {}
    for method in methods:
        values = errors[errors["method"] == method].set_index("layer")["error"]
        column = [*values.reindex(layers), values.median(), values.mean()]
        cells[method] = [compact(value) for value in column]
    names = [*layers, "median", "mean"]
    room = width - max(map(len, names)) - len(str(channels.max())) - 6
    for some in _fitting(cells, room):
        table = light_table("layer", "C", *some)
        for row, name in enumerate(names):
            table.add_row(
                Text(printable(name)),
                str(channels.get(name, "")),
                *(cells[method][row] for method in some),
                style="bold" if row >= len(layers) else None,
                end_section=row == len(layers) - 1,
            )
        yield table


def _fitting(cells: dict[str, list[str]], room: int) -> Iterator[list[str]]:
    """The columns, as many at a time as fit side by side."""
    some: list[str] = []
    taken = 0
    for method, column in cells.items():
        needed = max(len(method), *map(len, column)) + 2
        if some and taken + needed > room:
            yield some
            some, taken = [], 0
        some.append(method)
        taken += needed
    yield some


def _averages(study: Study) -> Table:
    averages = method_averages(study.errors())
    table = light_table(
        "method",
        "mean\nbias²",
        "mean\nvariance",
        "std\nbias²",
        "std\nvariance",
        "error",
        "residual",
        "layers",
    )
    for name, row in averages.iterrows():
        terms = ("mean_bias_sq", "mean_variance", "std_bias_sq", "std_variance")
        numbers = [compact(row[term]) for term in (*terms, "error", "residual")]
        table.add_row(str(name), *numbers, f"{row['layers']:.0f}")
    return table


def _crossovers(crossovers: pd.DataFrame) -> Table:
    """Median and range of B* over layers, for the error and for the residual."""
    table = light_table("than", "whole error", "range", "what γ, β\ncannot undo", "range")
    for method, rows in crossovers.groupby("method", sort=False):
        cells: list[str] = []
        for quantity in HEADLINES:
            known = rows[(rows["quantity"] == quantity) & rows["batch_number"].notna()]
            known = known.sort_values("batch_number", kind="stable")
            cells += _middle_and_range(list(known["batch"]))
        table.add_row(str(method), *cells)
    return table


def _middle_and_range(batches: Sequence[str]) -> tuple[str, str]:
    """The median of sorted B*, and the first and last where they differ."""
    if not batches:
        return "-", ""
    middle, low, high = batches[len(batches) // 2], batches[0], batches[-1]
    return _batch(middle), f"{_batch(low)} to {_batch(high)}" if low != high else ""


def _batch(text: str) -> str:
    """Two digits of a B*, with the sign of one outside the computed sizes kept."""
    if not text:
        return "-"
    return text if text[0] in "<>" else compact(float(text))


def _terms(errors: pd.DataFrame) -> Table:
    """All terms of one layer, a row a method."""
    terms = [*TERMS, "error_median", "error_p90"]
    table = light_table("method", *(term.replace("_sq", "²").replace("_", "\n") for term in terms))
    for name, row in errors.iterrows():
        table.add_row(str(name), *(compact(row[term]) for term in terms))
    return table


def _worth(layer: pd.Series[Any]) -> Text:
    """What an image is worth in one layer, and how many a small error needs."""
    mean, variance = (
        _with_interval(layer, f"effective_samples_{what}") for what in ("mean", "variance")
    )
    needed = _with_interval(layer, "batch_for_1_percent")
    return Text(
        f" An image's {layer['positions']} positions are worth {mean} independent values to the "
        f"mean, {variance} to the variance; an error of 1 % needs a batch of {needed}.",
        style="dim",
    )


def _intervals(errors: pd.DataFrame) -> Table:
    table = light_table("method", "error", "95 %", "residual", "95 %")
    for name, row in errors.iterrows():
        cells: list[str] = []
        for term in HEADLINES:
            ends = [compact(row[f"{term}_{end}"]) for end in ("low", "high")]
            cells += [compact(row[term]), f"{ends[0]} - {ends[1]}" if ends[0] != "-" else "-"]
        table.add_row(str(name), *cells)
    return table


def _with_interval(row: pd.Series[Any], column: str) -> str:
    return with_interval(*(row[f"{column}{end}"] for end in ("", "_low", "_high")))


def _layer_crossovers(crossovers: pd.DataFrame) -> Table:
    table = light_table("than", "whole error", "what γ, β\ncannot undo")
    for method, rows in crossovers.groupby("method", sort=False):
        batches = rows.set_index("quantity")["batch"]
        table.add_row(str(method), *(_batch(batches[q]) for q in HEADLINES))
    return table


def bullets(sentences: Sequence[str]) -> Table:
    """A list of sentences."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    for sentence in sentences:
        grid.add_row(" •", Text(printable(sentence)))
    return grid
