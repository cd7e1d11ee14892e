"""The tables of a study, computed layer by layer from the captured moments.

``errors`` has a row per layer and method, ``layers`` a row per layer, ``channels`` a row per
channel, ``crossovers`` a row per layer, method and quantity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from normstats import effective_samples
from normstats.batch_curve import BatchCurve
from normstats.blocks import Blocks
from normstats.closed_forms import PooledMoments
from normstats.crossover import crossover
from normstats.decomposition import TERMS
from normstats.errors import MethodError
from normstats.layer_values import DEBIASED, HEADLINES, LayerValues, MethodValues
from normstats.layerwise import Progress, map_layers, some_names
from normstats.methods import Method
from normstats.moments import Moments
from normstats.moments_folder import SummedLayers
from normstats.population import Array, Weighting
from normstats.resampling import Resamples
from normstats.summing import SUMS_ONLY, SummedValues
from normstats.uncertainty import interval

ERROR_COLUMNS = (
    "layer",
    "channels",
    "method",
    "batch",
    "groups",
    "weights",
    *TERMS,
    *(f"{term}_{what}" for what in ("standard_error", "median", "p90") for term in HEADLINES),
    *(f"{term}_debiased" for term in DEBIASED),
    *(f"{term}_{end}" for term in TERMS for end in ("low", "high")),
)
CROSSOVER_COLUMNS = (
    *("layer", "method", "quantity", "batch", "batch_number", "batch_low", "batch_high"),
)
PERCENTS = (10, 1)  # of σ²: the errors whose batch sizes ``layers`` tells


@dataclass(frozen=True)
class Tables:
    """What an analysis gives: four tables, and what could not be had."""

    errors: pd.DataFrame
    layers: pd.DataFrame
    channels: pd.DataFrame
    crossovers: pd.DataFrame
    notes: tuple[str, ...]


def compute_tables(
    moments: Moments,
    methods: Sequence[Method],
    weights: Weighting,
    resamples: Resamples,
    progress: Progress | None = None,
) -> Tables:
    """Analyze every layer.

    Args:
        moments: the captured layers.
        methods: those a layer cannot have are left out of it, with one note a method and reason.
        weights: how channels count in their layer's average.
        resamples: the batches for what has no closed form.
        progress: told the number of layers done.

    Raises:
        MethodError: no layer can have any of the methods.
    """
    layers = _of_layers(moments, methods, weights, resamples, progress)
    errors = pd.DataFrame(
        [row for layer in layers for row in layer.errors], columns=list(ERROR_COLUMNS)
    )
    notes = _notes(layers)
    if isinstance(moments.layers, SummedLayers):
        notes = (*notes, SUMS_ONLY)
    if errors.empty:
        raise MethodError(
            "None of the methods is possible in any layer: " + " ".join(notes),
            "Ask for others with --methods, e.g. bn@2,bn@8,bn@32,ln,gn:8ch.",
        )
    crossovers = [row for layer in layers for row in layer.crossovers]
    return Tables(
        errors=errors.astype({"batch": "Int64", "groups": "Int64"}),
        layers=pd.DataFrame([layer.row for layer in layers]),
        channels=pd.concat([layer.channels for layer in layers], ignore_index=True),
        crossovers=pd.DataFrame(crossovers, columns=list(CROSSOVER_COLUMNS)),
        notes=notes,
    )


def _of_layers(
    moments: Moments,
    methods: Sequence[Method],
    weights: Weighting,
    resamples: Resamples,
    progress: Progress | None,
) -> list[_LayerTables]:
    summed = moments.layers
    if not isinstance(summed, SummedLayers):
        blocks = Blocks.of(moments.images, seed=resamples.seed)  # the same for every layer
        return map_layers(
            lambda name, layer: _LayerTables.of(
                name, LayerValues(layer, weights, resamples, blocks), methods
            ),
            moments,
            progress,
        )
    layers = []
    for name in summed:
        layers.append(
            _LayerTables.of(name, SummedValues(summed, name, weights, resamples), methods)
        )
        if progress is not None:
            progress(len(layers))
    return layers


@dataclass(frozen=True)
class _LayerTables:
    """One layer's rows, and what is the matter with the methods it cannot have."""

    name: str
    row: dict[str, Any]
    errors: list[dict[str, Any]]
    crossovers: list[tuple[Any, ...]]
    channels: pd.DataFrame
    problems: dict[str, str]

    @classmethod
    def of(cls, name: str, layer: LayerValues, methods: Sequence[Method]) -> _LayerTables:
        found: dict[Method, MethodValues | None] = {}
        problems: dict[str, str] = {}
        layer.compute(methods)
        for method in methods:
            try:
                found[method] = layer.of(method)
            except MethodError as error:
                problems[str(method)] = f"is left out of {{}}: {error.message}"
                continue
            if found[method] is None:
                problems[str(method)] = "has no value in {}: one position has no variance"
        curve = BatchCurve.of(found)
        return cls(
            name=name,
            row=_layer_row(name, layer, curve),
            errors=[_error_row(name, layer, method, values) for method, values in found.items()],
            crossovers=list(_crossover_rows(name, curve, found)),
            channels=_channel_rows(name, layer),
            problems=problems,
        )


