"""A comparison: what several runs say side by side, in tables and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from normstats.comparison.drift import DRIFT_COLUMNS, channel_table, drift_table
from normstats.comparison.findings import comparison_findings
from normstats.comparison.kinds import KINDS, Kind, Relation
from normstats.comparison.runs import named, opened
from normstats.comparison.shift import SHIFT_COLUMNS, shift_rows
from normstats.comparison.sides import Side, deal
from normstats.errors import RunFolderError, SettingError
from normstats.findings import Finding, MedianLayer
from normstats.layer_values import HEADLINES
from normstats.layerwise import Progress
from normstats.moments import Moments
from normstats.moments_folder import SummedLayers
from normstats.notebook import details, frame, items, title
from normstats.printable import first_few, printable
from normstats.study import Study


@dataclass(frozen=True)
class Comparison:
    """Several runs side by side; the first is the reference.

    Attributes:
        studies: the runs, by name.
        relation: what they are to each other, and what told so.
        tables: behind ``drift()``, ``channels()`` and ``shift()``.
        notes: what could not be had.
    """

    studies: Mapping[str, Study]
    relation: Relation
    tables: Mapping[str, pd.DataFrame]
    notes: tuple[str, ...]

    @property
    def kind(self) -> Kind:
        """``"checkpoints"``, ``"models"``, ``"image sets"`` or ``"repeats"``."""
        return self.relation.kind

    @property
    def names(self) -> tuple[str, ...]:
        """Of the runs; the reference first."""
        return tuple(self.studies)

    def drift(self) -> pd.DataFrame:
        """A row per run, the run it is held ``against``, and layer: how far the population moved.

        Against the first run, and checkpoints also against the one before. ``drift`` is the layer's
        average of ((μ' − μ)² + (σ' − σ)²)/σ², ``of_mean`` and ``of_std`` its two parts;
        ``noise`` is what sampling adds to it, ``drift_debiased`` the rest, with its 95 %
        confidence interval over images ``drift_low`` to ``drift_high`` (NaN without moments).
        ``log_std_ratio`` is the average of log(σ'/σ); ``image_correlation`` that of each channel's
        spatial means over the same images in both runs: whether it still means the same.
        Empty where the layers do not correspond.
        """
        return self.tables["drift"].copy()

    def channels(self) -> pd.DataFrame:
        """The same by channel: ``mean_shift`` (μ' − μ)/σ and ``log_std_ratio`` log(σ'/σ)."""
        return self.tables["channels"].copy()

    def shift(self) -> pd.DataFrame:
        """A row per run after the first, and layer: the first run's statistics on its images.

        ``error`` is that of the first run's population statistics used as constants, with its
        95 % confidence interval over images around ``error_debiased``; ``batch`` the batch size
        from which BatchNorm's own statistics are better, as in ``Study.crossovers``;
        ``stored_error`` the error of the statistics stored in the checkpoint. Empty unless the
        runs are image sets of one model.
        """
        return self.tables["shift"].copy()

    def errors(self) -> pd.DataFrame:
        """``Study.errors()`` of every run, with ``run`` and relative ``depth`` from 0 to 1."""
        return self._together("errors")

    def layers(self) -> pd.DataFrame:
        """``Study.layers()`` of every run, with ``run`` and relative ``depth``."""
        return self._together("layers")

    def crossovers(self) -> pd.DataFrame:
        """``Study.crossovers()`` of every run, with ``run`` and relative ``depth``."""
        return self._together("crossovers")

    def sides(self) -> pd.DataFrame:
        """A row per run and method: error and residual of its median layer, with intervals."""
        rows = []
        for run, study in self.studies.items():
            for method, errors in study.errors().groupby("method", sort=False):
                row: dict[str, Any] = {"run": run, "method": method, "layers": len(errors)}
                for quantity in HEADLINES:
                    median = MedianLayer.of(errors, quantity)
                    values = (median.value, median.low, median.high) if median else [np.nan] * 3
                    names = (quantity, f"{quantity}_low", f"{quantity}_high")
                    row |= dict(zip(names, values, strict=True))
                rows.append(row)
        return pd.DataFrame(rows)

    def _together(self, table: str) -> pd.DataFrame:
        frames = []
        for run, study in self.studies.items():
            frame: pd.DataFrame = getattr(study, table)()
            layers = list(study.layers()["layer"])
            depth = {layer: (place + 0.5) / len(layers) for place, layer in enumerate(layers)}
            frame.insert(0, "run", run)
            frame.insert(2, "depth", frame["layer"].map(depth).astype(float))
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What it means, in a few sentences, the weightiest first."""
        return comparison_findings(self.studies, self.relation, self.tables)

    def frames(self) -> dict[str, pd.DataFrame]:
        """Every table, by its name."""
        together = {name: self._together(name) for name in ("errors", "layers", "crossovers")}
        return {**self.tables, "sides": self.sides(), **together}

    def to_dict(self) -> dict[str, Any]:
        """What the runs are, the findings and notes, as JSON has it; without the tables."""
        return {
            "kind": self.kind,
            "reason": self.relation.reason,
            "runs": {name: dict(study.provenance) for name, study in self.studies.items()},
            "findings": [asdict(finding) for finding in self.findings],
            "notes": list(self.notes),
        }

    def to_html(self, file: str | Path) -> Path:
        """Write the page: one file with everything in it.

        Args:
            file: to write; only an earlier page is replaced.

        Raises:
            RunFolderError: something else is there, or the disk refuses.
        """
        from normstats_reports.comparison_page import write_comparison

        return write_comparison(self, file)

    def __repr__(self) -> str:
        return f"Comparison({self.kind}: {', '.join(map(printable, self.names))})"

    def _repr_html_(self) -> str:
        sides = self.sides().pivot_table("error", "method", "run", sort=False)
        return (
            title(self)
            + items(finding.text for finding in self.findings)
            + details("Error of the median layer", frame(sides[list(self.names)].reset_index()))
            + details(f"To be kept in mind ({len(self.notes)})", items(self.notes))
            + "<p>Tables: <code>.drift()</code> <code>.channels()</code> <code>.shift()</code> "
            "<code>.sides()</code> <code>.errors()</code>; the page: "
            "<code>.to_html(file)</code></p>"
        )


def compare(
    runs: Mapping[str, Study | str | Path] | Sequence[Study | str | Path],
    *,
    kind: Kind | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Set runs side by side: what moved between them, or what other images would gain.

    What they are to each other is told from where they come from: the checkpoint's SHA-256, the
    images' fingerprint, the layers' names and channels.

    Args:
        runs: by name, or in a sequence, named by their folders; studies, run folders, or pages of
            runs (which have no moments, and so no intervals). The first is the reference.
        kind: what they are, where it cannot be told; one of ``KINDS``.
        progress: told the number of runs done.

    Raises:
        RunFolderError: one is not a run.
        SettingError: fewer than two runs, one given twice, or a kind that is none.
    """
    if kind is not None and kind not in KINDS:
        raise SettingError(
            f"A comparison of {kind!r} is not known.", f"Choose one of {', '.join(KINDS)}."
        )
    studies = {name: opened(run) for name, run in named(runs).items()}
    if len(studies) < 2:
        raise SettingError("One run cannot be compared.", "Give two runs or more.")
    relation = Relation.of(studies, kind)
    counts = [int(study.provenance["images"]) for study in studies.values()]
    sides: dict[str, Side] = {}
    bare: dict[str, str] = {}
    shifts = [pd.DataFrame(columns=list(SHIFT_COLUMNS))]
    for place, ((name, study), blocks) in enumerate(
        zip(studies.items(), deal(counts, relation.image_sets), strict=True)
    ):
        moments, why = _moments_of(study)
        if moments is None:
            bare[name] = why
        sides[name] = Side.of(study, relation.image_sets[place], blocks, moments)
        if place and relation.kind == "image sets" and moments is not None:
            reference = next(iter(sides))
            shifts.append(
                shift_rows(name, sides[name], reference, sides[reference], moments, relation.layers)
            )
        if progress is not None:
            progress(place + 1)
    tables = {
        "drift": pd.DataFrame(columns=list(DRIFT_COLUMNS)),
        "channels": pd.DataFrame(),
        "shift": pd.concat([table for table in shifts if len(table)] or shifts, ignore_index=True),
    }
    if relation.layers:
        tables["drift"] = drift_table(sides, relation.layers, relation.kind)
        tables["channels"] = channel_table(sides, relation.layers, relation.kind)
    return Comparison(studies, relation, tables, tuple(_notes(sides, relation, bare)))


def _moments_of(study: Study) -> tuple[Moments | None, str]:
    """The run's moments, not kept with the study; or why there are none."""
    try:
        moments = replace(study).moments
        if isinstance(moments.layers, SummedLayers):
            raise moments.layers.not_kept()
        return moments, ""
    except RunFolderError as error:
        return None, error.message


def _notes(sides: Mapping[str, Side], relation: Relation, bare: Mapping[str, str]) -> list[str]:
    """What could not be had, and what stands in the way of comparing."""
    notes = []
    unmatched = [f"{printable(name)} ({why})" for name, why in relation.unmatched.items()]
    if relation.kind == "models":
        notes.append(
            "No drift: channels of different models do not correspond, so that no population of "
            "the one is that of the other. Errors and crossovers are set side by side by depth."
        )
    if unmatched:
        notes.append(f"Layers that are not alike in every run: {first_few(unmatched)}.")
    for name, why in bare.items():
        notes.append(
            f"No moments of {printable(name)}, so that its drift has no confidence intervals and "
            f"sampling noise is still in it. A page has none; give run folders. ({printable(why)})"
        )
    if bare and relation.kind == "image sets":
        notes.append(
            "Without moments of a run the error of the reference's statistics on it is not "
            "computed; without those of the reference they count as exact."
        )
    if relation.kind == "checkpoints" and len(set(relation.image_sets)) > 1:
        notes.append(
            "The runs are not known to have the same images: drift is that of weights and images "
            "together, and its intervals count the image sets as independent samples."
        )
    if relation.kind == "image sets":
        notes.append(
            "The image sets count as independent samples. Where they are versions of the same "
            "images, the intervals are somewhat too wide."
        )
    weights = {str(side.study.settings["weights"]) for side in sides.values()}
    if len(weights) > 1:
        notes.append(
            "The runs weigh channels differently (--weights): their errors are not averages of "
            "one kind. Drift is weighted as the earlier run weighs."
        )
    notes += [
        f"{printable(name)}: {note}" for name, side in sides.items() for note in side.study.notes
    ]
    return notes
