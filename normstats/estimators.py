"""The sampling distribution of a method's mean and standard deviation, channel by channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from normstats.closed_forms import ClosedForms, Groups, spread
from normstats.moments import FloatArray
from normstats.population import Array
from normstats.resampling import Resamples, StdAndResidual, exact, resampled


@dataclass(frozen=True)
class Sampling:
    """How a method's mean M, variance V and S = √(V + ε) are distributed; ``(C,)`` each.

    Attributes:
        expected_mean: E[M].
        variance_of_mean: Var[M], of σ².
        expected_variance: E[V].
        variance_of_variance: Var[V], of σ⁴.
        std: E[S], Var[S] and the residual.
        std_replicates: the same, ``(K, C)``, with one block of the resamples left out in turn;
            None where ``std`` is exact.
    """

    expected_mean: Array
    variance_of_mean: Array
    expected_variance: Array
    variance_of_variance: Array
    std: StdAndResidual
    std_replicates: StdAndResidual | None = None


def sample(groups: Groups, batch: int, resamples: Resamples) -> Sampling:
    """The sampling distribution of the statistics of batches of ``batch`` images.

    M and V are closed forms. S and the residual are exact for batches of one image, resampled
    for larger ones.

    Args:
        groups: the layer's channels, pooled as the method pools them.
        batch: B.
        resamples: the batches to draw.
    """
    forms = ClosedForms.of(groups, batch)
    if batch == 1:
        std, replicates = exact(groups, forms), None
    else:
        std, replicates = resampled(groups, forms, batch, resamples)
    return Sampling(
        expected_mean=spread(forms.expected_mean, groups.size),
        variance_of_mean=spread(forms.variance_of_mean, groups.size),
        expected_variance=spread(forms.expected_variance, groups.size),
        variance_of_variance=spread(forms.variance_of_variance, groups.size),
        std=std,
        std_replicates=replicates,
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
    return Sampling(
        expected_mean=np.asarray(mean, dtype=np.float64),
        variance_of_mean=zero,
        expected_variance=stored,
        variance_of_variance=zero,
        std=StdAndResidual(np.sqrt(stored + epsilon), variance_of_std=zero, residual=zero),
    )
