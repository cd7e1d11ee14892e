"""A comparison in a few sentences: what moved, what re-estimating would gain, which is noisier.

As in a study's findings, numbers are those of the median layer, with its confidence interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
import pandas as pd

from normstats.comparison.kinds import Relation
from normstats.findings import (
    AS_VALUE,
    MOST,
    Finding,
    MedianLayer,
    batch_norm_sizes,
    from_which_batch,
    group_norm,
    number,
    with_interval,
)
from normstats.study import Study

_SAME_MEANING = 0.5  # the least correlation at which a channel is taken to mean what it meant
_MIDDLE_BATCH = 8


def comparison_findings(
    studies: Mapping[str, Study], relation: Relation, tables: Mapping[str, pd.DataFrame]
) -> tuple[Finding, ...]:
    """At most eight findings, the weightiest first.

    Args:
        studies: the runs, by name; the first is the reference.
        relation: what they are to each other.
        tables: ``drift`` and ``shift``.
    """
    runs = list(studies)
    found = [
        *_repeats(relation),
        *_moved(tables["drift"], runs, relation),
        *_steps(tables["drift"], runs, relation),
        *_meaning(tables["drift"], runs),
        *_gain(tables["shift"], studies),
        *_overtaking(studies),
        *_noise(studies),
    ]
    return tuple(sorted(found, key=lambda finding: -finding.weight)[:MOST])


def settled(rows: pd.DataFrame, column: str, debiased: str) -> pd.DataFrame:
    """``value``, ``value_low`` and ``value_high``: without sampling noise where that is known."""
    value = rows[debiased].fillna(rows[column]).astype(float)
    return rows.assign(
        value=value, value_low=rows[f"{column}_low"], value_high=rows[f"{column}_high"]
    )


def drift_of(drift: pd.DataFrame, run: str, against: str) -> pd.DataFrame:
    """The rows of one pair of runs, with ``value`` and its interval."""
    rows = drift[(drift["run"] == run) & (drift["against"] == against)]
    return settled(rows, "drift", "drift_debiased")


def _repeats(relation: Relation) -> Iterator[Finding]:
    if relation.kind == "repeats":
        text = (
            "The runs have the same checkpoint and the same images: their populations are one, and "
            "nothing can have moved. What differs comes from the methods and settings."
        )
        yield Finding("the same population", text, np.nan, np.nan, np.nan, relation.reason, 9)


def _moved(drift: pd.DataFrame, runs: list[str], relation: Relation) -> Iterator[Finding]:
    """How far each layer's population is from where it was."""
    if drift.empty or relation.kind == "repeats":
        return
    first, last = runs[0], runs[-1]
    shown = runs[1:] if relation.kind == "image sets" else [last]
    for run in shown:
        rows = drift_of(drift, run, first)
        median = MedianLayer.of(rows, "value")
        if median is None:
            continue
        most = rows.iloc[int(np.nanargmax(rows["value"]))]
        parts = rows[["of_mean", "of_std"]].median()
        share = parts["of_mean"] / parts.sum() if parts.sum() else np.nan
        of_what = "" if np.isnan(share) else f", {share:.0%} of it by the mean"
        scale = float(rows["log_std_ratio"].median())
        text = (
            f"From {first} to {run} the median layer's population moved by {median} (squared "
            f"distance in units of a channel's own variance{of_what}); its standard deviations "
            f"became {_times(scale)}. {most['layer']} moved most, by {_of(most)}."
        )
        rule = (
            "drift, without sampling noise where moments are there; the share and the ratio are "
            f"medians over layers: {median.rule}"
        )
        weight = 6 if relation.kind == "image sets" else 8
        yield Finding(
            f"what moved, {run}", text, median.value, median.low, median.high, rule, weight
        )


def _steps(drift: pd.DataFrame, runs: list[str], relation: Relation) -> Iterator[Finding]:
    """Whether the populations settle."""
    if drift.empty or len(runs) < 3 or relation.kind != "checkpoints":
        return
    medians = [
        MedianLayer.of(drift_of(drift, run, before), "value") for before, run in pairwise(runs)
    ]
    values = [median.value for median in medians if median is not None]
    if len(values) < len(runs) - 1:
        return
    settles = values[-1] < values[0] and values[-1] == min(values)
    verdict = "moves least in the last step" if settles else "does not come to rest"
    told = ", ".join(
        f"{number(value)} to {run}" for value, run in zip(values, runs[1:], strict=True)
    )
    text = (
        f"From run to run the median layer moved by {told}: it {verdict}. Steps of unequal length "
        "compare as they are, not by epoch."
    )
    rule = "drift against the run before; each step's own median layer"
    yield Finding("step by step", text, np.nan, np.nan, np.nan, rule, 7)


