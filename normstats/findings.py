"""The result of a study in a few sentences, for someone who must choose a norm layer.

Every number is that of the *median layer*: the layer whose value is the median over layers (of an
even number the lower one), so that it has a confidence interval of its own. Single layers can be
wrong by orders of magnitude, and means over layers with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from normstats.decomposition import bias_and_variance
from normstats.layer_values import HEADLINES
from normstats.parts import Part
from normstats.tables import Tables

MOST = 8
SIGNIFICANT = 0.05
_LITTLE = 0.05  # a saving that is none


@dataclass(frozen=True)
class Finding:
    """One sentence and what it rests on.

    Attributes:
        claim: what it is about, in two or three words.
        text: the sentence.
        value: its number; NaN where it has none.
        low: lower end of the number's 95 % confidence interval over images.
        high: its upper end.
        rule: where the number comes from, and what decided the wording.
        weight: how much it bears on a choice; the weightiest come first.
    """

    claim: str
    text: str
    value: float
    low: float
    high: float
    rule: str
    weight: int

    def __str__(self) -> str:
        return self.text


def findings(tables: Tables, parts: Mapping[str, Part]) -> tuple[Finding, ...]:
    """At most eight findings, the weightiest first; fewer where the methods asked for are too few.

    Args:
        tables: of the analysis.
        parts: what else was asked.
    """
    found = [
        *_overtaking(tables),
        *_batch_noise(tables),
        *_unlike_channels(tables),
        *_between(tables),
        *_index_groups(parts),
        *_worth_of_an_image(tables),
        *_damage(parts),
    ]
    return tuple(sorted(found, key=lambda finding: -finding.weight)[:MOST])


def method_averages(errors: pd.DataFrame) -> pd.DataFrame:
    """One row a method: its terms averaged over layers, in the order of the study.

    Columns are ``mean_bias_sq``, ``mean_variance``, ``std_bias_sq``, ``std_variance``, ``error``
    and ``residual`` (means over layers), ``error_median`` and ``residual_median`` (medians over
    layers), ``bias_share`` (bias² over error, median over layers) and ``layers`` (how many).
    """
    terms = ["mean_bias_sq", "mean_variance", "std_bias_sq", "std_variance", "error", "residual"]
    shares = errors.assign(bias_share=bias_share(errors))
    by_method = shares.groupby("method", sort=False)
    averages = by_method[terms].mean()
    for quantity in HEADLINES:
        averages[f"{quantity}_median"] = by_method[quantity].median()
    averages["bias_share"] = by_method["bias_share"].median()
    averages["layers"] = by_method["layer"].nunique()
    return averages


def number(value: float, digits: int = 2) -> str:
    """Two significant digits or so, as one would say it: 0.0054, 0.89, 31, 420."""
    return f"{float(f'{value:.{digits}g}'):,.10g}" if np.isfinite(value) else "unknown"


def with_interval(value: float, low: float, high: float, largest: int | None = None) -> str:
    """A number and its interval, with digits enough that the ends differ.

    Args:
        value, low, high: the interval may be missing (NaN), or of a crossover: from 0 to infinity.
        largest: the largest batch size computed, for a crossover.
    """
    if np.isnan(low) or np.isnan(high):
        return number(value)
    digits = next((n for n in (2, 3) if number(low, n) != number(high, n)), 4)
    start = "the smallest" if low == 0 and largest else number(low, digits)
    end = f"beyond {largest}" if np.isinf(high) else number(high, digits)
    return f"{number(value, digits)} ({start} to {end})"


def batch_norm_sizes(errors: pd.DataFrame) -> list[int]:
    """The batch sizes of the ``bn@B`` in a table of errors, ascending."""
    of_batch_norm = errors.loc[errors["method"].str.startswith("bn@"), "batch"]
    return sorted(int(size) for size in of_batch_norm.dropna().unique())


def group_norm(errors: pd.DataFrame) -> str | None:
    """The GroupNorm that most layers can have (the first asked for of several); None without."""
    of_groups = errors.loc[errors["method"].str.startswith("gn:"), "method"]
    counts = of_groups.value_counts(sort=False)
    return None if counts.empty else str(counts.idxmax())


def bias_share(errors: pd.DataFrame) -> pd.Series[float]:
    """bias² over error, row by row of a table of errors."""
    return bias_and_variance(errors)[0] / errors["error"]


@dataclass(frozen=True)
class MedianLayer:
    """A column's median layer: its value and confidence interval."""

    layer: str
    value: float
    low: float
    high: float
    layers: int

    @classmethod
    def of(cls, rows: pd.DataFrame, column: str) -> MedianLayer | None:
        """None where no layer has a value."""
        known = rows[rows[column].notna()].sort_values(column, kind="stable")
        if known.empty:
            return None
        row = known.iloc[(len(known) - 1) // 2]
        value, low, high = (float(row[f"{column}{end}"]) for end in ("", "_low", "_high"))
        return cls(str(row["layer"]), value, low, high, len(known))

    def __str__(self) -> str:
        return with_interval(self.value, self.low, self.high)

    @property
    def rule(self) -> str:
        """Which layer it is, of how many."""
        return f"the median layer of {self.layers}, {self.layer}, and its 95 % confidence interval"


def _finding(claim: str, text: str, median: MedianLayer, rule: str, weight: int) -> Finding:
    return Finding(
        claim, text, median.value, median.low, median.high, f"{rule}: {median.rule}", weight
    )


def _of(tables: Tables, method: str, column: str = "error") -> MedianLayer | None:
    errors = tables.errors
    return MedianLayer.of(errors[errors["method"] == method], column)


def _pooling(tables: Tables) -> Iterator[tuple[str, str]]:
    """GroupNorm and LayerNorm, where they were asked for: the method and its name."""
    method = group_norm(tables.errors)
    if method is not None:
        yield method, f"GroupNorm ({method})"
    if (tables.errors["method"] == "ln").any():
        yield "ln", "LayerNorm"


def _batch_noise(tables: Tables) -> Iterator[Finding]:
    """Small batches make BatchNorm's statistics noisy."""
    sizes = [size for size in batch_norm_sizes(tables.errors) if size > 1]
    if len(sizes) < 2:
        return
    small, large = (_of(tables, f"bn@{sizes[end]}") for end in (0, -1))
    if small is None or large is None:
        return
    text = (
        f"BatchNorm's statistics are noisy when the batch is small: with {sizes[0]} images they "
        f"are off by {small}, with {sizes[-1]} by {large} (mean squared error in units of a "
        "channel's own variance). SyncBatchNorm counts as its global batch."
    )
    yield _finding("batch noise", text, small, "error of the smallest batch above one", 6)


def _unlike_channels(tables: Tables) -> Iterator[Finding]:
    """LayerNorm assumes that channels are alike: how unlike are they?"""
    median = _of(tables, "ln")
    if median is None:
        return
    rows = tables.errors[tables.errors["method"] == "ln"]
    share = float(bias_share(rows).median())
    if share >= 0.5:
        text = (
            f"LayerNorm takes all channels for alike, and here they are not: it is off by {median},"
            f" {share:.0%} of it bias, which no number of images mends."
        )
    else:
        text = (
            f"LayerNorm takes all channels for alike, and here they nearly are: it is off by "
            f"{median}, and only {share:.0%} of that is bias."
        )
    rule = "error of ln; unlike where bias² is half of it or more (median over layers)"
    yield _finding("unlike channels", text, median, rule, 5)


def _between(tables: Tables) -> Iterator[Finding]:
    """GroupNorm sits between LayerNorm and InstanceNorm: less bias, more noise than the first."""
    method = group_norm(tables.errors)
    names = ("ln", method, "in")
    if method is None or not all((tables.errors["method"] == name).any() for name in names):
        return
    errors = tables.errors.assign(bias_sq=bias_and_variance(tables.errors)[0])
    medians = errors.groupby("method")[["bias_sq", "residual"]].median()
    bias, residual = (
        medians.loc[list(names), column].to_numpy() for column in ("bias_sq", "residual")
    )
    of_group = _of(tables, method, "residual")
    if of_group is None:
        return
    falls, rises = bool(np.all(np.diff(bias) <= 0)), bool(np.all(np.diff(residual) >= 0))
    of_bias, of_residual = (", ".join(number(float(v)) for v in row) for row in (bias, residual))
    told = (
        f"bias² {of_bias}; residual {of_residual} for "
        f"LayerNorm, GroupNorm ({method}) and InstanceNorm"
    )
    text = (
        f"GroupNorm sits between LayerNorm and InstanceNorm: {told}."
        if falls and rises
        else f"GroupNorm does not sit between LayerNorm and InstanceNorm here: {told}."
    )
    rule = "between where bias² falls and the residual rises (medians over layers); the residual"
    yield _finding("group norm between", text, of_group, rule, 3)


def _index_groups(parts: Mapping[str, Part]) -> Iterator[Finding]:
    """Index groups are, or are not, better than random ones."""
    if "grouping" not in parts:
        return
    tests = parts["grouping"].tables["grouping"]
    groups = tests["groups"].mode().iloc[0]
    tests = tests[tests["groups"] == groups]
    better = int((tests["q_value"] < SIGNIFICANT).sum())
    total = len(tests)
    bias, residual = (float(tests[f"{what}_saved"].median()) for what in ("bias_sq", "residual"))
    if residual >= _LITTLE:
        undone = f"and {residual:.0%} of what a learned scale and shift cannot undo"
    elif residual > -_LITTLE:
        undone = "and next to nothing of what a learned scale and shift cannot undo"
    else:
        undone = f"but leave {-residual:.0%} more of what a learned scale and shift cannot undo"
    are = "are" if better > total / 2 else "are mostly not" if better else "are not"
    text = (
        f"Channels that share one of {groups} groups by index {are} more alike than by chance "
        f"(they are in {better} of {total} layers); the best groups found would save {bias:.0%} of "
        f"the bias² {undone}."
    )
    rule = (
        f"q < {SIGNIFICANT} of a permutation test, Benjamini-Hochberg over layers; savings are "
        "medians over layers, of groups chosen on the same images"
    )
    yield Finding("index groups", text, better / total, np.nan, np.nan, rule, 4)


def _overtaking(tables: Tables) -> Iterator[Finding]:
    """The batch size from which BatchNorm is better."""
    largest = max(batch_norm_sizes(tables.errors), default=0)
    for quantity, weight in (("residual", 8), ("error", 7)):
        found = tables.crossovers[tables.crossovers["quantity"] == quantity]
        rows = found.rename(columns=AS_VALUE)
        medians = [
            (name, MedianLayer.of(rows[rows["method"] == method], "value"))
            for method, name in _pooling(tables)
        ]
        known = [(name, median) for name, median in medians if median is not None]
        if not known:
            continue
        parts = [f"{name} {from_which_batch(median, largest)}" for name, median in known]
        beats = f"BatchNorm beats {', and '.join(parts)}"
        if quantity == "error":
            text = f"Counting the whole error, bias and noise, {beats}."
        else:
            text = (
                "A layer's learned scale and shift undo what is constant in the error; counting "
                f"only what they cannot undo, {beats}. (Accuracies of ResNet-50 on ImageNet cross "
                "between 8 and 16: Wu and He 2018.)"
            )
        rule = f"crossover of the {quantity}"
        yield _finding(f"overtaking, {quantity}", text, known[0][1], rule, weight)


AS_VALUE = {"batch_number": "value", "batch_low": "value_low", "batch_high": "value_high"}


def from_which_batch(median: MedianLayer, largest: int) -> str:
    """From which batch on."""
    if median.value == 0:
        return "at every batch size"
    if np.isinf(median.value):
        return f"at no batch size up to {largest}"
    return f"from a batch of {with_interval(median.value, median.low, median.high, largest)}"


def _worth_of_an_image(tables: Tables) -> Iterator[Finding]:
    """Positions of an image are not independent."""
    layers = tables.layers[tables.layers["positions"] > 1]
    median = MedianLayer.of(layers, "effective_samples_mean")
    if median is None:
        return
    positions = int(layers.set_index("layer")["positions"][median.layer])
    so = (
        "more pixels would not replace more images"
        if median.value < positions / 2
        else "they are as good as independent"
    )
    text = (
        f"An image's {positions:,} positions are worth {median} independent values to a channel's "
        f"mean: {so}."
    )
    rule = "effective samples per image; as good as independent from half of the positions on"
    yield _finding("effective samples", text, median, rule, 2)


def _damage(parts: Mapping[str, Part]) -> Iterator[Finding]:
    """Whether the numbers rank what happens to the network's output."""
    if "validation" not in parts:
        return
    about = parts["validation"].about
    values = [about["correlations"][f"{what}_within_layers"] for what in HEADLINES]
    if any(value is None for value in values):
        return
    error, residual = values
    verdict = "rank" if min(values) >= 0.7 else "do not reliably rank"
    text = (
        f"These numbers {verdict} what a layer's statistics do to the network's output: rank "
        f"correlation with its KL divergence {error:.2f} for the error and, with scale and shift "
        f"re-fitted, {residual:.2f} for the residual ({about['images']:,} images, one layer at a "
        "time)."
    )
    rule = "Spearman over methods, mean over layers; they rank where both are 0.7 or more"
    yield Finding("damage", text, error, np.nan, np.nan, rule, 5)
