"""Batches of one image, as InstanceNorm, GroupNorm and LayerNorm have them: nothing is drawn."""

from __future__ import annotations

import numpy as np

from normstats import loops
from normstats.closed_forms import (
    ClosedForms,
    Groups,
    channels_of,
    pooled_images,
    some_groups,
    spread,
)
from normstats.population import Array
from normstats.std_and_residual import Estimate, assemble, reference_std


def exact(groups: Groups, forms: ClosedForms) -> Estimate:
    """The average over all images.

    Args:
        groups: the layer's channels, pooled as the method pools them.
        forms: of batches of one image.
    """
    return estimate(groups, forms, means_by_block(groups, forms))


def estimate(groups: Groups, forms: ClosedForms, by_block: Array) -> Estimate:
    """``exact``, from ``means_by_block``."""
    population, size = groups.population, groups.size
    std = spread(reference_std(forms.expected_variance, population.epsilon), size)
    value = assemble(population.dealt.total(by_block), std=std, variance=population.variance)
    ideal, pooled = population.without_one_block, groups.without_one_block
    if ideal is None or pooled is None:
        return Estimate(value)
    return Estimate(
        value,
        images=assemble(
            population.dealt.without_one(by_block),
            std=std,
            variance=ideal.variance,
            mean_shift=ideal.mean - population.mean,
            variance_shift=spread(
                ClosedForms.of(pooled, 1).expected_variance - forms.expected_variance, size
            ),
        ),
    )


def means_by_block(groups: Groups, forms: ClosedForms) -> Array:
    """What ``assemble`` takes, over each block of images: ``(4, K, C)``.

    Of the forms it takes E[M] and E[V], which may be any points near them.
    """
    population, size = groups.population, groups.size
    ends, epsilon = population.dealt.ends, population.epsilon
    expected = forms.expected_variance
    std = reference_std(expected, epsilon)
    offset = population.mean - spread(forms.expected_mean, size)
    means = np.empty((4, len(ends), population.channels))
    for some in some_groups(len(std), size, population.images):
        a, b = pooled_images(population, forms.expected_mean, some, size)
        if size == 1:
            means[:, :, some] = loops.of_single_channels(
                a, b, std[some], expected[some], epsilon, ends
            )
            continue
        b -= a * a
        functions = loops.group_functions(a, b, std[some], expected[some], epsilon)
        for channels in channels_of(some, size, population.images):
            d, q = population.slab(channels)
            first = channels.start - some.start * size
            means[:, :, channels] = loops.of_groups(
                d, q, offset[channels], first, size, functions, ends
            )
    return means
