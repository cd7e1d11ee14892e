"""The page's sections about further questions: what was asked of the run, and how the rest is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from normstats.findings import number
from normstats.plane import best_at
from normstats.printable import printable
from normstats.study import Study
from normstats_reports.figures.arranged import over_index
from normstats_reports.figures.groups import audited
from normstats_reports.figures.mixtures import usual_batch
from normstats_reports.page_figures import Plan, Shown, drawn
from normstats_reports.page_figures_layers import chosen_layers, planes
from normstats_reports.page_part_tables import (
    PartTable,
    composition_tables,
    grouping_tables,
    mixing_tables,
    plane_tables,
    validation_tables,
)
from normstats_reports.validation import LIMITS


@dataclass(frozen=True)
class Section:
    """What the page says about one further question.

    Attributes:
        key: of the section and of its help.
        title: of the section.
        sentence: the answer; empty where the figures tell it.
        figures: of all layers, or of some.
        tables: after them.
    """

    key: str
    title: str
    sentence: str
    figures: tuple[Shown, ...]
    tables: tuple[PartTable, ...]


_TITLES = {
    "grouping": "Which channels share a group",
    "plane": "How many images and channels to pool",
    "composition": "Batches put together by class",
    "mixing": "BatchNorm mixed with another method",
    "validation": "What the network's output does",
}
_COMMANDS = {
    "grouping": "normstats grouping RUN",
    "plane": "normstats plane RUN",
    "composition": "normstats composition RUN",
    "mixing": "normstats mixing RUN",
    "validation": "normstats validate RUN",
}


def sections(study: Study) -> Iterator[Section]:
    """Those that the study has answers for."""
    for key, section in _SECTIONS.items():
        if key in study.parts:
            sentence, figures, tables = section(study)
            yield Section(key, _TITLES[key], sentence, tuple(figures), tuple(tables))


def unasked(study: Study) -> list[tuple[str, str]]:
    """The titles of the others, and the commands that ask for them."""
    return [(title, _COMMANDS[key]) for key, title in _TITLES.items() if key not in study.parts]


_Found = tuple[str, Iterator[Shown], Iterator[PartTable]]


def _grouping(study: Study) -> _Found:
    said = {finding.claim: finding.text for finding in study.findings}
    tests, others = study.grouping(), study.arrangements()
    groups = int(audited(study)["groups"].iloc[0])
    ratios = over_index(others, groups)
    title = "Are index groups better than random ones?"
    plans = [
        Plan(
            "grouping", "grouping", title, ("grouping", ()), said.get("index groups", title), tests
        ),
        Plan(
            "arrangements",
            "arrangements",
            "What other groups would save",
            ("arrangements", ()),
            _arrangements_finding(ratios, groups),
            _across(ratios, "arrangement", ["bias_sq", "error", "residual"]),
        ),
    ]
    return "", drawn(study, plans), grouping_tables(tests, others)


def _arrangements_finding(ratios: pd.DataFrame, groups: int) -> str:
    medians = ratios.groupby("arrangement").median(numeric_only=True)

    def of(arrangement: str) -> str:
        bias, error, residual = medians.loc[arrangement, ["bias_sq", "error", "residual"]]
        return f"{bias:.0%} of the bias², {error:.0%} of the error, {residual:.0%} of the residual"

    return (
        f"Of what {groups} groups by index have, the best groups found have {of('best')} (median "
        f"layer); groups of similar channels, which take no search, {of('similar')}."
    )


def _across(rows: pd.DataFrame, across: str, columns: list[str]) -> pd.DataFrame:
    """A row a layer; what ``across`` names, side by side."""
    wide = rows.pivot_table(columns, "layer", across, aggfunc="first", sort=False)
    wide.columns = [" ".join(reversed(names)) for names in wide.columns.to_flat_index()]
    return wide.reset_index()


def _plane(study: Study) -> _Found:
    plane = study.plane()
    batches = sorted(int(size) for size in plane["batch"].unique())
    batch = min(batches, key=lambda size: abs(size - 8))
    best = best_at(plane, batch)
    told = []
    for quantity, rows in best.groupby("quantity", sort=False):
        alone = int((rows["group_channels"] == 1).sum())
        told.append(f"{quantity} is least for single channels in {alone} of {len(rows)} layers")
    figures = planes(study, chosen_layers(study)[0])
    return f"With a batch of {batch} or less, {'; '.join(told)}.", figures, plane_tables(plane)


def _composition(study: Study) -> _Found:
    table, classes = study.composition(), study.classes()
    largest = table[table["batch"] == table["batch"].max()]
    ratio = largest.groupby("composition")["error_relative_to_iid"].median()
    share = float(classes["corrected_share"].median())
    finding = (
        f"In batches of {largest['batch'].iloc[0]} images of one class BatchNorm's error is "
        f"{number(float(ratio['single-class']))} times that of batches drawn from all, in "
        f"class-balanced ones {number(float(ratio['class-balanced']))} times (median layer). "
        f"{_percent(share)} of the variance between images lies between classes."
    )
    floors = classes[["layer", "floor", "floor_by_chance"]]
    plan = Plan(
        "composition",
        "composition",
        "BatchNorm's error by what its batch is made of",
        ("composition", ()),
        finding,
        _across(largest, "composition", ["error"]).merge(floors, on="layer"),
    )
    return "", drawn(study, [plan]), composition_tables(table, classes)


def _mixing(study: Study) -> _Found:
    table = study.mixing()
    batch = usual_batch(table)
    usual = table[table["batch"] == batch]
    told = []
    for other, rows in usual.groupby("other", sort=False):
        known = rows[rows["error"].notna()]
        if len(known):
            told.append(
                f"with {printable(other)} it takes {_percent(float(known['saving'].median()))} off "
                f"the better of the two, at {_percent(float(known['share_of_other'].median()))} of "
                f"{printable(other)}"
            )
    finding = (
        f"The best mix of BatchNorm with a batch of {batch}, median layer: {'; '.join(told)}."
        if told
        else "No layer has a value."
    )
    plan = Plan(
        "mixing",
        "mixing",
        "The error alone and in the best mix",
        ("mixing", ()),
        finding,
        _across(usual, "other", ["error_of_batch_norm", "error_of_other", "error"]),
    )
    return "", drawn(study, [plan]), mixing_tables(table, batch)


def _validation(study: Study) -> _Found:
    part = study.parts["validation"]
    table = study.validation()
    plans = [
        Plan(
            "validation",
            f"damage-{quantity}",
            f"What the network's output does, against the {quantity}",
            ("damage", (quantity,)),
            _damage_finding(part.about["correlations"], quantity),
            table[["layer", "method", quantity, measured]],
        )
        for quantity, measured in (("error", "kl"), ("residual", "kl_refit"))
    ]
    accuracy = part.about.get("accuracy")
    known = accuracy is not None and np.isfinite(accuracy)
    sentence = f"Accuracy with ideal statistics is {accuracy:.1%}. {LIMITS}" if known else LIMITS
    return sentence, drawn(study, plans), validation_tables(table)


def _damage_finding(correlations: dict[str, float | None], quantity: str) -> str:
    within, over_all = (
        correlations.get(f"{quantity}_{what}") for what in ("within_layers", "overall")
    )
    if within is None or not np.isfinite(within):
        return (
            f"Whether the {quantity} ranks the methods as the output does cannot be told: that "
            "takes three methods or more in a layer, and differences between them."
        )
    said = (
        f"Within a layer the {quantity} and the divergence of the output rank the methods with a "
        f"correlation of {within:.2f} (Spearman's, mean over layers; 1: the same order)"
    )
    if over_all is None or not np.isfinite(over_all):
        return f"{said}."
    return (
        f"{said}; over all layers and methods at once {over_all:.2f}, as layers differ in how "
        "much the output depends on them."
    )


def _percent(share: float) -> str:
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"


_SECTIONS: dict[str, Callable[[Study], _Found]] = {
    "grouping": _grouping,
    "plane": _plane,
    "composition": _composition,
    "mixing": _mixing,
    "validation": _validation,
}
