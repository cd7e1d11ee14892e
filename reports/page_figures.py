"""The figures of the page, each with its finding in words, its data and the code that redraws it.

A figure that a study has no data for is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from normstats.errors import NormstatsError
from normstats.findings import batch_norm_sizes, bias_share, group_norm, number
from normstats.printable import printable
from normstats.study import Study
from normstats_reports import figures
from normstats_reports.page_results import csv_of
from normstats_reports.page_tables import anchors, batch

_LAYERS_DRAWN = 3
_PIXELS_PER_POINT = 1.5  # 8 points are 12 pixels, 16 the size of the page's own words
_WIDTH = re.compile(r'\swidth="([\d.]+)(?:pt)?"')
_HEIGHT = re.compile(r'\sheight="[^"]*"')  # follows from the width, whatever becomes of it
_PROLOG = re.compile(r"\A.*?(?=<svg)", re.DOTALL)


@dataclass(frozen=True)
class Shown:
    """A figure as the page shows it.

    Attributes:
        key: of its section and its help.
        name: unlike that of any other figure; also of the files saved from it.
        title: its caption.
        finding: what it shows, in a sentence; also its text for those who cannot see it.
        svg: the drawing.
        data: what is drawn, as CSV in a ``data:`` link.
        code: lines of Python that draw it again.
    """

    key: str
    name: str
    title: str
    finding: str
    svg: Markup
    data: str
    code: str


@dataclass(frozen=True)
class _Plan:
    """A figure to be drawn: everything but the drawing.

    Attributes:
        call: the function's name in ``figures`` and its arguments after the study.
        table: what is drawn.
    """

    key: str
    name: str
    title: str
    call: tuple[str, tuple[str, ...]]
    finding: str
    table: pd.DataFrame

    def shown(self, study: Study) -> Shown | None:
        """Drawn; None where the study has no data for it."""
        function, arguments = self.call
        try:
            with figures.off_screen():
                drawn = getattr(figures, function)(study, *arguments)
                svg = figures.figure_svg(_figure_of(drawn), self.name)
        except NormstatsError:
            return None
        return Shown(
            key=self.key,
            name=self.name,
            title=self.title,
            finding=self.finding,
            svg=inline(svg),
            data="data:text/csv;charset=utf-8," + quote(csv_of(self.table, "%.5g"), safe=",:;@+. "),
            code=_code(function, arguments, self.name),
        )


def inline(svg: str) -> Markup:
    """SVG to put into a page: no prolog, as wide as its words are easily read, no fixed height."""
    head, start, rest = _PROLOG.sub("", svg).partition(">")
    head = _HEIGHT.sub("", _WIDTH.sub(_in_pixels, head))
    return Markup(f'{head} aria-hidden="true" focusable="false"{start}{rest.strip()}')


def _in_pixels(width: re.Match[str]) -> str:
    return f' width="{float(width[1]) * _PIXELS_PER_POINT:.0f}"'


def overall(study: Study) -> Iterator[Shown]:
    """The figures over all layers."""
    return _drawn(study, _overall_plans(study))


def of_layer(study: Study, layer: str) -> Iterator[Shown]:
    """The figures of one layer."""
    return _drawn(study, _layer_plans(study, layer))


def chosen_layers(study: Study) -> tuple[list[str], str]:
    """The layers that have figures of their own, and a sentence that says which they are.

    All of a few; else those of the largest, the median and the smallest error of BatchNorm with
    its smallest batch above one (of the first method where there is none).
    """
    errors = study.errors()
    layers = list(errors["layer"].unique())
    if len(layers) <= _LAYERS_DRAWN:
        return layers, ""
    sizes = [size for size in batch_norm_sizes(errors) if size > 1]
    method = f"bn@{sizes[0]}" if sizes else str(errors["method"].iloc[0])
    values = errors[errors["method"] == method].set_index("layer")["error"].dropna()
    ranked = list(values.sort_values(kind="stable").index)
    if not ranked:
        return layers[:_LAYERS_DRAWN], f"Figures are drawn for the first {_LAYERS_DRAWN} layers."
    chosen = [ranked[-1], ranked[(len(ranked) - 1) // 2], ranked[0]]
    which = ", ".join(printable(layer) for layer in chosen)
    return chosen, (
        f"To keep the page small, figures are drawn for three layers: those of the largest, the "
        f"median and the smallest error of {printable(method)} ({which})."
    )


def _drawn(study: Study, plans: Iterator[_Plan]) -> Iterator[Shown]:
    for plan in plans:
        shown = plan.shown(study)
        if shown is not None:
            yield shown


def _figure_of(drawn: Axes | Figure) -> Figure:
    figure = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
    assert figure is not None  # of Axes that have just been drawn into
    return figure


def _code(function: str, arguments: Sequence[str], name: str) -> str:
    given = ", ".join(["study", *map(repr, arguments)])
    figure = "" if function == "depth_profiles" else ".figure"
    return (
        "import normstats as ns\n"
        "from normstats_reports import figures\n\n"
        'study = ns.open_study("RUN")  # the run folder\n'
        f"drawn = figures.{function}({given})\n"
        f'drawn{figure}.savefig("{name}.svg")\n'
    )


def _overall_plans(study: Study) -> Iterator[_Plan]:
    errors, layers = study.errors(), study.layers()
    yield _Plan(
        "heat-map",
        "heat-map",
        "Error of every method in every layer",
        ("heat_map", ()),
        _heat_map_finding(errors),
        _wide(errors, "error"),
    )
    for method in _methods_to_split(errors):
        rows = errors[errors["method"] == method]
        yield _Plan(
            "error-parts",
            f"error-parts-{re.sub(r'[^a-z0-9]+', '-', method)}",
            f"What the error of {printable(method)} is made of",
            ("error_parts", (method,)),
            _parts_finding(method, rows),
            rows[["layer", *_PARTS, "error"]],
        )
    worth = layers["effective_samples_mean"]
    yield _Plan(
        "depth",
        "depth-profiles",
        "From the input to the output of the network",
        ("depth_profiles", ()),
        f"An image is worth {_range(worth)} independent values to a channel's mean; "
        f"{number(float(worth.iloc[0]))} in the first layer, {number(float(worth.iloc[-1]))} in "
        "the last.",
        layers.merge(_wide(study.crossovers(), "batch_number", "residual"), on="layer"),
    )
    said = {finding.claim: finding.text for finding in study.findings}
    if "grouping" in study.parts:
        title = "Are index groups better than random ones?"
        table = study.parts["grouping"].tables["grouping"]
        finding = said.get("index groups", title)
        yield _Plan("grouping", "grouping", title, ("grouping", ()), finding, table)
    if "validation" in study.parts:
        table = study.validation()
        for quantity, measured in (("error", "kl"), ("residual", "kl_refit")):
            title = f"What the network's output does, against the {quantity}"
            yield _Plan(
                "damage",
                f"damage-{quantity}",
                title,
                ("damage", (quantity,)),
                said.get("damage", title),
                table[["layer", "method", quantity, measured]],
            )


_UNKNOWN = "No method has a value."
_PARTS = ["mean_bias_sq", "mean_variance", "std_bias_sq", "std_variance"]


def _layer_plans(study: Study, layer: str) -> Iterator[_Plan]:
    errors = study.errors()
    rows = errors[errors["layer"] == layer]
    rows = rows.assign(
        bias_sq=rows["mean_bias_sq"] + rows["std_bias_sq"],
        variance=rows["mean_variance"] + rows["std_variance"],
    )
    channels = study.channels()
    channels = channels[channels["layer"] == layer]
    anchor = anchors(list(errors["layer"].unique()))[layer]
    name = anchor.removeprefix("layer-")
    shown = printable(layer)
    least = _ranked(rows, "error")
    yield _Plan(
        "tradeoff",
        f"tradeoff-{name}",
        f"Bias² and variance in {shown}",
        ("tradeoff", (layer,)),
        _UNKNOWN
        if least.empty
        else f"Of {len(rows)} methods {printable(least['method'].iloc[0])} has the least error, "
        f"{number(float(least['error'].iloc[0]))} of σ².",
        rows[["method", "bias_sq", "variance", "error"]],
    )
    yield _Plan(
        "batch-curve",
        f"batch-curve-{name}",
        f"Error against batch size in {shown}",
        ("batch_curve", (layer,)),
        _curve_finding(study, layer, rows),
        rows[["method", "batch", "error", "error_low", "error_high"]],
    )
    std = np.sqrt(channels.loc[channels["alive"], "variance"])
    yield _Plan(
        "channel-map",
        f"channel-map-{name}",
        f"Channels of {shown}",
        ("channel_map", (layer,)),
        f"Means of {len(std)} live channels go from "
        f"{_range(channels.loc[channels['alive'], 'mean'])}, standard deviations from "
        f"{_range(std)}; {len(channels) - len(std) or 'none'} dead.",
        channels.assign(std=np.sqrt(channels["variance"]))[["channel", "mean", "std", "alive"]],
    )
    if "plane" in study.parts:
        plane = study.parts["plane"].tables["plane"]
        plane = plane[plane["layer"] == layer]
        if plane["error"].notna().any():
            best = _ranked(plane, "error").iloc[0]
            yield _Plan(
                "plane",
                f"plane-{name}",
                f"Images and channels pooled in {shown}",
                ("plane", (layer,)),
                f"The least error, {number(float(best['error']))} of σ², is that of "
                f"{best['batch']} images and groups of {best['group_channels']} channels.",
                plane.drop(columns=["layer", "weights", "channels"]),
            )


def _wide(table: pd.DataFrame, column: str, quantity: str | None = None) -> pd.DataFrame:
    """Layers down, methods across."""
    chosen = table if quantity is None else table[table["quantity"] == quantity]
    return chosen.pivot_table(
        column, index="layer", columns="method", aggfunc="first", sort=False
    ).reset_index()


def _methods_to_split(errors: pd.DataFrame) -> list[str]:
    """BatchNorm of a small batch, which is noise; and the first that pools channels."""
    sizes = [size for size in batch_norm_sizes(errors) if size > 1]
    pooling = group_norm(errors) or next((m for m in errors["method"] if m == "ln"), None)
    chosen = [f"bn@{sizes[0]}"] if sizes else []
    return chosen + ([pooling] if pooling else []) or [str(errors["method"].iloc[0])]


def _ranked(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows that have a value, the least first."""
    return table[table[column].notna()].sort_values(column, kind="stable")


