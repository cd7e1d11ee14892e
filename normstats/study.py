"""A study: what an analysis found, in tables and in words; saved to a folder and opened again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from normstats import run_folder
from normstats.errors import RunFolderError, SettingError
from normstats.findings import Finding, findings
from normstats.grouping import orders_by_layer
from normstats.grouping.audit import Order
from normstats.layerwise import Progress
from normstats.methods import DEFAULT_METHODS, Method, parse_methods
from normstats.moments import Moments
from normstats.moments_folder import SummedLayers
from normstats.notebook import study_html
from normstats.parts import Part, Source
from normstats.population import WEIGHTINGS, Weighting
from normstats.resampling import Resamples, draws_for
from normstats.tables import CROSSOVER_COLUMNS, ERROR_COLUMNS, Tables, compute_tables

if TYPE_CHECKING:
    from normstats_reports.plots import Plots

_TABLES = {  # and columns that they must have
    "errors": ERROR_COLUMNS,
    "layers": ("layer", "positions", "effective_samples_mean"),
    "channels": ("layer", "channel", "mean", "variance", "alive"),
    "crossovers": CROSSOVER_COLUMNS,
}
_LONG = ("channels", "orders")  # a row a channel: not in study.json


@dataclass(frozen=True)
class Study:
    """How far each method's statistics are from the ideal ones, layer by layer.

    What is not in ``errors``, ``layers``, ``channels`` and ``crossovers`` is computed from the
    moments when it is first asked for, and kept.

    Attributes:
        tables: behind ``errors()``, ``layers()``, ``channels()`` and ``crossovers()``.
        settings: methods, weights, seed and number of draws.
        provenance: where the moments come from.
        left_out: layers that could not be captured, with the reason.
        parts: the answers to further questions so far, by name.
    """

    tables: Tables
    settings: Mapping[str, Any]
    provenance: Mapping[str, Any]
    left_out: Mapping[str, str]
    _moments: Moments | Path
    parts: dict[str, Part] = field(default_factory=dict)

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

    def grouping(
        self, groups: Sequence[int] | None = None, *, progress: Progress | None = None
    ) -> pd.DataFrame:
        """A row per layer and G: index groups against random ones, and what others would save.

        Args:
            groups: numbers of groups G; that of the study's GroupNorm by default, or 32.
            progress: told the number of layers done.

        Raises:
            MethodError: no layer can be split so.
        """
        return self.ask("grouping", groups=groups, progress=progress).tables["grouping"].copy()

    def arrangements(self) -> pd.DataFrame:
        """A row per layer, G and arrangement (index, random, similar, correlated, best)."""
        return self.ask("grouping").tables["arrangements"].copy()

    def orders(self) -> dict[tuple[str, int], Order]:
        """The best order of channels found, by layer and G: ``(C,)``, groups one after another."""
        return orders_by_layer(self.ask("grouping").tables["orders"])

    def plane(
        self, batches: Sequence[int] | None = None, *, progress: Progress | None = None
    ) -> pd.DataFrame:
        """A row per layer, batch size and group size: error and residual of every cell.

        Args:
            batches: batch sizes; powers of two up to 64 by default.
            progress: told the number of layers done.
        """
        return self.ask("plane", batches=batches, progress=progress).tables["plane"].copy()

    def composition(
        self, batches: Sequence[int] | None = None, *, progress: Progress | None = None
    ) -> pd.DataFrame:
        """A row per layer, batch size and composition: iid, single-class, class-balanced batches.

        Args:
            batches: batch sizes; 2, 8 and 32 by default.
            progress: told the number of layers done.

        Raises:
            ImagesError: the moments have no labels.
        """
        part = self.ask("composition", batches=batches, progress=progress)
        return part.tables["composition"].copy()

    def classes(self) -> pd.DataFrame:
        """A row per layer: the share of between-image variance that lies between classes.

        Raises:
            ImagesError: the moments have no labels.
        """
        return self.ask("composition").tables["classes"].copy()

    def mixing(
        self,
        others: str | None = None,
        batches: Sequence[int] | None = None,
        *,
        progress: Progress | None = None,
    ) -> pd.DataFrame:
        """A row per layer, other method and batch size: the best mix of it with BatchNorm.

        Args:
            others: what BatchNorm is mixed with; by default ``running`` and the study's GroupNorm.
            batches: batch sizes; 2, 8 and 32 by default.
            progress: told the number of layers done.
        """
        part = self.ask("mixing", others=others, batches=batches, progress=progress)
        return part.tables["mixing"].copy()

    def validation(self) -> pd.DataFrame:
        """A row per layer and method: what the network's output does, as it was measured.

        Raises:
            RunFolderError: it was not measured yet; it needs the network.
        """
        if "validation" not in self.parts:
            raise RunFolderError(
                "This study was not validated.",
                "Run `normstats validate RUN`, or use normstats.validation.validate.",
            )
        return self.parts["validation"].tables["validation"].copy()

    def ask(self, name: str, *, progress: Progress | None = None, **settings: Any) -> Part:
        """A part as it is kept, or computed where it is not, or with other settings.

        Args:
            name: one of ``askable()``.
            progress: told the number of layers done.
            settings: as the method of that name takes them; None for what is kept, or else the
                default.
        """
        asked = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in settings.items()
            if value is not None
        }
        kept = self.parts.get(name)
        if kept is None:
            asked = self._defaults(name) | asked
        if kept is None or any(kept.settings.get(key) != value for key, value in asked.items()):
            weights, seed = self.settings["weights"], self.settings["seed"]
            if isinstance(self.moments.layers, SummedLayers):
                raise self.moments.layers.not_kept()
            source = Source(self.moments, weights, seed, progress)
            self.parts[name] = kept = getattr(source, name)(**asked)
        return kept

    def _defaults(self, name: str) -> dict[str, Any]:
        """Settings that fit the study: the number of groups that most of its layers can have."""
        errors = self.tables.errors
        can_choose = (errors["groups"] > 1) & (errors["groups"] < errors["channels"])
        counts = errors.loc[errors["method"].str.match(r"gn:\d+$") & can_choose, "groups"]
        if counts.empty:
            return {}
        groups = counts.mode().to_list()[-1]
        settings: dict[str, dict[str, Any]] = {
            "grouping": {"groups": [groups]},
            "mixing": {"others": f"running,gn:{groups}"},
        }
        return settings.get(name, {})

    def askable(self) -> tuple[str, ...]:
        """The parts that these moments can answer."""
        if isinstance(self.moments.layers, SummedLayers):
            return ()
        without_labels = ("grouping", "plane", "mixing")
        return without_labels if self.moments.labels is None else (*without_labels, "composition")

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What it all means, in at most eight sentences, the weightiest first."""
        return findings(self.tables, self.parts)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was asked for and could not be had."""
        left_out = (f"{name} is left out: {why}" for name, why in self.left_out.items())
        of_parts = (note for part in self.parts.values() for note in part.notes)
        return (*left_out, *self.tables.notes, *of_parts)

    @cached_property
    def moments(self) -> Moments:
        """The captured moments, read from the run folder when they are asked for."""
        return self._moments if isinstance(self._moments, Moments) else Moments.open(self._moments)

    def frames(self) -> dict[str, pd.DataFrame]:
        """Every table that there is so far, by the name of its CSV file."""
        tables = {name: getattr(self.tables, name) for name in _TABLES}
        for part in self.parts.values():
            tables |= part.tables
        return tables

    def to_dict(self) -> dict[str, Any]:
        """Everything but what has a row a channel: what ``study.json`` and ``--json`` hold."""
        return {
            "findings": [asdict(finding) for finding in self.findings],
            "notes": list(self.notes),
            "settings": dict(self.settings),
            "provenance": dict(self.provenance),
            "left_out": dict(self.left_out),
            "table_notes": list(self.tables.notes),
            "parts": {
                name: {
                    "settings": dict(part.settings),
                    "tables": list(part.tables),
                    "about": dict(part.about),
                    "notes": list(part.notes),
                }
                for name, part in self.parts.items()
            },
            **{name: table for name, table in self.frames().items() if name not in _LONG},
        }

    @property
    def plot(self) -> Plots:
        """The figures, each a method: ``study.plot.tradeoff("layer1.0.bn1")``."""
        from normstats_reports.plots import Plots  # what shows a study is built on it

        return Plots(self)

    def to_html(self, file: str | Path) -> Path:
        """Write the page: one file with everything in it but the moments.

        Args:
            file: to write; only an earlier page is replaced.

        Raises:
            RunFolderError: something else is there, or the disk refuses.
        """
        from normstats_reports.page import write_page

        return write_page(self, file)

    def save(
        self,
        folder: str | Path,
        *,
        force: bool = False,
        pages: Mapping[str, str] | None = None,
    ) -> Path:
        """Write the tables, the moments and ``study.json`` into a run folder.

        Args:
            folder: must not exist, or be empty, unless ``force`` is given.
            force: replace an earlier run. A folder that is not a run is never touched, nor are
                files in it that are not of the run.
            pages: further files that the run shall have, by name: their texts.

        Raises:
            RunFolderError: the folder exists and may not be replaced.
        """
        return run_folder.write(
            Path(folder),
            tables=self.frames(),
            about=self.to_dict(),
            moments=None if self._moments == Path(folder) / run_folder.MOMENTS else self.moments,
            pages=pages,
            force=force,
        )

    def __repr__(self) -> str:
        errors = self.tables.errors
        return (
            f"Study({errors['layer'].nunique()} layers, {errors['method'].nunique()} methods, "
            f"{len(self.tables.channels):,} channels, {self.provenance['images']:,} images)"
        )

    def _repr_html_(self) -> str:
        return study_html(self)


def analyze(
    moments: Moments,
    methods: str | Iterable[str | Method] = DEFAULT_METHODS,
    *,
    weights: Weighting = "gamma",
    seed: int = 0,
    draws: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Study:
    """Split the error of each method's statistics in each layer into bias² and variance.

    Args:
        moments: from ``normstats.capture`` or ``Moments.open``.
        methods: e.g. ``["bn@2", "bn@8", "gn:8", "ln"]`` or ``"bn@2,bn@8,gn:8,ln"``, and methods
            of one's own (``Method.from_function``).
        weights: ``"gamma"`` weighs a channel by γ² in its layer's average; ``"uniform"`` does not.
        seed: of the resampling.
        draws: batches of eight images drawn for what has no closed form, of other sizes in
            inverse proportion; so many that their error is small beside the intervals, unless
            given.
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
    draws = draws_for(moments.images) if draws is None else draws
    resamples = Resamples(moments.images, draws=draws, seed=seed)
    return Study(
        tables=compute_tables(moments, chosen, weights, resamples, progress),
        settings={
            "methods": [str(method) for method in chosen],
            "weights": weights,
            "seed": seed,
            "draws": draws,
        },
        provenance={"images": moments.images, **moments.provenance},
        left_out=dict(moments.left_out),
        _moments=moments,
    )


def open_study(folder: str | Path) -> Study:
    """Open a run folder that ``Study.save`` or ``normstats analyze`` wrote.

    Raises:
        RunFolderError: it is not a run folder, or is damaged.
    """
    folder = Path(folder)
    about = run_folder.read(folder)
    with run_folder.damage(folder):
        return Study(
            tables=Tables(
                **{
                    name: run_folder.read_table(folder, name, columns)
                    for name, columns in _TABLES.items()
                },
                notes=tuple(about["table_notes"]),
            ),
            settings=about["settings"],
            provenance=about["provenance"],
            left_out=about["left_out"],
            parts={
                name: Part(
                    settings=part["settings"],
                    tables={
                        table: run_folder.read_table(folder, table) for table in part["tables"]
                    },
                    about=part["about"],
                    notes=tuple(part["notes"]),
                )
                for name, part in about["parts"].items()
            },
            _moments=folder / run_folder.MOMENTS,
        )
