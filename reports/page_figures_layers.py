"""The page's figures of single layers: two small ones of every layer, and more of some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from normstats.decomposition import bias_and_variance
from normstats.findings import batch_norm_sizes, number
from normstats.printable import printable
from normstats.study import Study
from normstats_reports import page_sketches
from normstats_reports.figures.batches import inside
from normstats_reports.page_figures import UNKNOWN, Plan, Shown, code, drawn, ranked
from normstats_reports.page_figures_overall import span_of
from normstats_reports.page_frame import data_link
from normstats_reports.page_tables import anchors, batch

_LAYERS_WITH_MORE = 3
_PARTS = ["mean_bias_sq", "std_bias_sq", "mean_variance", "std_variance"]
_DRAWN = ["layer", "method", "batch", *_PARTS, "error", "error_low", "error_high"]


@dataclass(frozen=True)
class LayerFigures:
    """The figures of one layer.

    Attributes:
        small: bias² and variance; the error over batch sizes.
        data: of both, as CSV in a ``data:`` link.
        code: lines of Python that draw both.
        more: others, in a few layers.
    """

    small: tuple[Shown, ...]
    data: str
    code: str
    more: tuple[Shown, ...] = ()


def of_layers(study: Study) -> dict[str, LayerFigures]:
    """The figures of every layer, by the fragment of its link."""
    errors = dict(iter(study.errors()[_DRAWN].groupby("layer", sort=False)))
    crossovers = study.crossovers()
    of_error = crossovers[crossovers["quantity"] == "error"]
    meets = dict(iter(of_error.groupby("layer", sort=False)))
    names = anchors([str(layer) for layer in errors])
    chosen, _ = chosen_layers(study)
    more = {layer: tuple(drawn(study, _more(study, layer))) for layer in chosen}
    return {
        names[str(layer)]: _of_layer(
            str(layer),
            names[str(layer)].removeprefix("layer-"),
            rows,
            meets.get(layer, of_error.iloc[:0]),
            more.get(str(layer), ()),
        )
        for layer, rows in errors.items()
    }


def chosen_layers(study: Study) -> tuple[list[str], str]:
    """The layers that have more figures, and a sentence that says which they are.

    All of a few; else those of the largest, the median and the smallest error of BatchNorm with
    its smallest batch above one (of the first method where there is none).
    """
    errors = study.errors()
    layers = [str(layer) for layer in errors["layer"].unique()]
    if len(layers) <= _LAYERS_WITH_MORE:
        return layers, ""
    sizes = [size for size in batch_norm_sizes(errors) if size > 1]
    method = f"bn@{sizes[0]}" if sizes else str(errors["method"].iloc[0])
    order = [str(layer) for layer in ranked(errors[errors["method"] == method], "error")["layer"]]
    if order:
        chosen = [order[-1], order[(len(order) - 1) // 2], order[0]]
        which = f"of the largest, the median and the smallest error of {printable(method)}"
    else:
        chosen, which = layers[:_LAYERS_WITH_MORE], "that come first"
    return chosen, (
        "Every layer has two drawings. To keep the page small, its channels, and its plane of "
        f"images and channels, are drawn for three: those {which} "
        f"({', '.join(printable(layer) for layer in chosen)}). In Python, "
        "study.plot.channel_map(layer) and study.plot.plane(layer) draw any other."
    )


def planes(study: Study, layers: Sequence[str]) -> Iterator[Shown]:
    """The (images, channels) planes of some layers, where the study has them."""
    return drawn(study, (plan for layer in layers for plan in _plane(study, layer)))


def _of_layer(
    layer: str, name: str, rows: pd.DataFrame, meets: pd.DataFrame, more: tuple[Shown, ...]
) -> LayerFigures:
    bias_sq, variance = bias_and_variance(rows)
    least = ranked(rows, "error")
    small = (
        Shown(
            "tradeoff",
            f"tradeoff-{name}",
            "Bias² and variance",
            UNKNOWN
            if least.empty
            else f"Of {len(rows)} methods {printable(least['method'].iloc[0])} has the least "
            f"error, {number(float(least['error'].iloc[0]))} of σ².",
            page_sketches.tradeoff(rows),
        ),
        Shown(
            "batch-curve",
            f"batch-curve-{name}",
            "Error against batch size",
            _curve_finding(rows, meets),
            page_sketches.batch_curve(rows, inside(meets)),
        ),
    )
    columns = ["method", "batch", "bias_sq", "variance", "error", "error_low", "error_high"]
    return LayerFigures(
        small,
        data_link(rows.assign(bias_sq=bias_sq, variance=variance)[columns], "%.4g"),
        code(
            [
                (function, [layer], shown.name)
                for function, shown in zip(("tradeoff", "batch_curve"), small, strict=True)
            ]
        ),
        more,
    )


def _more(study: Study, layer: str) -> Iterator[Plan]:
    channels = study.channels()
    channels = channels[channels["layer"] == layer]
    alive = channels[channels["alive"]]
    dead = len(channels) - len(alive)
    yield Plan(
        "channel-map",
        f"channel-map-{_file_name(study, layer)}",
        f"Channels of {printable(layer)}",
        ("channel_map", (layer,)),
        f"Means of {len(alive)} live channels go from {span_of(alive['mean'])}, standard "
        f"deviations from {span_of(np.sqrt(alive['variance']))}; {dead or 'none'} dead.",
        channels.assign(std=np.sqrt(channels["variance"]))[["mean", "std", "alive"]],
    )


def _plane(study: Study, layer: str) -> Iterator[Plan]:
    if "plane" not in study.parts:
        return
    plane = study.parts["plane"].tables["plane"]
    plane = plane[plane["layer"] == layer]
    if plane["error"].notna().any():
        best = ranked(plane, "error").iloc[0]
        yield Plan(
            "plane",
            f"plane-{_file_name(study, layer)}",
            f"Images and channels pooled in {printable(layer)}",
            ("plane", (layer,)),
            f"The least error, {number(float(best['error']))} of σ², is that of {best['batch']} "
            f"images and {_pooled(int(best['group_channels']))}.",
            plane.drop(columns=["layer", "weights", "channels"]),
        )


def _pooled(channels: int) -> str:
    return "single channels" if channels == 1 else f"groups of {channels} channels"


def _file_name(study: Study, layer: str) -> str:
    return anchors(list(study.errors()["layer"].unique()))[layer].removeprefix("layer-")


def _curve_finding(rows: pd.DataFrame, meets: pd.DataFrame) -> str:
    curve = rows[rows["method"].str.startswith("bn@")].sort_values("batch")
    if curve.empty:
        return "BatchNorm was not computed."
    sides: dict[str, list[str]] = {"below": [], "meets": [], "above": []}
    for row in meets[meets["batch"] != ""].to_dict("records"):
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
