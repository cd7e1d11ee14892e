"""What the sums over all images tell of a layer: the ideal statistics, any method's distribution.

M and V of every batch size are closed forms, and S and the residual of single images are exact,
as they are from the moments. Larger batches are those of the images in a random order, each image
in one batch a size; as with drawn batches, what is known of them takes most of their noise away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normstats.blocks import Array, Blocks
from normstats.closed_forms import ClosedForms, Groups, spread
from normstats.errors import MethodError
from normstats.estimators import Sampling, joined
from normstats.population import Population
from normstats.single_images import estimate
from normstats.std_and_residual import Estimate, assemble, reference_std
from normstats.sums import (
    LayerSums,
    moved_monomials,
    moved_output,
    pooled_mean,
    second_moment,
)


@dataclass(frozen=True)
class _Parts:
    """Sums over batches of one size, and the block of images that each part belongs to."""

    parts: Sequence[LayerSums]
    block: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, parts: Sequence[LayerSums], block: NDArray[np.int64], blocks: int) -> _Parts:
        counts = np.zeros(blocks, np.int64)
        for part, where in zip(parts, block, strict=True):
            counts[where] += part.images
        return cls(parts, block, counts)

    @property
    def dealt(self) -> Blocks:
        """The batches in blocks."""
        ends = np.cumsum(self.counts)
        return Blocks(np.arange(ends[-1]), ends)

    def by_block(self, values: Sequence[Array]) -> Array:
        """From a mean a part ``(..., G)`` to one a block ``(..., K, G)``."""
        total = np.zeros((len(self.counts), *values[0].shape))
        for value, part, where in zip(values, self.parts, self.block, strict=True):
            total[where] += value * (part.images / self.counts[where])
        return np.moveaxis(total, 0, -2)


@dataclass(frozen=True)
class SummedLayer:
    """The sums over all images, about the ideal statistics.

    Attributes:
        population: the ideal statistics; of no image is anything kept.
        groups: by the number of groups.
    """

    population: Population
    groups: Mapping[int, Groups]
    _parts: Mapping[int, _Parts]

    @classmethod
    def of(cls, parts: Sequence[Mapping[int, LayerSums]], blocks: Sequence[int]) -> SummedLayer:
        """Bring sums over parts of the images together, in any order.

        Args:
            parts: at least one; by batch size, one among them, where there are such batches.
            blocks: the block of images that each belongs to.
        """
        known, block = np.unique(blocks, return_inverse=True)
        by_batch = {}
        for batch in sorted({batch for part in parts for batch in part}):
            some = [
                (part[batch], where)
                for part, where in zip(parts, block, strict=True)
                if batch in part
            ]
            of, where = zip(*some, strict=True)
            by_batch[batch] = _Parts.of(of, np.array(where), len(known))
        images = by_batch[1]
        first, dealt = images.parts[0], images.dealt
        channels = len(first.mean)
        means = [part.mean + part.groups[channels].monomials[0] for part in images.parts]
        mean = dealt.total(images.by_block(means))
        pooled = {}
        for count in first.groups:
            seconds = [second_moment(part, count, mean) for part in images.parts]
            centre = dealt.total(images.by_block(seconds))
            raw = [moved_monomials(part, count, mean, centre) for part in images.parts]
            pooled[count] = centre, images.by_block(raw)
        variance, raw_of_channels = pooled[channels]
        d, d_squared, q = raw_of_channels[0], raw_of_channels[1], raw_of_channels[4] + variance
        population = Population(
            mean=mean,
            variance=variance,
            between_variance=dealt.total(d_squared),
            epsilon=first.epsilon,
            captured=np.empty((2, channels, 0), np.float32),
            dealt=dealt,
            by_block=np.stack([d, q, d_squared]),
        )
        groups = {
            count: Groups.of_sums(population, pooled_mean(mean, count), *of)
            for count, of in pooled.items()
        }
        return cls(population, groups, by_batch)

    def sampling(self, count: int, batch: int) -> Sampling:
        """The statistics of batches of a size, with ``count`` groups.

        Raises:
            MethodError: no such sums were kept.
        """
        parts = self._parts.get(batch)
        if parts is None or count not in parts.parts[0].groups:
            few = parts is None and "; it takes as many images in each of twenty parts"
            raise MethodError(
                f"no sums were kept for batches of {batch} with {count} groups{few or ''}",
                "Ask for it when the images are captured, or run with --keep layers.",
            )
        groups, mean = self.groups[count], self.population.mean
        forms = ClosedForms.of(groups.moments, batch)
        expected = forms.expected_variance
        output = parts.by_block([moved_output(part, count, mean, expected) for part in parts.parts])
        if batch == 1:
            return joined(groups, 1, forms, estimate(groups, forms, output))
        raw = [moved_monomials(part, count, mean, expected) for part in parts.parts]
        drawn = _Drawn(groups, forms, parts.dealt, output, _observed(parts.by_block(raw)))
        return joined(groups, batch, forms, drawn.estimate(batch))


def _observed(raw: Array) -> Array:
    """Means of a, w, a², w² and a·w from monomials of batches, where w = V − E[V]."""
    a, a2, a3, a4, b, b2, ab, a2b = raw
    return np.stack([a, b - a2, a2, b2 - 2 * a2b + a4, ab - a3])


def _known(forms: ClosedForms, about: ClosedForms) -> Array:
    """What ``_observed`` would be of all batches that there can be, about the same points."""
    a = forms.expected_mean - about.expected_mean
    w = forms.expected_variance - about.expected_variance
    return np.stack(
        [
            a,
            w,
            forms.variance_of_mean + a**2,
            forms.variance_of_variance + w**2,
            forms.covariance + a * w,
        ]
    )


@dataclass(frozen=True)
class _Drawn:
    """Batches of several images, and what is known of all such batches.

    Attributes:
        groups, forms: of the method.
        dealt: the batches in blocks.
        output: what ``assemble`` takes, over each block, ``(4, K, C)``.
        observed: over each block, ``(5, K, G)``.
    """

    groups: Groups
    forms: ClosedForms
    dealt: Blocks
    output: Array
    observed: Array

    def estimate(self, batch: int) -> Estimate:
        """E[S], Var[S] and the residual."""
        population, without = self.groups.population, self.groups.without_one_block
        std = spread(reference_std(self.forms.expected_variance, population.epsilon), self._size)
        known = _known(self.forms, self.forms)
        value = assemble(
            self._mended(self.dealt.total(self.output), self.dealt.total(self.observed), known),
            std=std,
            variance=population.variance,
        )
        ideal = population.without_one_block
        if ideal is None or without is None:
            return Estimate(value)
        output, observed = (self.dealt.without_one(of) for of in (self.output, self.observed))
        forms = ClosedForms.of(without, batch)
        return Estimate(
            value,
            monte_carlo=assemble(
                self._mended(output, observed, known[:, None]),
                std=std,
                variance=population.variance,
            ),
            images=assemble(
                self._mended(output, observed, _known(forms, self.forms)),
                std=std,
                variance=ideal.variance,
                mean_shift=ideal.mean - population.mean,
                variance_shift=spread(
                    forms.expected_variance - self.forms.expected_variance, self._size
                ),
            ),
        )

    @property
    def _size(self) -> int:
        return self.groups.size

    def _mended(self, output: Array, observed: Array, known: Array) -> Array:
        """The means without what chance put into a, w and their products, to second order.

        From 1/S = 1/S0 − w/(2·S0³) + ..., with D = μ − E[M]:

            (S − S0)² = w²/(4·S0²) + ...
            E[e] = −a/S0 − D·w/(2·S0³) + ...
            E[e²] = a²/S0² + D·a·w/S0⁴ + (σ² + D²)·w²/(4·S0⁶) + ...
            E[e·(x − μ)] = −σ²·w/(2·S0³) + ...
        """
        population = self.groups.population
        std = reference_std(self.forms.expected_variance, population.epsilon)
        a, w, aa, ww, aw = spread(observed - known, self._size)
        offset = population.mean - spread(self.forms.expected_mean, self._size)
        std, variance = spread(std, self._size), population.variance
        with np.errstate(divide="ignore", invalid="ignore"):  # dead channels where ε = 0
            squared = ww / (4 * std**2)
            e = -a / std - offset * w / (2 * std**3)
            e_squared = (
                aa / std**2 + offset * aw / std**4 + (variance + offset**2) * ww / (4 * std**6)
            )
            e_along = -variance * w / (2 * std**3)
            mended: Array = output - np.stack([squared, e, e_squared, e_along])
        # Averages of squares are not below zero, whatever was taken away.
        mended[[0, 2]] = np.maximum(mended[[0, 2]], 0.0)
        return mended