def _meaning(drift: pd.DataFrame, runs: list[str]) -> Iterator[Finding]:
    """Whether a channel still answers to the same images."""
    if drift.empty or drift["image_correlation"].isna().all():
        return
    rows = drift[(drift["run"] == runs[-1]) & (drift["against"] == runs[0])]
    median = float(rows["image_correlation"].median())
    if np.isnan(median):
        return
    if median >= _SAME_MEANING:
        text = (
            f"Channels mostly mean what they meant: over the same images their means in {runs[0]} "
            f"and {runs[-1]} correlate by {number(median)} in the median layer."
        )
    else:
        text = (
            f"Channels hardly mean what they meant: over the same images their means in {runs[0]} "
            f"and {runs[-1]} correlate by only {number(median)} in the median layer. Then drift "
            "is that of other features as well; of networks trained apart it says nothing."
        )
    rule = (
        "image correlation, weighted mean over channels, median over layers; they mean the same "
        f"from {_SAME_MEANING} on"
    )
    yield Finding("meaning of channels", text, median, np.nan, np.nan, rule, 5)


def _gain(shift: pd.DataFrame, studies: Mapping[str, Study]) -> Iterator[Finding]:
    """From which batch re-estimating on the new images is better."""
    first = next(iter(studies))
    for run, rows in shift.groupby("run", sort=False):
        off = MedianLayer.of(settled(rows, "error", "error_debiased"), "value")
        meets = MedianLayer.of(rows.rename(columns=AS_VALUE), "value")
        errors = studies[str(run)].errors()
        sizes = [size for size in batch_norm_sizes(errors) if size > 1]
        if off is None or not sizes:
            continue
        middle = min(sizes, key=lambda size: abs(size - _MIDDLE_BATCH))
        own = MedianLayer.of(errors[errors["method"] == f"bn@{middle}"], "error")
        told = "" if own is None else f"; those of {middle} of its own images are off by {own}"
        better = (
            ""
            if meets is None
            else f" Re-estimating them is better {from_which_batch(meets, max(sizes))}."
        )
        text = (
            f"On {run} the statistics of {first} are off by {off} in the median layer (mean "
            f"squared error in units of a channel's own variance){told}.{better}"
        )
        rule = (
            "error of the reference's population statistics as constants, which at prediction time "
            f"no learned scale and shift absorbs; crossover with bn@B: {off.rule}"
        )
        yield Finding(f"domain shift, {run}", text, off.value, off.low, off.high, rule, 9)


def _overtaking(studies: Mapping[str, Study]) -> Iterator[Finding]:
    """The batch size at which BatchNorm has less residual, run by run."""
    method = _common(studies)
    if method is None:
        return
    told = []
    for run, study in studies.items():
        table = study.crossovers()
        table = table[(table["quantity"] == "residual") & (table["method"] == method)]
        median = MedianLayer.of(table.rename(columns=AS_VALUE), "value")
        if median is None:
            return
        largest = max(batch_norm_sizes(study.errors()))
        told.append(f"{from_which_batch(median, largest)} in {run}")
    text = (
        "Counting only what a learned scale and shift cannot undo, BatchNorm beats "
        f"{_NAMES.get(method, f'GroupNorm ({method})')} {', '.join(told)}."
    )
    rule = "crossover of the residual; each run's own median layer, with its 95 % interval"
    yield Finding("overtaking", text, np.nan, np.nan, np.nan, rule, 3)


def _noise(studies: Mapping[str, Study]) -> Iterator[Finding]:
    """The error of a small batch, run by run."""
    sizes = [set(batch_norm_sizes(study.errors())) for study in studies.values()]
    common = sorted(size for size in set.intersection(*sizes) if size > 1)
    if not common:
        return
    method = f"bn@{common[0]}"
    medians = [
        MedianLayer.of(errors[errors["method"] == method], "error")
        for errors in (study.errors() for study in studies.values())
    ]
    if any(median is None for median in medians):
        return
    told = ", ".join(f"{median} in {run}" for median, run in zip(medians, studies, strict=True))
    text = f"With batches of {common[0]} images BatchNorm's statistics are off by {told}."
    rule = f"error of {method}; each run's own median layer, with its 95 % interval"
    yield Finding("batch noise", text, np.nan, np.nan, np.nan, rule, 2)


_NAMES = {"ln": "LayerNorm"}


def _common(studies: Mapping[str, Study]) -> str | None:
    """A pooling method that every run has compared with BatchNorm."""
    compared = [set(study.crossovers()["method"]) for study in studies.values()]
    first = next(iter(studies.values()))
    wanted = ["ln", group_norm(first.errors())]
    return next((m for m in wanted if m and all(m in methods for methods in compared)), None)


def _of(row: pd.Series[float]) -> str:
    return with_interval(float(row["value"]), float(row["value_low"]), float(row["value_high"]))


def _times(log_ratio: float) -> str:
    """``1.4 times as large``."""
    return f"{number(float(np.exp(log_ratio)), 3)} times as large"
