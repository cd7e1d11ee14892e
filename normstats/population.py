"""The ideal statistics: each channel's mean and variance over all captured images and positions.

The population is the N captured images, each equally likely. Its variance is the *pooled* one,
σ² = mean(s2 + (m − μ)²), not the mean of batch variances, which is lower by τ²/B.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from normstats.blocks import Array as Array
from normstats.blocks import Blocks
from normstats.moments import LayerMoments

Weighting = Literal["gamma", "uniform"]
WEIGHTINGS: tuple[Weighting, ...] = ("gamma", "uniform")


@dataclass(frozen=True)
class Ideal:
    """What every method estimates: ``(C,)``, or ``(K, C)`` without each of K blocks of images.

    Attributes:
        mean: μ.
        variance: σ².
        between_variance: τ², the variance of the image means.
        epsilon: the layer's own ε.
    """

    mean: Array
    variance: Array
    between_variance: Array
    epsilon: float

    @property
    def std(self) -> Array:
        """s = √(σ² + ε), what the ideal layer divides by."""
        return np.sqrt(self.variance + self.epsilon)


@dataclass(frozen=True)
class Population(Ideal):
    """The ideal statistics of one layer, and each image's distance from them.

    Attributes:
        mean: μ, ``(C,)``.
        variance: σ², ``(C,)``.
        between_variance: τ², the variance of the image means, ``(C,)``.
        epsilon: the layer's own ε.
        deviation: d = m − μ of each image, ``(N, C)``; its mean over images is zero.
        second_moment: q = s2 + (m − μ)² of each image, ``(N, C)``; its mean over images is σ².
        blocks: of images, for confidence intervals; None where none are wanted.
    """

    deviation: Array
    second_moment: Array
    blocks: Blocks | None = None

    @classmethod
    def of(cls, layer: LayerMoments, blocks: Blocks | None = None) -> Population:
        """The population that a layer's captured moments make up, in float64."""
        image_mean = np.asarray(layer.mean, dtype=np.float64)
        mean = image_mean.mean(axis=0)
        deviation = image_mean - mean
        second_moment = np.asarray(layer.variance, dtype=np.float64) + deviation**2
        return cls(
            mean=mean,
            variance=second_moment.mean(axis=0),
            between_variance=(deviation**2).mean(axis=0),
            epsilon=layer.epsilon,
            deviation=deviation,
            second_moment=second_moment,
            blocks=blocks,
        )

    @cached_property
    def by_channel(self) -> tuple[Array, Array]:
        """``deviation`` and ``second_moment`` as ``(C, N)``, each channel's images side by side."""
        return np.ascontiguousarray(self.deviation.T), np.ascontiguousarray(self.second_moment.T)

    @cached_property
    def without_one_block(self) -> Ideal | None:
        """The ideal statistics without each block of images in turn, ``(K, C)``."""
        if self.blocks is None:
            return None
        shift, second_moment, squared = (
            self.blocks.without_one(self.blocks.means(values))
            for values in (self.deviation, self.second_moment, self.deviation**2)
        )
        return Ideal(
            mean=self.mean + shift,
            variance=second_moment - shift**2,
            between_variance=squared - shift**2,
            epsilon=self.epsilon,
        )

    def take(self, channels: NDArray[np.integer]) -> Population:
        """Only these channels, in this order: a part of the layer, or another arrangement of it."""
        return replace(
            self,
            mean=self.mean[channels],
            variance=self.variance[channels],
            between_variance=self.between_variance[channels],
            deviation=self.deviation.take(channels, axis=1),
            second_moment=self.second_moment.take(channels, axis=1),
        )

    @property
    def images(self) -> int:
        """The number of images N."""
        return int(self.deviation.shape[0])

    @property
    def channels(self) -> int:
        """The number of channels C."""
        return int(self.deviation.shape[1])

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Channels that carry a signal: σ² > ε, ``(C,)``."""
        return self.variance > self.epsilon


def channel_weights(
    population: Population, gamma: NDArray[np.floating] | None, weighting: Weighting
) -> Array:
    """How much each channel counts in its layer's average, ``(C,)``, summing to one.

    Dead channels weigh nothing. With ``"gamma"`` the others weigh γ² (how loudly the layer
    speaks through that channel); equally with ``"uniform"``, without an affine, or where γ is
    zero in every live channel. All NaN where the whole layer is dead.
    """
    weights = population.alive.astype(np.float64)
    if weighting == "gamma" and gamma is not None:
        squared = weights * np.asarray(gamma, dtype=np.float64) ** 2
        if squared.sum() > 0:
            weights = squared
    total = weights.sum()
    return weights / total if total > 0 else np.full_like(weights, np.nan)
