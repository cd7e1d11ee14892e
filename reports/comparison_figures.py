"""The figures of a comparison's page, each with its finding, its data and the code for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pandas as pd

from normstats.comparison import Comparison
from normstats.comparison.findings import drift_of, settled
from normstats.findings import batch_norm_sizes, group_norm, number
from normstats.printable import printable
from normstats_reports.figures import figure_svg, off_screen
from normstats_reports.figures import moved as of_moved
from normstats_reports.figures import sides as of_sides
from normstats_reports.page_figures import Shown, inline
from normstats_reports.page_frame import data_link

_MOST_SHIFTS = 6  # image sets that have a figure


@dataclass(frozen=True)
class _Plan:
    """A figure to be drawn: everything but the drawing.

    Attributes:
        module: of ``figures``, with the function.
        function: that draws it.
        arguments: after the comparison.
    """

    key: str
    name: str
    title: str
    module: ModuleType
    function: str
    arguments: tuple[str, ...]
    finding: str
    table: pd.DataFrame

    def shown(self, comparison: Comparison) -> Shown:
        """Drawn."""
        with off_screen():
            drawn = getattr(self.module, self.function)(comparison, *self.arguments)
            svg = figure_svg(drawn.get_figure(root=True), self.name)
        return Shown(
            key=self.key,
            name=self.name,
            title=self.title,
            finding=self.finding,
            svg=inline(svg),
            data=data_link(self.table),
            code=self._code(comparison),
        )

    def _code(self, comparison: Comparison) -> str:
        module = self.module.__name__.rpartition(".")[2]
        given = ", ".join(["comparison", *map(repr, self.arguments)])
        return (
            f"from normstats_reports.figures import {module}\n"
            f"{opening(comparison)}"
            f"drawn = {module}.{self.function}({given})\n"
            f'drawn.figure.savefig("{self.name}.svg")\n'
        )


def opening(comparison: Comparison) -> str:
    """Lines of Python that compare the runs again."""
    folders = (f'    {name!r}: "RUN{n}",\n' for n, name in enumerate(comparison.names, start=1))
    return (
        "import normstats as ns\n\n"
        "comparison = ns.compare({  # the run folders, by name\n"
        f"{''.join(folders)}}})\n"
    )


def moved(comparison: Comparison) -> Iterator[Shown]:
    """What moved, over the layers: from the first run, and from run to run."""
    drift, names = comparison.drift(), comparison.names
    plans = [("drift", "first", [(run, names[0]) for run in names[1:]])]
    if len(names) > 2 and comparison.kind == "checkpoints":
        plans.append(("drift-steps", "before", list(zip(names[1:], names, strict=False))))
    for name, against, runs in plans:
        rows = pd.concat([drift_of(drift, run, before) for run, before in runs])
        of_first = f"from {printable(names[0])}" if against == "first" else "from run to run"
        plan = _Plan(
            key="drift",
            name=name,
            title=f"How far populations moved {of_first}",
            module=of_moved,
            function="drift",
            arguments=(against,),
            finding=_drift_finding(rows),
            table=rows.drop(columns=["value", "value_low", "value_high"]),
        )
        yield plan.shown(comparison)


def shift(comparison: Comparison) -> Iterator[Shown]:
    """The first run's statistics on each other image set, over the layers."""
    table = comparison.shift()
    for place, (name, rows) in enumerate(table.groupby("run", sort=False)):
        if place == _MOST_SHIFTS:
            return
        run, first = printable(name), printable(comparison.names[0])
        plan = _Plan(
            key="shift",
            name=f"shift-{place + 1}",
            title=f"On {run}: statistics of {first}, or its own",
            module=of_moved,
            function="shift",
            arguments=(str(name),),
            finding=_shift_finding(rows, first),
            table=rows,
        )
        yield plan.shown(comparison)


def sides(comparison: Comparison) -> Iterator[Shown]:
    """Noise, bias and crossovers of every run, by relative depth."""
    errors, crossovers = comparison.errors(), comparison.crossovers()
    sizes = [size for size in batch_norm_sizes(errors) if size > 1]
    pooling = "ln" if (errors["method"] == "ln").any() else group_norm(errors)
    drawn = [(f"bn@{sizes[0]}", "error")] if sizes else []
    drawn += [(pooling, quantity) for quantity in ("error", "residual")] if pooling else []
    for place, (method, quantity) in enumerate(drawn, start=1):
        rows = errors[errors["method"] == method]
        plan = _Plan(
            key="sides",
            name=f"side-{place}",
            title=f"{quantity.capitalize()} of {printable(method)} by relative depth",
            module=of_sides,
            function="errors_by_depth",
            arguments=(method, quantity),
            finding=_side_finding(rows, quantity),
            table=rows[["run", "layer", "depth", *(f"{quantity}{e}" for e in _ENDS)]],
        )
        yield plan.shown(comparison)
    rows = crossovers[(crossovers["method"] == pooling) & (crossovers["quantity"] == "residual")]
    if pooling and len(rows):
        plan = _Plan(
            key="sides",
            name="side-crossovers",
            title=f"From which batch BatchNorm has less residual than {printable(pooling)}",
            module=of_sides,
            function="crossovers_by_depth",
            arguments=(pooling,),
            finding=_side_finding(rows, "batch_number"),
            table=rows,
        )
        yield plan.shown(comparison)


_ENDS = ("", "_low", "_high")


def _drift_finding(rows: pd.DataFrame) -> str:
    told = []
    for (run, against), of_pair in rows.groupby(["run", "against"], sort=False):
        known = of_pair[of_pair["value"].notna()]
        if known.empty:
            continue
        most = known.iloc[int(np.argmax(known["value"]))]
        told.append(
            f"{printable(against)} to {printable(run)}: {number(float(known['value'].median()))} "
            f"(most {number(float(most['value']))}, {printable(most['layer'])})"
        )
    return f"Median over layers, in units of σ²: {'; '.join(told)}." if told else "No value."


def _shift_finding(rows: pd.DataFrame, first: str) -> str:
    off = settled(rows, "error", "error_debiased")["value"].median()
    meets = rows["batch_number"].astype(float)
    always, never = int((meets == 0).sum()), int(np.isposinf(meets).sum())
    return (
        f"Statistics of {first} are off by {number(float(off))} of σ² (median over layers). A "
        f"batch's own are better at every size in {always} of {len(rows)} layers, at none in "
        f"{never}."
    )


def _side_finding(rows: pd.DataFrame, column: str) -> str:
    medians = rows.groupby("run", sort=False)[column].median()
    told = ", ".join(
        f"{printable(run)} {number(float(value)) if np.isfinite(value) else 'beyond all sizes'}"
        for run, value in medians.items()
    )
    return f"Median over layers: {told}."
