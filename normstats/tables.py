"""The tables of a study, computed layer by layer from the captured moments.

``errors`` has a row per layer and method, ``channels`` a row per channel, ``crossovers`` a row
per layer, method and quantity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from normstats.closed_forms import Groups
from normstats.crossover import crossover
from normstats.decomposition import TERMS, Decomposition, decompose
from normstats.errors import MethodError
from normstats.estimators import constant, sample
from normstats.layerwise import map_layers
from normstats.methods import Method, stored_statistics
from normstats.moments import LayerMoments, Moments
from normstats.population import Array, Population, Weighting, channel_weights
from normstats.resampling import Resamples

ERROR_COLUMNS = (
    "layer",
    "channels",
    "method",
    "batch",
    "groups",
    "weights",
    *TERMS,
    "error_standard_error",
    "residual_standard_error",
    "error_median",
    "error_p90",
    "residual_median",
    "residual_p90",
)
CROSSOVER_QUANTITIES = ("error", "residual")


@dataclass(frozen=True)
class Tables:
    """What an analysis gives: three tables, and what could not be had."""

    errors: pd.DataFrame
    channels: pd.DataFrame
    crossovers: pd.DataFrame
    notes: tuple[str, ...]


def compute_tables(
    moments: Moments,
    methods: Sequence[Method],
    weights: Weighting,
    resamples: Resamples,
    progress: Callable[[int], None] | None = None,
) -> Tables:
    """Analyze every layer; layers run on all cores, and their number changes no result.

    Args:
        moments: the captured layers.
        methods: those a layer cannot have are left out of it, with one note a method and reason.
        weights: how channels count in their layer's average.
        resamples: the batches for what has no closed form.
        progress: told the number of layers done.

    Raises:
        MethodError: no layer can have any of the methods.
    """
    layers = map_layers(
        lambda name, layer: _LayerTables.of(name, layer, methods, weights, resamples),
        moments,
        progress,
    )
    errors = pd.DataFrame(
        [row for layer in layers for row in layer.errors], columns=list(ERROR_COLUMNS)
    )
    notes = _notes(layers)
    if errors.empty:
        raise MethodError(
            "None of the methods is possible in any layer: " + " ".join(notes),
            "Ask for others with --methods, e.g. bn@2,bn@8,bn@32,ln,gn:8ch.",
        )
    return Tables(
        errors=errors.astype({"batch": "Int64"}),
        channels=pd.concat([layer.channels for layer in layers], ignore_index=True),
        crossovers=_crossovers(errors),
        notes=notes,
    )


@dataclass(frozen=True)
class _LayerTables:
    """One layer's rows, and what is the matter with the methods it cannot have."""

    name: str
    errors: list[dict[str, Any]]
    channels: pd.DataFrame
    problems: dict[str, str]

    @classmethod
    def of(
        cls,
        name: str,
        layer: LayerMoments,
        methods: Sequence[Method],
        weighting: Weighting,
        resamples: Resamples,
    ) -> _LayerTables:
        population = Population.of(layer)
        weights = channel_weights(population, layer.gamma, weighting)
        values = _Values(layer, population, weights, resamples)
        rows: list[dict[str, Any]] = []
        problems: dict[str, str] = {}
        for method in methods:
            try:
                groups = method.groups_in(layer.channels)
                found = values.of(method.batch, groups)
            except MethodError as error:
                problems[str(method)] = f"is left out of {{}}: {error.message}"
                continue
            if not found:
                problems[str(method)] = "has no value in {}: one position has no variance"
            rows.append(
                {
                    "layer": name,
                    "channels": layer.channels,
                    "method": str(method),
                    "batch": method.batch,
                    "groups": groups,
                    "weights": weighting,
                    **found,
                }
            )
        return cls(name, rows, _channel_rows(name, layer, population), problems)