def _error_row(
    name: str, layer: LayerValues, method: Method, values: MethodValues | None
) -> dict[str, Any]:
    return {
        "layer": name,
        "channels": layer.layer.channels,
        "method": str(method),
        "batch": method.batch,
        "groups": layer.groups_of(method),
        "weights": layer.weighting,
        **(values.row() if values else {}),
    }


def _crossover_rows(
    name: str, curve: BatchCurve, found: Mapping[Method, MethodValues | None]
) -> list[tuple[Any, ...]]:
    """B* of every other method, where BatchNorm was computed at two sizes or more."""
    rows: list[tuple[Any, ...]] = []
    if len(curve.batches) < 2:
        return rows
    for method, values in found.items():
        if method.is_batch_norm:
            continue
        for term in HEADLINES:
            level = values.terms[term] if values else np.nan
            meets = crossover(curve.batches, curve.level(term), level)
            ends = curve.crossover_ends(term, values)
            rows.append((name, str(method), term, str(meets), meets.batch, *ends))
    return rows


def _layer_row(name: str, layer: LayerValues, curve: BatchCurve) -> dict[str, Any]:
    """What a layer's images are worth, and how many of them an error needs."""
    captured = layer.layer
    row: dict[str, Any] = {
        "layer": name,
        "kind": captured.kind,
        "channels": captured.channels,
        "alive_channels": int(layer.population.alive.sum()),
        "images": captured.images,
        "positions": captured.positions,
    }
    channels = layer.groups(captured.channels)
    for what, function in _EFFECTIVE.items():

        def worth(moments: PooledMoments, function: Any = function) -> Array:
            return effective_samples.of_layer(function(moments), layer.weights)

        value = float(worth(channels.moments))
        without = channels.without_one_block
        found = interval(value, None if without is None else worth(without))
        row[f"effective_samples_{what}"] = value
        row[f"effective_samples_{what}_low"] = found.low
        row[f"effective_samples_{what}_high"] = found.high
        row[f"design_effect_{what}"] = captured.positions / value if value else np.nan
    for percent in PERCENTS:
        name_of = f"batch_for_{percent}_percent"
        needed = effective_samples.batch_needed(curve.batches, curve.level("error"), percent / 100)
        without_one = curve.without_images("error") if curve.batches else np.empty((0, 0))
        replicates = np.array(
            [
                effective_samples.batch_needed(curve.batches, levels, percent / 100)
                for levels in without_one
            ]
        )
        found = interval(needed, replicates if len(replicates) else None)
        row[name_of] = needed
        row[f"{name_of}_low"], row[f"{name_of}_high"] = found.low, found.high
    return row


_EFFECTIVE = {"mean": effective_samples.of_mean, "variance": effective_samples.of_variance}


def _channel_rows(name: str, layer: LayerValues) -> pd.DataFrame:
    """The ideal statistics of the layer's channels."""
    population, captured = layer.population, layer.layer
    moments = layer.groups(captured.channels).moments
    return pd.DataFrame(
        {
            "layer": name,
            "channel": np.arange(population.channels),
            "mean": population.mean,
            "variance": population.variance,
            "between_variance": population.between_variance,
            "gamma": np.nan if captured.gamma is None else captured.gamma.astype(np.float64),
            "alive": population.alive,
            "within_variance": population.variance - population.between_variance,
            "effective_samples_mean": effective_samples.of_mean(moments),
            "effective_samples_variance": effective_samples.of_variance(moments),
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
    return some_names(names)
