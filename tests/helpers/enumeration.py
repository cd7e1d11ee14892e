"""The truth, the long way: every batch of a small set of images, from its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from normstats.closed_forms import Groups
from normstats.estimators import Sampling, sample
from normstats.methods import Method
from normstats.moments import LayerMoments
from normstats.population import Population
from normstats.resampling import Resamples

Array = NDArray[np.float64]


def make_pixels(
    images: int = 4, channels: int = 6, size: int = 3, seed: int = 0, spread: float = 1.0
) -> Array:
    """Images ``(N, C, H, W)`` whose channels differ in mean, scale and between-image variance."""
    rng = np.random.default_rng(seed)
    per_image = rng.normal(size=(images, channels, 1, 1)) * rng.uniform(0.3, 2, (1, channels, 1, 1))
    scale = np.exp(rng.normal(size=(images, channels, 1, 1)) * 0.5 * spread)
    offset = rng.normal(size=(1, channels, 1, 1)) * 2 * spread
    return offset + per_image + scale * rng.gamma(2.0, size=(images, channels, size, size))


def moments_of(pixels: Array, **fields: object) -> LayerMoments:
    """What a capture of these pixels would hold."""
    return LayerMoments(
        mean=pixels.mean(axis=(2, 3)),
        variance=pixels.var(axis=(2, 3)),
        spatial=pixels.shape[2:],
        **fields,  # type: ignore[arg-type]
    )


@dataclass(frozen=True)
class Truth:
    """Expectations over all N^B equally likely batches; ``(C,)`` each."""

    expected_mean: Array
    variance_of_mean: Array
    expected_variance: Array
    variance_of_variance: Array
    expected_std: Array
    variance_of_std: Array
    residual: Array
    output_mse: Array


def enumerate_batches(pixels: Array, batch: int, groups: int, epsilon: float) -> Truth:
    """Normalize every batch of ``batch`` images with its own statistics, and look at it all."""
    images, channels = pixels.shape[:2]
    size = channels // groups
    mean = pixels.mean(axis=(0, 2, 3))
    std = np.sqrt(pixels.var(axis=(0, 2, 3)) + epsilon)
    ideal = (pixels - mean[:, None, None]) / std[:, None, None]
    means, variances, outputs, targets = [], [], [], []
    for members in product(range(images), repeat=batch):
        values = pixels[list(members)]
        of_group = values.reshape(batch, groups, size, -1)
        m = np.repeat(of_group.mean(axis=(0, 2, 3)), size)
        v = np.repeat(of_group.var(axis=(0, 2, 3)), size)
        means.append(m)
        variances.append(v)
        outputs.append((values - m[:, None, None]) / np.sqrt(v + epsilon)[:, None, None])
        targets.append(ideal[list(members)])
    m, v = np.array(means), np.array(variances)
    s = np.sqrt(v + epsilon)
    output, target = np.array(outputs), np.array(targets)
    correlation = [
        np.corrcoef(output[:, :, c].ravel(), target[:, :, c].ravel())[0, 1] for c in range(channels)
    ]
    return Truth(
        expected_mean=m.mean(axis=0),
        variance_of_mean=m.var(axis=0),
        expected_variance=v.mean(axis=0),
        variance_of_variance=v.var(axis=0),
        expected_std=s.mean(axis=0),
        variance_of_std=s.var(axis=0),
        residual=1 - np.array(correlation) ** 2,
        output_mse=((output - target) ** 2).mean(axis=(0, 1, 3, 4)),
    )


def sample_of(population: Population, method: str, resamples: Resamples) -> Sampling:
    """The sampling distribution of a method that is written as on the command line."""
    parsed = Method.parse(method)
    assert parsed.batch is not None
    groups = Groups.of(population, parsed.groups_in(population.channels))
    return sample(groups, parsed.batch, resamples)
