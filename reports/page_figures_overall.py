"""The page's figures over all layers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from normstats.findings import batch_norm_sizes, bias_share, group_norm, number
from normstats.printable import printable
from normstats.study import Study
from normstats_reports.page_figures import UNKNOWN, Plan, Shown, drawn, ranked, wide

_PARTS = ["mean_bias_sq", "mean_variance", "std_bias_sq", "std_variance"]
_DEPTH = ["layer", "positions"] + [
    f"effective_samples_{what}{end}"
    for what in ("mean", "variance")
    for end in ("", "_low", "_high")
]


def overall(study: Study) -> Iterator[Shown]:
    """Errors by layer and method, what they are made of, and how layers change with depth."""
    return drawn(study, _plans(study))


def span_of(values: pd.Series[Any]) -> str:
    """The least and the largest value, in words."""
    known = values[np.isfinite(values)]
    if known.empty:
        return "unknown"
    return f"{number(float(known.min()))} to {number(float(known.max()))}"


def _plans(study: Study) -> Iterator[Plan]:
    errors, layers = study.errors(), study.layers()
    yield Plan(
        "heat-map",
        "heat-map",
        "Error of every method in every layer",
        ("heat_map", ()),
        _heat_map_finding(errors),
        wide(errors, "error"),
    )
    for method in _methods_to_split(errors):
        rows = errors[errors["method"] == method]
        yield Plan(
            "error-parts",
            f"error-parts-{re.sub(r'[^a-z0-9]+', '-', method)}",
            f"What the error of {printable(method)} is made of",
            ("error_parts", (method,)),
            _parts_finding(method, rows),
            rows[["layer", *_PARTS, "error"]],
        )
    worth = layers["effective_samples_mean"]
    yield Plan(
        "depth",
        "depth-profiles",
        "From the input to the output of the network",
        ("depth_profiles", ()),
        f"An image is worth {span_of(worth)} independent values to a channel's mean; "
        f"{number(float(worth.iloc[0]))} in the first layer, {number(float(worth.iloc[-1]))} in "
        "the last.",
        layers[_DEPTH].merge(wide(study.crossovers(), "batch_number", "residual"), on="layer"),
    )


def _methods_to_split(errors: pd.DataFrame) -> list[str]:
    """BatchNorm of a small batch, which is noise; and the first that pools channels."""
    sizes = [size for size in batch_norm_sizes(errors) if size > 1]
    pooling = group_norm(errors) or next((m for m in errors["method"] if m == "ln"), None)
    chosen = [f"bn@{sizes[0]}"] if sizes else []
    return chosen + ([pooling] if pooling else []) or [str(errors["method"].iloc[0])]


def _heat_map_finding(errors: pd.DataFrame) -> str:
    medians = errors.groupby("method", sort=False)["error"].median().dropna()
    if medians.empty:
        return UNKNOWN
    best, worst = str(medians.idxmin()), str(medians.idxmax())
    cell = ranked(errors, "error").iloc[-1]
    return (
        f"Over layers, {printable(best)} has the least median error "
        f"({number(float(medians[best]))} of σ²) and {printable(worst)} the largest "
        f"({number(float(medians[worst]))}); the largest of all is {number(float(cell['error']))} "
        f"({printable(cell['layer'])}, {printable(cell['method'])})."
    )


def _parts_finding(method: str, rows: pd.DataFrame) -> str:
    share = bias_share(rows).median()
    if np.isnan(share):
        return UNKNOWN
    kind = "bias²" if share >= 0.5 else "variance"
    part = share if share >= 0.5 else 1 - share
    return f"In the median layer {part:.0%} of the error of {printable(method)} is {kind}."
