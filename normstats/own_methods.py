"""Methods of one's own: the sampling distribution of whatever a function gives.

Nothing is known of the function, so batches are drawn and it is asked. What is known of its
batches, the closed forms of each channel's own mean and variance, takes Monte-Carlo noise away
(control variates) and says to first order how another sample of images would have changed the
result.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from normstats.closed_forms import ClosedForms, Groups
from normstats.control_variates import (
    DRAW_BLOCKS,
    inverse,
    mended,
    quadratic,
    quadratic_expected,
    quadratic_scale,
    without_one_of_draws,
)
from normstats.errors import MethodError, NormstatsError
from normstats.estimators import Sampling
from normstats.methods import Method
from normstats.moments import LayerMoments
from normstats.population import Array, Ideal, Population
from normstats.resampling import Resamples
from normstats.std_and_residual import StdAndResidual

_VALUES_AT_ONCE = 4_000_000  # of batches' means, so that memory stays small


def sample_own(
    method: Method, layer: LayerMoments, channels: Groups, resamples: Resamples
) -> Sampling:
    """The sampling distribution of a method of one's own.

    Exact for batches of one image, drawn for larger ones.

    Args:
        method: gives M and V of a batch.
        layer: the captured moments.
        channels: the layer's channels, each a group of its own.
        resamples: the batches to draw.

    Raises:
        MethodError: what the method gives are no means and variances.
    """
    assert method.batch is not None
    population, batch = channels.population, method.batch
    if batch > 1:
        return _drawn(method, layer, channels, resamples.members(batch))
    blocks = population.dealt
    by_block = np.stack(
        [
            _functions(method, layer, population, blocks.members(block)[:, None])[0].mean(axis=-1)
            for block in range(len(blocks.ends))
        ],
        axis=1,
    ).T
    whole = _assemble(blocks.total(by_block), population)
    if not population.has_blocks:
        return whole
    without = blocks.without_one(by_block)
    return replace(whole, images=_assemble(without, population, population.without_one_block))


def _drawn(
    method: Method, layer: LayerMoments, channels: Groups, members: NDArray[np.int64]
) -> Sampling:
    """From the images of each batch, ``(n, B)``; some of the batches at a time."""
    population, batch = channels.population, members.shape[1]
    forms = ClosedForms.of(channels.moments, batch)
    unit = inverse(quadratic_scale(forms.variance_of_mean, forms.variance_of_variance))
    blocks = []
    for some in np.split(members, DRAW_BLOCKS):
        y, d, q = _functions(method, layer, population, some)
        x = quadratic(d, q - d**2 - forms.expected_variance[:, None])
        x *= unit[..., None]
        transposed = x.swapaxes(-1, -2) / len(some)
        blocks.append((x.mean(axis=-1), y.mean(axis=-1), x @ transposed, y @ transposed))
    x_blocks, y_blocks, x_x, y_x = (np.stack(parts, axis=1) for parts in zip(*blocks, strict=True))
    means, slope = mended(
        x_blocks,
        y_blocks,
        x_x.mean(axis=1),
        y_x.mean(axis=1).swapaxes(-1, -2),
        _expected(forms, forms) * unit,
    )
    by_block = means.transpose(2, 1, 0)
    total = by_block.mean(axis=1)
    return replace(
        _assemble(total, population),
        monte_carlo=_assemble(without_one_of_draws(by_block), population),
        images=_without_images(total, slope * unit[..., None], forms, channels, batch),
    )


def _expected(forms: ClosedForms, about: ClosedForms) -> Array:
    """Expectations of ``quadratic`` of M and V, taken from E[M] and E[V] of ``about``."""
    return quadratic_expected(
        forms.variance_of_mean,
        forms.covariance,
        forms.variance_of_variance,
        forms.expected_mean - about.expected_mean,
        forms.expected_variance - about.expected_variance,
    )


def _functions(
    method: Method, layer: LayerMoments, population: Population, members: NDArray[np.int64]
) -> tuple[Array, Array, Array]:
    """What is averaged over batches ``(C, 9, n)``, and each batch's d and q, ``(C, n)``.

    M − μ, V − σ², S − s, each with its square; then the batch's mean of e, e² and e·(x − μ), where
    ŷ = (x − μ)/s + e. As in ``resampling``, a residual of ŷ is one of e.
    """
    functions = np.empty((population.channels, 11, len(members)))
    step = max(1, _VALUES_AT_ONCE // (members.shape[1] * population.channels))
    for start in range(0, len(members), step):
        some = members[start : start + step]
        mean, variance = _statistics(method, layer, some)
        deviation = population.deviation[some].mean(axis=1)
        second_moment = population.second_moment[some].mean(axis=1)
        std, ideal_std = np.sqrt(variance + population.epsilon), population.std
        with np.errstate(divide="ignore", invalid="ignore"):  # a constant channel where ε = 0
            inverse = 1 / std - 1 / ideal_std
            shift = (mean - population.mean) / std
        values = (
            mean - population.mean,
            (mean - population.mean) ** 2,
            variance - population.variance,
            (variance - population.variance) ** 2,
            std - ideal_std,
            (std - ideal_std) ** 2,
            deviation * inverse - shift,
            second_moment * inverse**2 - 2 * deviation * inverse * shift + shift**2,
            second_moment * inverse - deviation * shift,
            deviation,
            second_moment,
        )
        for index, of_batches in enumerate(values):
            functions[:, index, start : start + step] = of_batches.T
    return functions[:, :9], functions[:, 9], functions[:, 10]


def _statistics(
    method: Method, layer: LayerMoments, members: NDArray[np.int64]
) -> tuple[Array, Array]:
    """M and V of each batch, ``(n, C)``.

    Raises:
        MethodError: what the method gives are no means and variances.
    """
    image_mean, image_variance = (
        v.astype(np.float64) for v in (layer.mean[members], layer.variance[members])
    )
    try:
        with np.errstate(all="ignore"):  # what is not finite is told below
            found = method.statistics(image_mean, image_variance, layer)
    except NormstatsError:
        raise
    except Exception as error:  # whatever a function of the user's may raise
        raise MethodError(
            f"{method} failed with {type(error).__name__}: {error}",
            "It is given arrays (..., B, C) and the layer, whose stored statistics may be None.",
        ) from error
    shape = (len(members), layer.channels)
    try:
        mean, variance = (np.broadcast_to(np.asarray(v, dtype=np.float64), shape) for v in found)
    except (TypeError, ValueError) as error:
        raise MethodError(
            f"{method} does not give a mean and a variance for each batch and channel: {error}",
            f"Return two arrays of shape (..., C), here {shape}; images are the axis before.",
        ) from error
    if not (np.isfinite(mean).all() and np.isfinite(variance).all() and (variance >= 0).all()):
        raise MethodError(
            f"{method} gives values that are not finite, or variances below zero.",
            "Look at what it does where a channel is constant.",
        )
    return mean, variance


def _without_images(
    total: Array, slope: Array, forms: ClosedForms, channels: Groups, batch: int
) -> Sampling | None:
    """Without each block of images, to first order: what the controls' expectations do to it."""
    ideal, pooled = channels.population.without_one_block, channels.without_one_block
    if ideal is None or pooled is None:
        return None
    change = _expected(ClosedForms.of(pooled, batch), forms) - _expected(forms, forms)
    moved = total[:, None] + np.einsum("kcx,cxf->fkc", change, slope)
    return _assemble(moved, channels.population, ideal)


def _assemble(means: Array, population: Population, ideal: Ideal | None = None) -> Sampling:
    """The sampling distribution from the expectations of ``_functions``.

    Args:
        means: ``(9, ..., C)``.
        population: that the functions are measured from.
        ideal: that of the images the expectations are over, if these are others.
    """
    mean, mean_sq, variance, variance_sq, std, std_sq, e, e_sq, e_along = means
    now = population if ideal is None else ideal
    with np.errstate(divide="ignore", invalid="ignore"):  # dead channels
        e_along = e_along - e * (now.mean - population.mean)
        variance_of_e = np.maximum(e_sq - e**2, 0.0)
        unexplained = variance_of_e - e_along**2 / now.variance
        scale = population.std
        of_output = now.variance / scale**2 + 2 * e_along / scale + variance_of_e
        residual = np.maximum(unexplained / of_output, 0.0)
    return Sampling(
        expected_mean=population.mean + mean,
        variance_of_mean=np.maximum(mean_sq - mean**2, 0.0),
        expected_variance=population.variance + variance,
        variance_of_variance=np.maximum(variance_sq - variance**2, 0.0),
        std=StdAndResidual(population.std + std, np.maximum(std_sq - std**2, 0.0), residual),
    )
