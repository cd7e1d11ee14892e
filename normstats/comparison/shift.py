"""Domain shift: how wrong one image set's statistics are on another, and what BatchNorm would gain.

A network whose layer normalizes images of domain B with constants from domain A (μ_A, σ_A²), as
stored statistics are, has in each channel the error

    ((μ_A − μ_B)² + (s_A − s_B)²)/s_B²,   s² = σ² + ε

a constant method: all of it is bias², none variance. Re-estimating on the B images of a batch at
hand (prediction-time BatchNorm: Nado et al. 2020; Schneider et al. 2020) has the error of ``bn@B``
on domain B: no bias of the mean, but variance. Where the second falls below the first is the
batch size B* from which re-estimating is better.

It is the error that counts here, not the residual: a constant bias would be absorbed by γ and β if
they were trained again, but at prediction time they are what they are. (Whether domain A's
statistics are wrong in a way that *training* would absorb is another question; there the residual
of a constant is zero.)

One layer at a time: the moments of both domains are those that the network with its stored
statistics gives, and re-estimating in one layer changes what the later ones see.

Sampling noise of both image sets inflates the plug-in error of A's constants; the delete-a-group
jackknife over blocks of both takes that away (``error_debiased``) and gives the intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from glob import escape
from typing import Any

import numpy as np
import pandas as pd

from normstats.batch_curve import BatchCurve
from normstats.comparison.sides import LayerSide, Side
from normstats.crossover import crossover
from normstats.decomposition import decompose
from normstats.estimators import constant
from normstats.findings import batch_norm_sizes
from normstats.layer_values import LayerValues, MethodValues
from normstats.layerwise import Progress, map_layers
from normstats.methods import Method
from normstats.moments import LayerMoments, Moments
from normstats.resampling import Resamples

SHIFT_COLUMNS = (
    *("run", "against", "layer", "depth", "channels", "weights"),
    *("mean_bias_sq", "std_bias_sq", "error", "error_debiased", "error_low", "error_high"),
    *("batch", "batch_number", "batch_low", "batch_high"),
    *("stored_error", "stored_error_low", "stored_error_high"),
)


def constants_error(values: LayerValues, source: LayerSide) -> MethodValues:
    """The error of another run's population statistics, used as constants in this layer.

    Args:
        values: of the layer on domain B.
        source: the same layer on domain A, with as many blocks of images.
    """
    epsilon = values.layer.epsilon
    sampling = constant(source.mean, source.variance, epsilon)
    if source.without is not None:
        images = constant(source.without.mean, source.without.variance, epsilon)
        sampling = replace(sampling, images=replace(images, images=None))
    return MethodValues.of(decompose(values.population, sampling), values.weights)


def shift_rows(
    run: str,
    side: Side,
    against: str,
    source: Side,
    moments: Moments,
    layers: Sequence[str],
    progress: Progress | None = None,
) -> pd.DataFrame:
    """A row per layer: domain A's statistics on domain B; ``SHIFT_COLUMNS``.

    Args:
        run: the name of domain B's run.
        side: that run.
        against: the name of domain A's run.
        source: that run; its layers have their blocks.
        moments: domain B's.
        layers: those that both runs have.
        progress: told the number of layers done.
    """
    settings = side.study.settings
    resamples = Resamples(moments.images, draws=settings["draws"], seed=settings["seed"])
    errors = side.study.errors()
    sizes = batch_norm_sizes(errors)
    of_stored = errors[errors["method"] == "running"].set_index("layer")
    of_stored = of_stored[["error", "error_low", "error_high"]].add_prefix("stored_")
    stored: Mapping[Any, Mapping[Any, Any]] = of_stored.to_dict("index")

    def of_layer(name: str, layer: LayerMoments) -> dict[str, Any]:
        values = LayerValues(layer, settings["weights"], resamples, side.blocks)
        found = constants_error(values, source.layers[name])
        row = found.row()
        return {
            "run": run,
            "against": against,
            "layer": name,
            "depth": (layers.index(name) + 0.5) / len(layers),
            "channels": layer.channels,
            "weights": settings["weights"],
            **{column: row[column] for column in SHIFT_COLUMNS if column in row},
            **_meets(values, found, sizes),
            **stored.get(name, {}),
        }

    chosen = moments.select([escape(name) for name in layers])
    rows = map_layers(of_layer, chosen, progress)
    return pd.DataFrame(rows, columns=list(SHIFT_COLUMNS))


def _meets(values: LayerValues, found: MethodValues, sizes: Sequence[int]) -> Mapping[str, Any]:
    """B*, as in a study's crossovers; of the debiased error, as chance would raise the level."""
    if len(sizes) < 2:
        return {"batch": "", "batch_number": np.nan}
    methods = [Method.parse(f"bn@{size}") for size in sizes]
    curve = BatchCurve.of({method: values.of(method) for method in methods})
    debiased = found.row()["error_debiased"]
    level = found.terms["error"] if np.isnan(debiased) else debiased
    meets = crossover(curve.batches, curve.level("error"), level)
    low, high = curve.crossover_ends("error", found)
    return {
        "batch": str(meets),
        "batch_number": meets.batch,
        "batch_low": low,
        "batch_high": high,
    }
