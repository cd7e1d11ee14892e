"""A study: what an analysis found, in tables and in words; saved to a folder and opened again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from normstats import run_folder
from normstats.errors import SettingError
from normstats.findings import findings, method_averages
from normstats.methods import DEFAULT_METHODS, Method, parse_methods
from normstats.moments import Moments
from normstats.population import WEIGHTINGS, Weighting
from normstats.resampling import DRAWS, Resamples
from normstats.tables import Tables, compute_tables


@dataclass(frozen=True)
class Study:
    """How far each method's statistics are from the ideal ones, layer by layer.

    Attributes:
        tables: behind ``errors()``, ``channels()`` and ``crossovers()``.
        settings: methods, weights, seed and number of draws.
        provenance: where the moments come from.
        left_out: layers that could not be captured, with the reason.
        findings: the result in a few sentences.
    """

    tables: Tables
    settings: Mapping[str, Any]
    provenance: Mapping[str, Any]
    left_out: Mapping[str, str]
    findings: tuple[str, ...]
    _moments: Moments | Path

    def errors(self) -> pd.DataFrame:
        """A row per layer and method: bias², variance, error and residual.

        Means over the layer's live channels, weighted as ``settings["weights"]`` says, in units
        of σ² (``var_*`` of σ⁴); then their Monte-Carlo standard errors, and the median and 90 %
        quantile over channels, unweighted. ``_low`` and ``_high`` are the 95 % confidence interval
        over images, around ``_debiased`` (bias² from few images is inflated by chance).
        """
        return self.tables.errors.copy()

    def layers(self) -> pd.DataFrame:
        """A row per layer: what an image is worth, and the batch that a small error needs.

        ``effective_samples_*``: independent values an image is worth to the mean and to the
        variance; ``design_effect_*``: its positions over these. ``batch_for_10_percent``: the
        batch size at which BatchNorm's error is 10 % of σ². Each with its 95 % confidence
        interval, ``_low`` and ``_high``.
        """
        return self.tables.layers.copy()

    def channels(self) -> pd.DataFrame:
        """A row per layer and channel: μ, σ², τ², γ, whether σ² > ε, effective samples."""
        return self.tables.channels.copy()

    def crossovers(self) -> pd.DataFrame:
        """A row per layer, method and quantity: the batch size B* at which BatchNorm meets it.

        ``batch`` is text (``<1`` where BatchNorm is better at every size computed, ``>64``
        where at none); ``batch_number`` is the same as a number, 0 and infinity there, and
        ``batch_low`` and ``batch_high`` are its 95 % confidence interval.
        """
        return self.tables.crossovers.copy()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was asked for and could not be had."""
        left_out = (f"{name} is left out: {why}" for name, why in self.left_out.items())
        return (*left_out, *self.tables.notes)

    @property
    def moments(self) -> Moments:
        """The captured moments, read from the run folder when they are asked for."""
        return self._moments if isinstance(self._moments, Moments) else Moments.open(self._moments)

    def save(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write the tables, the moments and ``study.json`` into a run folder.

        Args:
            folder: must not exist, or be empty, unless ``force`` is given.
            force: replace an earlier run. A folder that is not a run is never touched, nor are
                files in it that are not of the run.

        Raises:
            RunFolderError: the folder exists and may not be replaced.
        """
        return run_folder.write(
            Path(folder),
            tables=self.tables,
            moments=self.moments,
            about={
                "settings": dict(self.settings),
                "provenance": dict(self.provenance),
                "left_out": dict(self.left_out),
                "findings": list(self.findings),
                "notes": list(self.tables.notes),
            },
            force=force,
        )

    def __repr__(self) -> str:
        errors = self.tables.errors
        return (
            f"Study({errors['layer'].nunique()} layers, {errors['method'].nunique()} methods, "
            f"{len(self.tables.channels):,} channels, {self.provenance['images']:,} images)"
        )

    def _repr_html_(self) -> str:
        sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in self.findings)
        averages = method_averages(self.tables.errors)
        return (
            f"<p><strong>{escape(repr(self))}</strong></p><ul>{sentences}</ul>"
            f"<details><summary>Averages over layers</summary>"
            f"{averages.to_html(float_format='{:.3g}'.format)}</details>"
        )


def analyze(
    moments: Moments,
    methods: str | Iterable[str | Method] = DEFAULT_METHODS,
    *,
    weights: Weighting = "gamma",
    seed: int = 0,
    draws: int = DRAWS,
    progress: Callable[[int], None] | None = None,
) -> Study:
    """Split the error of each method's statistics in each layer into bias² and variance.

    Args:
        moments: from ``normstats.capture`` or ``Moments.open``.
        methods: e.g. ``["bn@2", "bn@8", "gn:8", "ln"]`` or ``"bn@2,bn@8,gn:8,ln"``.
        weights: ``"gamma"`` weighs a channel by γ² in its layer's average; ``"uniform"`` does not.
        seed: of the resampling.
        draws: batches of each size drawn for what has no closed form.
        progress: told the number of layers done.

    Raises:
        MethodError: a method is not one, or none is possible in any layer.
        SettingError: a setting makes no sense.
    """
    if weights not in WEIGHTINGS:
        raise SettingError(
            f"Weights {weights!r} are not known.", f"Choose one of {', '.join(WEIGHTINGS)}."
        )
    chosen = parse_methods(methods)
    resamples = Resamples(moments.images, draws=draws, seed=seed)
    tables = compute_tables(moments, chosen, weights, resamples, progress)
    return Study(
        tables=tables,
        settings={
            "methods": [str(method) for method in chosen],
            "weights": weights,
            "seed": seed,
            "draws": draws,
        },
        provenance={"images": moments.images, **moments.provenance},
        left_out=dict(moments.left_out),
        findings=findings(tables),
        _moments=moments,
    )


def open_study(folder: str | Path) -> Study:
    """Open a run folder that ``Study.save`` or ``normstats analyze`` wrote.

    Raises:
        RunFolderError: it is not a run folder, or is damaged.
    """
    folder = Path(folder)
    tables, about = run_folder.read(folder)
    return Study(
        tables=tables,
        settings=about["settings"],
        provenance=about["provenance"],
        left_out=about["left_out"],
        findings=tuple(about["findings"]),
        _moments=folder / run_folder.MOMENTS,
    )
