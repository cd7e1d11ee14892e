"""The sampling distribution of a method's mean and standard deviation, channel by channel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from normstats.closed_forms import ClosedForms, Groups, spread
from normstats.drawn_batches import resampled
from normstats.moments import FloatArray
from normstats.population import Array
from normstats.resampling import Resamples
from normstats.single_images import exact
from normstats.std_and_residual import Estimate, StdAndResidual


@dataclass(frozen=True)
class Sampling:
    """How a method's mean M, variance V and S = √(V + ε) are distributed; ``(C,)`` each.

    Attributes:
        expected_mean: E[M].
        variance_of_mean: Var[M], of σ².
        expected_variance: E[V].
        variance_of_variance: Var[V], of σ⁴.
        std: E[S], Var[S] and the residual.
        monte_carlo: the same without a block of the drawn batches in turn, ``(K, C)``; None where
            nothing was drawn.
        images: the same without a block of the images in turn, ``(K, C)``; None where the
            population has no blocks.
    """

    expected_mean: Array
    variance_of_mean: Array
    expected_variance: Array
    variance_of_variance: Array
    std: StdAndResidual
    monte_carlo: Sampling | None = None
    images: Sampling | None = None


def sample(groups: Groups, batch: int, resamples: Resamples) -> Sampling:
    """``samples`` of one batch size."""
    return samples(groups, [batch], resamples)[batch]


def samples(groups: Groups, batches: Iterable[int], resamples: Resamples) -> dict[int, Sampling]:
    """The sampling distribution of the statistics of batches of each size.

    M and V are closed forms. S and the residual are exact for batches of one image, resampled
    for larger ones; the same, whatever other sizes are asked for.

    Args:
        groups: the layer's channels, pooled as the method pools them.
        batches: B.
        resamples: the batches to draw.
    """
    forms = {batch: ClosedForms.of(groups.moments, batch) for batch in sorted(set(batches))}
    drawn = {batch: of_batch for batch, of_batch in forms.items() if batch > 1}
    found = resampled(groups, drawn, resamples) if drawn else {}
    if 1 in forms:
        found[1] = exact(groups, forms[1])
    return {batch: joined(groups, batch, forms[batch], found[batch]) for batch in forms}


def joined(groups: Groups, batch: int, forms: ClosedForms, found: Estimate) -> Sampling:
    """The closed forms of batches of a size, and what was found of S and the residual."""
    whole = _sampling(forms, found.value, groups.size)
    if found.monte_carlo is not None:
        whole = replace(whole, monte_carlo=replace(whole, std=found.monte_carlo))
    if found.images is not None and groups.without_one_block is not None:
        without = ClosedForms.of(groups.without_one_block, batch)
        whole = replace(whole, images=_sampling(without, found.images, groups.size))
    return whole


def _sampling(forms: ClosedForms, std: StdAndResidual, size: int) -> Sampling:
    """A value a channel from closed forms with a value a group."""
    return Sampling(
        expected_mean=spread(forms.expected_mean, size),
        variance_of_mean=spread(forms.variance_of_mean, size),
        expected_variance=spread(forms.expected_variance, size),
        variance_of_variance=spread(forms.variance_of_variance, size),
        std=std,
    )


def constant(mean: FloatArray, variance: FloatArray, epsilon: float) -> Sampling:
    """A method that gives the same statistics to every batch, such as ``running``.

    A constant scale and shift is what γ and β absorb, so its residual is zero.

    Args:
        mean: M, ``(C,)``.
        variance: V, biased, ``(C,)``.
        epsilon: the layer's ε.
    """
    stored = np.asarray(variance, dtype=np.float64)
    zero: Array = np.zeros(stored.shape)
    sampling = Sampling(
        expected_mean=np.asarray(mean, dtype=np.float64),
        variance_of_mean=zero,
        expected_variance=stored,
        variance_of_variance=zero,
        std=StdAndResidual(np.sqrt(stored + epsilon), variance_of_std=zero, residual=zero),
    )
    return replace(sampling, images=sampling)  # no image changes it
