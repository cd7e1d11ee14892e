"""The ideal statistics: each channel's mean and variance over all captured images and positions.

The population is the N captured images, each equally likely. Its variance is the *pooled* one,
σ² = mean(s2 + (m − μ)²), not the mean of batch variances, which is lower by τ²/B.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from normstats import loops
from normstats.blocks import Array as Array
from normstats.blocks import Blocks
from normstats.moments import FloatArray, LayerMoments

Weighting = Literal["gamma", "uniform"]
WEIGHTINGS: tuple[Weighting, ...] = ("gamma", "uniform")

_VALUES, _FEWEST = 1 << 15, 16  # values of a slab, and its channels at least


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

    The images' values stay as they were captured, but channel by channel; they are centred, in
    float64, some channels at a time (``slab``).

    Attributes:
        mean: μ, ``(C,)``.
        variance: σ², ``(C,)``.
        between_variance: τ², the variance of the image means, ``(C,)``.
        epsilon: the layer's own ε.
        captured: m and s2 of each image, in the order of the blocks, ``(2, C, N)``.
        dealt: the images in blocks, or in one.
        by_block: means over each block of d, q and d² (see ``slab``), ``(3, K, C)``.
    """

    captured: FloatArray
    dealt: Blocks
    by_block: Array

    @classmethod
    def of(cls, layer: LayerMoments, blocks: Blocks | None = None) -> Population:
        """The population that a layer's captured moments make up.

        Args:
            layer: N images, C channels.
            blocks: of images, for confidence intervals; None where none are wanted.
        """
        dealt = blocks or Blocks.of(layer.images, count=1)
        dtype = np.float32 if layer.mean.dtype == layer.variance.dtype == np.float32 else np.float64
        captured = np.empty((2, layer.channels, layer.images), dtype)
        for values, turned in zip((layer.mean, layer.variance), captured, strict=True):
            loops.turned(np.asarray(values, dtype), dealt.order, turned)
        mean = captured[0].mean(axis=-1, dtype=np.float64)
        by_block = np.empty((3, len(dealt.ends), layer.channels))
        for some in slabs(layer.channels, layer.images):
            d, q = _centred(captured[:, some], mean[some])
            by_block[:, :, some] = loops.monomials(d, q, np.zeros(len(d)), dealt.ends)[[0, 4, 1]]
        _, variance, between_variance = dealt.total(by_block)
        return cls(mean, variance, between_variance, layer.epsilon, captured, dealt, by_block)

    def slab(self, channels: slice) -> tuple[Array, Array]:
        """Some channels of every image, in the order of the blocks, ``(c, N)`` each.

        d = m − μ, whose mean over images is zero, and q = s2 + (m − μ)², whose mean is σ².
        """
        return _centred(self.captured[:, channels], self.mean[channels])

    @cached_property
    def deviation(self) -> Array:
        """d = m − μ of each image, ``(N, C)``."""
        return self._by_image(self.captured[0] - self.mean[:, None])

    @cached_property
    def second_moment(self) -> Array:
        """q = s2 + (m − μ)² of each image, ``(N, C)``."""
        return self._by_image(self.captured[1] + (self.captured[0] - self.mean[:, None]) ** 2)

    def _by_image(self, by_channel: Array) -> Array:
        """From ``(C, N)`` in the order of the blocks to ``(N, C)`` as captured."""
        values = np.empty((self.images, self.channels))
        values[self.dealt.order] = by_channel.T
        return values

    @property
    def has_blocks(self) -> bool:
        """Whether images can be left out block by block."""
        return len(self.dealt.ends) > 1

    @cached_property
    def without_one_block(self) -> Ideal | None:
        """The ideal statistics without each block of images in turn, ``(K, C)``."""
        if not self.has_blocks:
            return None
        shift, second_moment, squared = self.dealt.without_one(self.by_block)
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
            captured=self.captured.take(channels, axis=1),
            by_block=self.by_block[..., channels],
        )

    @property
    def images(self) -> int:
        """The number of images N."""
        return int(self.captured.shape[2])

    @property
    def channels(self) -> int:
        """The number of channels C."""
        return int(self.captured.shape[1])

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Channels that carry a signal: σ² > ε, ``(C,)``."""
        return self.variance > self.epsilon


def slabs(channels: int, images: int) -> Iterator[slice]:
    """Some channels at a time, so that their values stay near the processor."""
    step = max(_FEWEST, _VALUES // images)
    for start in range(0, channels, step):
        yield slice(start, min(start + step, channels))


def _centred(captured: FloatArray, mean: Array) -> tuple[Array, Array]:
    """d and q from m and s2 of some channels, ``(c, N)`` each."""
    out = np.empty(captured.shape)
    loops.centred(captured[0], captured[1], mean, out)
    return out[0], out[1]


def channel_weights(
    population: Population, gamma: NDArray[np.floating] | None, weighting: Weighting
) -> Array:
    """How much each channel counts in its layer's average, ``(C,)``, summing to one.

    Dead channels weigh nothing. With ``"gamma"`` the others weigh γ² (how loudly the layer
    speaks through that channel); equally with ``"uniform"``, without an affine, or where γ is
    zero in every live channel. All NaN where the whole layer is dead.
    """
    return weights_of(population.alive, gamma, weighting)


def weights_of(
    alive: NDArray[np.bool_], gamma: NDArray[np.floating] | None, weighting: Weighting
) -> Array:
    """``channel_weights`` of these channels, ``(C,)``; only the ``alive`` weigh anything."""
    weights = alive.astype(np.float64)
    if weighting == "gamma" and gamma is not None:
        squared = np.where(alive, np.asarray(gamma, dtype=np.float64) ** 2, 0.0)
        if squared.sum() > 0:
            weights = squared
    total = weights.sum()
    return weights / total if total > 0 else np.full_like(weights, np.nan)