class _Values:
    """A layer's values for any cell of the (images, channels) plane, each computed once."""

    def __init__(
        self, layer: LayerMoments, population: Population, weights: Array, resamples: Resamples
    ) -> None:
        self._layer, self._population, self._weights = layer, population, weights
        self._resamples = resamples
        self._pooled: dict[int, Groups] = {}  # one serves every batch size
        self._known: dict[tuple[int | None, int], dict[str, float]] = {}  # bn@1, in and gn:C agree

    def of(self, batch: int | None, groups: int) -> dict[str, float]:
        """Averages and quantiles over channels; empty where the statistics are undefined.

        Raises:
            MethodError: a constant is asked for and the layer stores none.
        """
        cell = (batch, groups)
        if cell not in self._known:
            self._known[cell] = self._compute(batch, groups)
        return self._known[cell]

    def _compute(self, batch: int | None, groups: int) -> dict[str, float]:
        if batch is None:
            stored = stored_statistics(self._layer)
            sampling = constant(*stored, self._layer.epsilon)
        elif batch == 1 and groups == self._layer.channels and self._layer.positions == 1:
            return {}  # the variance of a single value
        else:
            if groups not in self._pooled:
                self._pooled[groups] = Groups.of(self._population, groups)
            sampling = sample(self._pooled[groups], batch, self._resamples)
        return _layer_values(decompose(self._population, sampling), self._weights)


def _layer_values(decomposition: Decomposition, weights: Array) -> dict[str, float]:
    """The layer's averages, their Monte-Carlo errors, and quantiles over the live channels."""
    values = {term: decomposition.average(term, weights) for term in TERMS}
    alive = weights > 0
    for term in CROSSOVER_QUANTITIES:
        values[f"{term}_standard_error"] = decomposition.standard_error(term, weights)
        by_channel = getattr(decomposition, term)[alive]
        for name, share in (("median", 0.5), ("p90", 0.9)):
            quantile = np.quantile(by_channel, share) if by_channel.size else np.nan
            values[f"{term}_{name}"] = float(quantile)
    return values


def _channel_rows(name: str, layer: LayerMoments, population: Population) -> pd.DataFrame:
    """The ideal statistics of the layer's channels."""
    return pd.DataFrame(
        {
            "layer": name,
            "channel": np.arange(population.channels),
            "mean": population.mean,
            "variance": population.variance,
            "between_variance": population.between_variance,
            "gamma": np.nan if layer.gamma is None else layer.gamma.astype(np.float64),
            "alive": population.alive,
        }
    )


def _notes(layers: Sequence[_LayerTables]) -> tuple[str, ...]:
    """One sentence for each method and reason, naming the layers."""
    where: dict[tuple[str, str], list[str]] = {}
    for layer in layers:
        for method, problem in layer.problems.items():
            where.setdefault((method, problem), []).append(layer.name)
    return tuple(
        f"{method} {problem.format(_some(names, len(layers)))}."
        for (method, problem), names in where.items()
    )


def _some(names: list[str], total: int) -> str:
    """A few of the layers' names, and how many more there are."""
    if len(names) == total:
        return "every layer" if total > 1 else names[0]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more layers" if len(names) > 3 else "")


def _crossovers(errors: pd.DataFrame) -> pd.DataFrame:
    """B* of every layer and method, where BatchNorm was computed at two sizes or more."""
    rows = []
    for name, layer in errors.groupby("layer", sort=False):
        is_batch_norm = layer["method"].str.startswith("bn@")
        curve = layer[is_batch_norm].sort_values("batch")
        if len(curve) < 2:
            continue
        for _, other in layer[~is_batch_norm].iterrows():
            for quantity in CROSSOVER_QUANTITIES:
                found = crossover(list(curve["batch"]), list(curve[quantity]), other[quantity])
                rows.append((name, other["method"], quantity, str(found), found.batch))
    return pd.DataFrame(rows, columns=["layer", "method", "quantity", "batch", "batch_number"])
