"""What every image is normalized with when a layer has some method; no network is needed.

Where only one layer is changed, its input is what was captured: the statistics of any batch
follow from the moments of its images, and so does the affine that fits best afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from normstats.errors import MethodError
from normstats.methods import Method
from normstats.moments import LayerMoments
from normstats.population import Population

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Normalization:
    """slope · (x − M)/S + offset, with the M and S of the batch an image is in.

    Attributes:
        mean: M of each batch, ``(K, C)``.
        std: S = √(V + ε) of each batch, ``(K, C)``.
        batch: images a batch; image i is in batch i // ``batch``.
        slope: ``(C,)``.
        offset: ``(C,)``.
    """

    mean: Array
    std: Array
    batch: int
    slope: Array
    offset: Array

    def scale_and_shift(self, images: Indices) -> tuple[Array, Array]:
        """The same as x · scale + shift, ``(n, C)`` each.

        Args:
            images: the numbers ``(n,)`` of some images, in the order in which they were dealt.
        """
        batches = images // self.batch
        scale = self.slope / self.std[batches]
        return scale, self.offset - scale * self.mean[batches]


def ideal(layer: LayerMoments, images: int) -> Normalization:
    """With μ and s = √(σ² + ε) of all captured images: one batch for so many images."""
    population = Population.of(layer)
    return _plain(population.mean[None], population.std[None], images)


def normalization(
    method: Method, layer: LayerMoments, order: Indices, images: int
) -> Normalization:
    """What the first ``images`` of the captured images, in that order, are normalized with.

    They are dealt into batches in their order. What the last batch lacks comes from the images
    after them and, where there are none, from the first ones, so that every batch is a random
    one of distinct images.

    Args:
        method: gives the statistics of each batch.
        layer: the captured moments of N images.
        order: all N of them in random order.
        images: how many of them will be looked at, at most N.

    Raises:
        MethodError: the layer cannot have the method, a batch needs more images than there are,
            or a method of one's own gives statistics that nothing can be normalized with.
    """
    size = method.batch or images  # a constant is one batch of them all
    if size > len(order):
        raise MethodError(
            f"a batch needs {size:,} images and there are {len(order):,}", "Analyze more images."
        )
    batches = -(-images // size)
    members = order[np.arange(batches * size) % len(order)].reshape(batches, size)
    mean, variance = method.statistics(
        layer.mean[members].astype(np.float64), layer.variance[members].astype(np.float64), layer
    )
    shape = (batches, layer.channels)
    mean, variance = np.broadcast_to(mean, shape), np.broadcast_to(variance, shape) + layer.epsilon
    if not np.isfinite(mean).all() or not (np.isfinite(variance) & (variance > 0)).all():
        raise MethodError(
            "its statistics are not finite, or its variance is negative",
            "Check what the method gives for this layer.",
        )
    return _plain(mean, np.sqrt(variance), size)


def refitted(plain: Normalization, layer: LayerMoments, chosen: Indices) -> Normalization:
    """The same, then the affine with which it is nearest to the ideal output.

    Per channel the least squares of y = (x − μ)/s on ŷ = (x − M)/S over all positions of the
    chosen images. With u = (m − M)/S and v = (m − μ)/s of each image,

        Var[ŷ] = mean(s2/S²) + var(u)    Cov[ŷ, y] = mean(s2/(S·s)) + cov(u, v)

    slope = Cov/Var, offset = mean(v) − slope · mean(u). A channel in which ŷ does not vary keeps
    slope 1.

    Args:
        plain: with slope 1 and offset 0.
        layer: the captured moments.
        chosen: the images ``(n,)`` that are looked at, in the order in which they were dealt.
    """
    population = Population.of(layer)
    batches = np.arange(len(chosen)) // plain.batch
    mean, std = plain.mean[batches], plain.std[batches]
    within = layer.variance[chosen].astype(np.float64)
    u = (layer.mean[chosen] - mean) / std
    v = population.deviation[chosen] / population.std
    covariance = (within / std).mean(axis=0) / population.std
    covariance += ((u - u.mean(axis=0)) * (v - v.mean(axis=0))).mean(axis=0)
    variance = (within / std**2).mean(axis=0) + u.var(axis=0)
    slope = np.divide(covariance, variance, out=np.ones_like(variance), where=variance > 0)
    return replace(plain, slope=slope, offset=v.mean(axis=0) - slope * u.mean(axis=0))


def _plain(mean: Array, std: Array, batch: int) -> Normalization:
    channels = mean.shape[1]
    return Normalization(mean, std, batch, slope=np.ones(channels), offset=np.zeros(channels))
