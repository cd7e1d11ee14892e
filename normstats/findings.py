"""The result of a study in a few sentences, for someone who must choose a norm layer.

Every number is the median over layers: single layers can be wrong by orders of magnitude.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from normstats.layer_values import HEADLINES
from normstats.methods import Method
from normstats.tables import Tables


def method_averages(errors: pd.DataFrame) -> pd.DataFrame:
    """One row a method: its terms averaged over layers, in the order of the study.

    Columns are ``mean_bias_sq``, ``mean_variance``, ``std_bias_sq``, ``std_variance``, ``error``
    and ``residual`` (means over layers), ``error_median`` and ``residual_median`` (medians over
    layers), ``bias_share`` (bias² over error, median over layers) and ``layers`` (how many).
    """
    terms = ["mean_bias_sq", "mean_variance", "std_bias_sq", "std_variance", "error", "residual"]
    shares = errors.assign(
        bias_share=(errors["mean_bias_sq"] + errors["std_bias_sq"]) / errors["error"]
    )
    by_method = shares.groupby("method", sort=False)
    averages = by_method[terms].mean()
    for quantity in HEADLINES:
        averages[f"{quantity}_median"] = by_method[quantity].median()
    averages["bias_share"] = by_method["bias_share"].median()
    averages["layers"] = by_method["layer"].nunique()
    return averages


def findings(tables: Tables) -> tuple[str, ...]:
    """Three or four plain sentences; fewer where the methods asked for do not support them."""
    averages = method_averages(tables.errors)
    sentences = (
        _batch_noise(averages),
        _pooling_bias(averages),
        _overtaking(tables, averages, "error"),
        _overtaking(tables, averages, "residual"),
    )
    return tuple(sentence for sentence in sentences if sentence)


def number(value: float) -> str:
    """Two significant digits, as one would say it: 0.0054, 0.89, 31, 420."""
    return f"{float(f'{value:.2g}'):,.10g}" if np.isfinite(value) else "unknown"


def batch_norm_sizes(methods: Iterable[str]) -> list[int]:
    """The batch sizes of the ``bn@B`` among the methods, ascending."""
    parsed = (Method.parse(name) for name in methods)
    return sorted(method.batch for method in parsed if method.is_batch_norm and method.batch)


def _batch_noise(averages: pd.DataFrame) -> str:
    """How noisy BatchNorm's statistics are at its smallest and largest batch."""
    sizes = [size for size in batch_norm_sizes(averages.index) if size > 1]
    if len(sizes) < 2:
        return ""
    small, large = (number(averages["error_median"][f"bn@{sizes[end]}"]) for end in (0, -1))
    return (
        f"BatchNorm's statistics are noisy when the batch is small: with {sizes[0]} images they "
        f"are off by {small}, with {sizes[-1]} by {large} (mean squared error in units of a "
        "channel's own variance; median over layers)."
    )


def _pooling_bias(averages: pd.DataFrame) -> str:
    """How much of the error of pooling channels is bias."""
    parts = [
        f"{_full_name(name)} is off by {number(averages['error_median'][name])}, "
        f"{averages['bias_share'][name]:.0%} of it bias"
        for name in _pooling(averages)
    ]
    if not parts:
        return ""
    return (
        f"{' and '.join(parts)}: channels that differ are given the same mean and variance, and "
        "no number of images mends that."
    )


def _overtaking(tables: Tables, averages: pd.DataFrame, quantity: str) -> str:
    """The batch size from which BatchNorm is better."""
    largest = max(batch_norm_sizes(averages.index), default=0)
    found = tables.crossovers[tables.crossovers["quantity"] == quantity]
    parts = []
    for name in _pooling(averages):
        batches = found.loc[found["method"] == name, "batch_number"].dropna()
        if len(batches):
            parts.append(f"{_full_name(name)} {_when(batches, largest)}")
    if not parts:
        return ""
    beats = f"BatchNorm beats {', and '.join(parts)}"
    if quantity == "error":
        return f"Counting the whole error, {beats}."
    return (
        "A layer's learned scale and shift undo what is constant in that error; counting only "
        f"what they cannot undo, {beats}."
    )


def _when(batches: pd.Series[float], largest: int) -> str:
    """From which batch on: the median over layers, and the range."""
    middle, low, high = batches.median(), batches.min(), batches.max()
    if middle == 0:
        single = f" (in single layers only from {_size(high, largest)})" if high else ""
        return f"at every batch size{single}"
    if np.isinf(middle):
        single = f" (in single layers from {_size(low, largest)})" if np.isfinite(low) else ""
        return f"at no batch size up to {largest}{single}"
    spread = f" ({_size(low, largest)} to {_size(high, largest)} over {len(batches)} layers)"
    return f"from a batch of {_size(middle, largest)}{spread if low != high else ''}"


def _size(batch: float, largest: int) -> str:
    """A batch size, or on which side of the computed ones it lies."""
    if batch == 0:
        return "the smallest"
    return f"beyond {largest}" if np.isinf(batch) else number(batch)


def _pooling(averages: pd.DataFrame) -> list[str]:
    """LayerNorm, and the GroupNorm that most layers can have (the first asked for of several)."""
    groups = averages.loc[averages.index.str.startswith("gn:"), "layers"]
    return [
        name for name in averages.index if name == "ln" or (len(groups) and name == groups.idxmax())
    ]


def _full_name(method: str) -> str:
    return "LayerNorm" if method == "ln" else f"GroupNorm ({method})"