def _range(values: pd.Series[Any]) -> str:
    known = values[np.isfinite(values)]
    if known.empty:
        return "unknown"
    return f"{number(float(known.min()))} to {number(float(known.max()))}"


def _heat_map_finding(errors: pd.DataFrame) -> str:
    medians = errors.groupby("method", sort=False)["error"].median().dropna()
    if medians.empty:
        return _UNKNOWN
    best, worst = str(medians.idxmin()), str(medians.idxmax())
    cell = _ranked(errors, "error").iloc[-1]
    return (
        f"Over layers, {printable(best)} has the least median error "
        f"({number(float(medians[best]))} of σ²) and {printable(worst)} the largest "
        f"({number(float(medians[worst]))}); the largest of all is {number(float(cell['error']))} "
        f"({printable(cell['layer'])}, {printable(cell['method'])})."
    )


def _parts_finding(method: str, rows: pd.DataFrame) -> str:
    share = bias_share(rows).median()
    if np.isnan(share):
        return _UNKNOWN
    kind = "bias²" if share >= 0.5 else "variance"
    part = share if share >= 0.5 else 1 - share
    return f"In the median layer {part:.0%} of the error of {printable(method)} is {kind}."


def _curve_finding(study: Study, layer: str, rows: pd.DataFrame) -> str:
    curve = rows[rows["method"].str.startswith("bn@")].sort_values("batch")
    if curve.empty:
        return "BatchNorm was not computed."
    crossovers = study.crossovers()
    here = crossovers[(crossovers["layer"] == layer) & (crossovers["quantity"] == "error")]
    sides: dict[str, list[str]] = {"below": [], "meets": [], "above": []}
    for _, row in here[here["batch"] != ""].iterrows():
        method, size = printable(row["method"]), batch(row["batch"])
        side = {"<": "below", ">": "above"}.get(size[0], "meets")
        sides[side].append(f"{method} at {size}" if side == "meets" else method)
    first, last = curve.iloc[0], curve.iloc[-1]
    told = [
        f"BatchNorm's error is {number(float(first['error']))} at a batch of {first['batch']} and "
        f"{number(float(last['error']))} at {last['batch']}"
    ]
    if sides["meets"]:
        told.append(f"it meets {', '.join(sides['meets'])}")
    if sides["below"]:
        told.append(f"it is below {', '.join(sides['below'])} at every size")
    if sides["above"]:
        told.append(f"it is above {', '.join(sides['above'])} at every size")
    return "; ".join(told) + "."
