"""The error over batches that are given, whatever order or sampler made them.

Class-sorted batches, for one, are ``np.argsort(labels, kind="stable")`` cut into rows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from normstats.errors import MethodError, SettingError
from normstats.layerwise import Progress, map_layers
from normstats.methods import Method
from normstats.moments import LayerMoments, Moments
from normstats.population import Array, Population, Weighting, channel_weights
from normstats.resampling import averaging
from normstats.std_and_residual import StdAndResidual, std_and_residual

_VALUES_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class BatchErrors:
    """A layer's error over batches that need not be iid, averaged over its channels.

    Attributes:
        mean_bias_sq: (E[M] − μ)²/s².
        mean_variance: Var[M]/s².
        std_bias_sq: (E[S] − s)²/s².
        std_variance: Var[S]/s².
        error: their sum: E[(M − μ)² + (S − s)²]/s².
        residual: 1 − corr(ŷ, y)² over the images of these batches, the share of the ideal
            output's variance that no per-channel affine recovers.
    """

    mean_bias_sq: float
    mean_variance: float
    std_bias_sq: float
    std_variance: float
    error: float
    residual: float


def layer_errors(
    population: Population, bias: Array, variance: Array, std: StdAndResidual, weights: Array
) -> BatchErrors:
    """The layer's averages, from E[M] − μ and Var[M], ``(C,)`` each, and what S does."""
    with np.errstate(divide="ignore", invalid="ignore"):  # dead channels where ε = 0
        s_squared = population.variance + population.epsilon
        parts = (
            bias**2 / s_squared,
            variance / s_squared,
            (std.expected_std - population.std) ** 2 / s_squared,
            std.variance_of_std / s_squared,
        )
    mean_bias, mean_variance, std_bias, std_variance = (layer_average(x, weights) for x in parts)
    return BatchErrors(
        mean_bias_sq=mean_bias,
        mean_variance=mean_variance,
        std_bias_sq=std_bias,
        std_variance=std_variance,
        error=mean_bias + mean_variance + std_bias + std_variance,
        residual=layer_average(std.residual, weights),
    )


def layer_average(values: Array, weights: Array) -> float:
    """A layer's value; what has no weight may be anything, NaN included."""
    return float(np.where(weights == 0, 0.0, values) @ weights)


def errors_of_batches(
    layer: LayerMoments,
    batches: ArrayLike,
    method: str | Method | None = None,
    *,
    weights: Weighting = "gamma",
) -> BatchErrors:
    """The error over exactly these batches, whatever sampler made them; nothing is drawn.

        errors_of_batches(layer, np.argsort(labels, kind="stable").reshape(-1, 8))

    Args:
        layer: the moments of one layer, N images.
        batches: indices of the images of each batch, ``(n, B)``.
        method: what makes M and V of a batch; BatchNorm over its B images unless given.
        weights: how channels count in the layer's average.

    Raises:
        SettingError: the batches are not rows of indices below N.
        MethodError: the method is for batches of another size, or the layer cannot have it.
    """
    members = _checked_batches(batches, layer.images)
    size = members.shape[1]
    chosen = Method.parse(method or f"bn@{size}") if not isinstance(method, Method) else method
    if chosen.batch not in (None, size):
        raise MethodError(
            f"{chosen} is for batches of {chosen.batch}; these hold {size} images.",
            f"Give rows of {chosen.batch} indices.",
        )
    population = Population.of(layer)
    mean, variance = _statistics(layer, members, chosen)
    average = averaging(members, layer.images)
    d, q = average @ population.deviation, average @ population.second_moment
    # The ideal output is looked at over the images of these batches.
    shift = d.mean(axis=0)
    d -= shift
    q -= (2 * d + shift) * shift
    expected_mean = mean.mean(axis=0)
    offset = population.mean + shift - expected_mean
    std = std_and_residual(
        np.ascontiguousarray(d.T),
        np.ascontiguousarray(q.T),
        np.ascontiguousarray((mean - expected_mean).T),
        np.ascontiguousarray(variance.T),
        offset=offset,
        expected_variance=variance.mean(axis=0),
        ideal_variance=q.mean(axis=0),
        epsilon=population.epsilon,
        weights=np.full(1, 1 / len(members)),
    )
    by_channel = channel_weights(population, layer.gamma, weights)
    return layer_errors(
        population, expected_mean - population.mean, mean.var(axis=0), std, by_channel
    )


def batches_table(
    moments: Moments,
    batches: ArrayLike,
    method: str | Method | None = None,
    *,
    weights: Weighting = "gamma",
    progress: Progress | None = None,
) -> pd.DataFrame:
    """``errors_of_batches`` of every layer: a row per layer.

    Raises:
        SettingError: the batches are not rows of indices of images.
        MethodError: the method is for batches of another size, or a layer cannot have it.
    """
    members = _checked_batches(batches, moments.images)

    def of_layer(name: str, layer: LayerMoments) -> dict[str, object]:
        found = errors_of_batches(layer, members, method, weights=weights)
        head = {"layer": name, "channels": layer.channels, "weights": weights}
        return head | {"batch": members.shape[1]} | asdict(found)

    return pd.DataFrame(map_layers(of_layer, moments, progress))


def _checked_batches(batches: ArrayLike, images: int) -> NDArray[np.int64]:
    members = np.asarray(batches)
    if members.ndim != 2 or not members.size or not np.issubdtype(members.dtype, np.integer):
        raise SettingError(
            f"Batches are rows of image indices (n, B); these are of shape {members.shape} and "
            f"type {members.dtype}.",
            "Cut an order into rows, e.g. order[: len(order) // 8 * 8].reshape(-1, 8).",
        )
    if members.min() < 0 or members.max() >= images:
        raise SettingError(
            f"The batches name images {members.min()} to {members.max()}; there are {images}.",
            "Count the images from 0, in the order in which they were captured.",
        )
    return members.astype(np.int64)


def _statistics(
    layer: LayerMoments, members: NDArray[np.int64], method: Method
) -> tuple[Array, Array]:
    """M and V of each batch, ``(n, C)``; some batches at a time."""
    image_mean, image_variance = (
        np.asarray(values, dtype=np.float64) for values in (layer.mean, layer.variance)
    )
    step = max(1, _VALUES_AT_ONCE // (members.shape[1] * layer.channels))
    found = np.empty((2, len(members), layer.channels))
    for start in range(0, len(members), step):
        some = members[start : start + step]
        # Broadcast: a method may give the same statistics to every batch.
        found[0, start : start + step], found[1, start : start + step] = method.statistics(
            image_mean[some], image_variance[some], layer
        )
    return found[0], found[1]
