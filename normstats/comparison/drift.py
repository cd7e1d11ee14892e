"""How far the population of each channel moved from one run to another: covariate shift.

With μ, σ² and μ', σ'² a channel's ideal statistics in the earlier and the later run,

    drift = ((μ' − μ)² + (σ' − σ)²)/σ²

is the squared 2-Wasserstein distance between the normal distributions N(μ, σ²) and N(μ', σ'²), in
units of the earlier run's variance (for normal distributions on the line: Dowson and Landau 1982).
0.01 means that the channel moved by about a tenth of its standard deviation. A layer's value is the
mean over the channels that are alive in both runs, weighted as the earlier run weighs them. ε is
no part of it.

Both runs have sampling noise, and a squared difference counts it: of two samples of N images of
the same population, (μ' − μ)² is 2τ²/N in the mean and not zero. The delete-a-group jackknife
(``uncertainty``), leaving out one block of each run's images at a time, tells how much that is
(``noise``) and takes it away (``drift_debiased``). Runs of the same images leave out the same
images; what chance does to both alike then counts neither as drift nor as uncertainty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from normstats.comparison.kinds import Kind
from normstats.comparison.sides import LayerSide, Side
from normstats.population import Array, Weighting, weights_of
from normstats.uncertainty import interval

DRIFT_COLUMNS = (
    *("run", "against", "layer", "depth", "channels", "alive_in_both", "weights"),
    *("drift", "drift_debiased", "drift_low", "drift_high", "noise"),
    *("of_mean", "of_std", "log_std_ratio", "image_correlation"),
)


def pairs(runs: Sequence[str], kind: Kind) -> Iterator[tuple[str, str]]:
    """Each run against the first; checkpoints then also against the one before."""
    yield from ((run, runs[0]) for run in runs[1:])
    if kind == "checkpoints":
        yield from zip(runs[2:], runs[1:], strict=False)


def moved(mean: Array, variance: Array, to_mean: Array, to_variance: Array) -> tuple[Array, Array]:
    """The drift of each channel in two parts, of its mean and of its standard deviation.

    Args:
        mean, variance: μ and σ², ``(..., C)``.
        to_mean, to_variance: μ' and σ'² in the later run, likewise.

    Returns:
        (μ' − μ)²/σ² and (σ' − σ)²/σ², ``(..., C)``; NaN or infinite where σ² is zero.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        of_mean = (to_mean - mean) ** 2 / variance
        of_std = (np.sqrt(to_variance) - np.sqrt(variance)) ** 2 / variance
    return of_mean, of_std


def drift_table(sides: Mapping[str, Side], layers: Sequence[str], kind: Kind) -> pd.DataFrame:
    """A row per pair of runs and layer; ``DRIFT_COLUMNS``.

    Args:
        sides: the runs; the first is the reference.
        layers: those that all runs have, with the same channels.
        kind: what the runs are to each other.
    """
    rows = [
        {"run": run, "against": against, "layer": layer, "depth": (place + 0.5) / len(layers)}
        | layer_drift(
            sides[against].layers[layer],
            sides[run].layers[layer],
            sides[against].study.settings["weights"],
            same_images=sides[against].image_set == sides[run].image_set,
        )
        for run, against in pairs(list(sides), kind)
        for place, layer in enumerate(layers)
    ]
    return pd.DataFrame(rows, columns=list(DRIFT_COLUMNS))


def channel_table(sides: Mapping[str, Side], layers: Sequence[str], kind: Kind) -> pd.DataFrame:
    """A row per pair of runs, layer and channel.

    ``mean_shift`` is (μ' − μ)/σ and ``log_std_ratio`` is log(σ'/σ), σ the earlier run's.
    """
    frames = []
    for run, against in pairs(list(sides), kind):
        for layer in layers:
            before, after = sides[against].layers[layer], sides[run].layers[layer]
            of_mean, of_std = moved(before.mean, before.variance, after.mean, after.variance)
            with np.errstate(divide="ignore", invalid="ignore"):
                shift = (after.mean - before.mean) / np.sqrt(before.variance)
            frame = {
                "run": run,
                "against": against,
                "layer": layer,
                "channel": np.arange(len(shift)),
                "mean_shift": shift,
                "log_std_ratio": _log_ratio(before, after),
                "drift": of_mean + of_std,
                "weight": _weights(before, after, sides[against].study.settings["weights"]),
                "alive_in_both": before.alive & after.alive,
            }
            frames.append(pd.DataFrame(frame))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def layer_drift(
    before: LayerSide, after: LayerSide, weighting: Weighting, *, same_images: bool
) -> dict[str, Any]:
    """What a row of ``drift_table`` says of one layer.

    Args:
        before: in the earlier run.
        after: in the later run, with as many blocks of images.
        weighting: how the earlier run weighs channels.
        same_images: in the same order, so that they can be correlated; then the blocks are the
            same as well.
    """
    weights = _weights(before, after, weighting)
    of_mean, of_std = moved(before.mean, before.variance, after.mean, after.variance)
    value = _average(of_mean + of_std, weights)
    without = None
    if before.without is not None and after.without is not None:
        parts = moved(
            before.without.mean, before.without.variance, after.without.mean, after.without.variance
        )
        without = _average(sum(parts), weights)
    found = interval(float(value), without)
    return {
        "channels": len(before.mean),
        "alive_in_both": int((before.alive & after.alive).sum()),
        "weights": weighting,
        "drift": float(value),
        "drift_debiased": found.debiased,
        "drift_low": found.low,
        "drift_high": found.high,
        "noise": _noise(float(value), without),
        "of_mean": float(_average(of_mean, weights)),
        "of_std": float(_average(of_std, weights)),
        "log_std_ratio": float(_average(_log_ratio(before, after), weights)),
        "image_correlation": _correlation(before, after, weights) if same_images else np.nan,
    }


def _weights(before: LayerSide, after: LayerSide, weighting: Weighting) -> Array:
    return weights_of(before.alive & after.alive, before.gamma, weighting)


def _average(values: Any, weights: Array) -> Array:
    """What has no weight may be anything, NaN included."""
    return np.asarray(np.where(weights == 0, 0.0, values) @ weights)


def _log_ratio(before: LayerSide, after: LayerSide) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(after.variance / before.variance) / 2)


def _noise(value: float, without: Array | None) -> float:
    """What chance adds to the plug-in value: the jackknife's estimate of its bias."""
    if without is None:
        return np.nan
    return max((without.size - 1) * (float(without.mean()) - value), 0.0)


def _correlation(before: LayerSide, after: LayerSide, weights: Array) -> float:
    """Of the channels' spatial means over the same images; NaN where they are not known."""
    one, other = before.image_means, after.image_means
    if one is None or other is None:
        return np.nan
    by_channel = np.einsum("nc,nc->c", one, other).astype(np.float64)
    known = np.isfinite(by_channel)
    total = float(weights[known].sum())
    return float(by_channel[known] @ weights[known]) / total if total > 0 else np.nan
