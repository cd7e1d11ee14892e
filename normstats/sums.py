"""A layer's moments as sums over images, where the moments themselves are not kept.

The sums are of all that the closed forms need, and of all that S = √(V + ε) and the residual
need: O(C) numbers, however many the images. They are means about fixed points, which each part of
the images chooses from its own first ones, so that nothing is lost to cancellation; brought to
common points they can be added in any order. Source: Pébay 2008, Formulas for robust, one-pass
parallel computation of covariances and arbitrary-order statistical moments; the same algebra
serves e of ``std_and_residual``, which is linear in x.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normstats import loops
from normstats.blocks import Array
from normstats.closed_forms import (
    ClosedForms,
    Groups,
    PooledMoments,
    pool,
    pooled_images,
    some_groups,
    spread,
)
from normstats.errors import MethodError
from normstats.methods import Method
from normstats.moments import LayerMoments
from normstats.population import Population
from normstats.single_images import means_by_block
from normstats.std_and_residual import reference_std


@dataclass(frozen=True)
class GroupSums:
    """Means over images for one number of groups G.

    Attributes:
        centre: the point that b is taken from, ``(G,)``.
        expected: the variance that S0² is, less ε, ``(G,)``.
        monomials: of a and b as ``loops.monomials`` has them, ``(8, G)``.
        output: what ``assemble`` takes, of batches of one image, ``(4, C)``.
    """

    centre: Array
    expected: Array
    monomials: Array
    output: Array


@dataclass(frozen=True)
class LayerSums:
    """Means over some images of one layer.

    Attributes:
        images: how many.
        epsilon: the layer's ε.
        mean: the point that m is taken from, ``(C,)``.
        groups: by the number of groups; C is always among them.
    """

    images: int
    epsilon: float
    mean: Array
    groups: Mapping[int, GroupSums]

    @classmethod
    def of(
        cls, layer: LayerMoments, groups: Iterable[int], about: LayerSums | None = None
    ) -> LayerSums:
        """Sum over the images of a layer.

        Args:
            layer: some images, one at least.
            groups: numbers that divide C.
            about: sums over other images, whose fixed points are taken; its own means otherwise.
        """
        population = Population.of(layer)
        if about is None:
            own = {count: Groups.of(population, count) for count in {*groups, layer.channels}}
            points = {
                count: (of.moments.second_moment, _divisible(of.moments, layer.epsilon))
                for count, of in own.items()
            }
        else:
            population = replace(population, mean=about.mean)
            points = {count: (of.centre, of.expected) for count, of in about.groups.items()}
        sums = {count: _group_sums(population, count, *at) for count, at in points.items()}
        return cls(layer.images, layer.epsilon, population.mean, sums)

    def plus(self, other: LayerSums) -> LayerSums:
        """The sums over the images of both.

        Args:
            other: about the same fixed points.
        """
        images = self.images + other.images
        share = other.images / images
        groups = {
            count: GroupSums(
                of.centre,
                of.expected,
                of.monomials + share * (other.groups[count].monomials - of.monomials),
                of.output + share * (other.groups[count].output - of.output),
            )
            for count, of in self.groups.items()
        }
        return LayerSums(images, self.epsilon, self.mean, groups)

    def tensors(self) -> dict[str, Array]:
        """What a file holds of it."""
        found = {"mean": self.mean, "images": np.array([self.images], np.float64)}
        for count, of in self.groups.items():
            for what in ("centre", "expected", "monomials", "output"):
                found[f"{count}/{what}"] = getattr(of, what)
        return found

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]], epsilon: float) -> LayerSums:
        """The inverse of ``tensors``."""
        by_count: dict[int, dict[str, Array]] = {}
        for key, values in tensors.items():
            count, _, what = key.rpartition("/")
            if count:
                by_count.setdefault(int(count), {})[what] = values
        groups = {count: GroupSums(**by_count[count]) for count in sorted(by_count)}
        return cls(int(tensors["images"][0]), epsilon, tensors["mean"], groups)


def of_batches(layer: LayerMoments, batch: int) -> LayerMoments:
    """Disjoint batches of images that follow each other, each as one image: ``(N // B, C)``.

    What a method makes of a batch is what it makes of an image with the batch's mean and pooled
    variance.
    """
    if batch == 1:
        return layer
    count, channels = layer.images // batch, layer.channels
    shape = (count, batch, channels)
    mean, variance = (
        np.asarray(values[: count * batch], np.float64).reshape(shape)
        for values in (layer.mean, layer.variance)
    )
    pooled = mean.mean(axis=1)
    within = ((mean - pooled[:, None]) ** 2).mean(axis=1)
    return replace(layer, mean=pooled, variance=variance.mean(axis=1) + within)


def group_counts(methods: Iterable[Method], channels: int) -> dict[int, set[int]]:
    """The numbers of groups that some methods have in a layer of C channels, by batch size.

    Of single images all of them, for the closed forms of every batch size.
    """
    counts = {1: {channels}}
    for method in methods:
        if method.has_own_statistics or method.batch is None:
            continue
        try:
            groups = method.groups_in(channels)
        except MethodError:  # told when the method's turn comes
            continue
        counts[1].add(groups)
        counts.setdefault(method.batch, {channels}).add(groups)
    return counts


def pooled_mean(mean: Array, count: int) -> Array:
    """Mean over the channels of each of ``count`` groups, ``(G,)``."""
    return pool(mean, len(mean) // count)


def _group_sums(population: Population, count: int, centre: Array, expected: Array) -> GroupSums:
    """Means about the population's mean and these points."""
    size, images = population.channels // count, population.images
    mean, ends = pool(population.mean, size), np.array([images])
    monomials = np.empty((8, 1, count))
    for some in some_groups(count, size, images):
        a, b = pooled_images(population, mean, some, size)
        monomials[:, :, some] = loops.monomials(a, b, centre[some], ends)
    zero = np.zeros(count)
    points = ClosedForms(mean, zero, expected, zero, zero)
    groups = Groups.of_sums(population, mean, centre, monomials)
    output = means_by_block(groups, points)
    return GroupSums(centre, expected, monomials[:, 0], output[:, 0])


def second_moment(part: LayerSums, count: int, mean: Array) -> Array:
    """mean(b) of the part's images about another mean, ``(G,)``."""
    of, shift = part.groups[count], pooled_mean(mean - part.mean, count)
    return np.asarray(of.centre + of.monomials[4] - 2 * shift * of.monomials[0] + shift**2)


def moved_monomials(part: LayerSums, count: int, mean: Array, centre: Array) -> Array:
    """The monomials about other points, ``(8, G)``: a − x for a, b − 2xa + y for b."""
    of, x = part.groups[count], pooled_mean(mean - part.mean, count)
    y = of.centre + x**2 - centre
    a, a2, a3, a4, b, b2, ab, a2b = of.monomials
    return np.stack(
        [
            a - x,
            a2 - 2 * x * a + x**2,
            a3 - 3 * x * a2 + 3 * x**2 * a - x**3,
            a4 - 4 * x * a3 + 6 * x**2 * a2 - 4 * x**3 * a + x**4,
            b - 2 * x * a + y,
            b2 + 4 * x**2 * a2 + y**2 - 4 * x * ab + 2 * y * b - 4 * x * y * a,
            ab - 2 * x * a2 + y * a - x * (b - 2 * x * a + y),
            a2b
            - 2 * x * a3
            + y * a2
            - 2 * x * (ab - 2 * x * a2 + y * a)
            + x**2 * (b - 2 * x * a + y),
        ]
    )


def moved_output(part: LayerSums, count: int, mean: Array, expected: Array) -> Array:
    """What ``assemble`` takes about other points, ``(4, C)``.

    e = ŷ − (x − E[M])/S0 changes by p·(x − μ) + r, where μ is the part's point.
    """
    channels = len(mean)
    of, size = part.groups[count], channels // count
    squared, e, e_squared, e_along = of.output
    of_channels = part.groups[channels]
    x = of_channels.monomials[0]
    x_squared = of_channels.monomials[4] + of_channels.centre
    of_v = of.centre + of.monomials[4] - of.monomials[1]  # E[V]
    old, new = reference_std(of.expected, part.epsilon), reference_std(expected, part.epsilon)
    with np.errstate(divide="ignore", invalid="ignore"):  # dead channels where ε = 0
        v_shift = spread(of_v - of.expected, size)
        old, new = spread(old, size), spread(new, size)
        s_shift = (v_shift - squared) / (2 * old)
        p = 1 / old - 1 / new
        r = (part.mean - spread(pooled_mean(part.mean, count), size)) / old
        r -= (part.mean - spread(pooled_mean(mean, count), size)) / new
        along = e_along + p * x_squared + r * x
        moved_e = e + p * x + r
        return np.stack(
            [
                squared + 2 * (old - new) * s_shift + (old - new) ** 2,
                moved_e,
                e_squared + p**2 * x_squared + r**2 + 2 * p * e_along + 2 * r * e + 2 * p * r * x,
                along - (mean - part.mean) * moved_e,
            ]
        )


def _divisible(moments: PooledMoments, epsilon: float) -> Array:
    """E[V] of one image, or one where that cannot be divided by."""
    expected = ClosedForms.of(moments, 1).expected_variance
    return np.asarray(np.where(expected + epsilon > 0, np.maximum(expected, 0.0), 1.0))
