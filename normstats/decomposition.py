"""The error of a method's statistics, split into bias² and variance: per channel, then per layer.

``error`` is the expected squared 2-Wasserstein distance between N(M, V) and N(μ, σ²), in units
of σ²; for per-channel methods it is the mean squared error of the normalized output.
``residual`` is what no learned scale and shift per channel can mend.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from normstats.estimators import Sampling
from normstats.population import Array, Population

TERMS = (
    "mean_bias_sq",
    "mean_variance",
    "var_bias_sq",
    "var_variance",
    "std_bias_sq",
    "std_variance",
    "error",
    "residual",
)


@dataclass(frozen=True)
class Decomposition:
    """The parts of the error, one value a channel: ``(C,)``.

    With s² = σ² + ε, M and V the method's mean and variance and S = √(V + ε):

    Attributes:
        mean_bias_sq: (E[M] − μ)²/s².
        mean_variance: Var[M]/s².
        var_bias_sq: (E[V] − σ²)²/s⁴.
        var_variance: Var[V]/s⁴.
        std_bias_sq: (E[S] − s)²/s².
        std_variance: Var[S]/s².
        residual: 1 − corr(ŷ, y)², the share of the ideal output's variance that no per-channel
            affine recovers.
        replicates: the same with one block of the resamples left out in turn, ``(K, C)`` for
            what was resampled; None where everything is exact.
    """

    mean_bias_sq: Array
    mean_variance: Array
    var_bias_sq: Array
    var_variance: Array
    std_bias_sq: Array
    std_variance: Array
    residual: Array
    replicates: Decomposition | None = None

    @property
    def error(self) -> Array:
        """mean_bias_sq + mean_variance + std_bias_sq + std_variance, of σ²."""
        return self.mean_bias_sq + self.mean_variance + self.std_bias_sq + self.std_variance

    def average(self, term: str, weights: Array) -> float:
        """A layer's value: Σ w_c · value_c over its live channels."""
        return float(_average(getattr(self, term), weights))

    def standard_error(self, term: str, weights: Array) -> float:
        """The Monte-Carlo standard error of ``average`` (jackknife); zero where it is exact."""
        if self.replicates is None:
            return 0.0
        values = _average(getattr(self.replicates, term), weights)
        return float(np.sqrt((values.size - 1) * np.var(values))) if values.ndim else 0.0


def decompose(population: Population, sampling: Sampling) -> Decomposition:
    """Split the error of a method whose statistics are distributed as ``sampling`` says."""
    with np.errstate(divide="ignore", invalid="ignore"):  # dead channels where ε = 0
        s_squared = population.variance + population.epsilon
        terms = Decomposition(
            mean_bias_sq=(sampling.expected_mean - population.mean) ** 2 / s_squared,
            mean_variance=sampling.variance_of_mean / s_squared,
            var_bias_sq=((sampling.expected_variance - population.variance) / s_squared) ** 2,
            var_variance=sampling.variance_of_variance / s_squared**2,
            std_bias_sq=(sampling.std.expected_std - population.std) ** 2 / s_squared,
            std_variance=sampling.std.variance_of_std / s_squared,
            residual=sampling.std.residual,
        )
    if sampling.std_replicates is None:
        return terms
    replicates = decompose(
        population, replace(sampling, std=sampling.std_replicates, std_replicates=None)
    )
    return replace(terms, replicates=replicates)


def _average(values: Array, weights: Array) -> Array:
    """Weighted mean over the last axis; what has no weight may be anything, NaN included."""
    return np.asarray(np.where(weights == 0, 0.0, values) @ weights)
