"""The error of a method's statistics, split into bias² and variance: per channel, then per layer.

``error`` is the expected squared 2-Wasserstein distance between N(M, V) and N(μ, σ²), in units
of σ²; for per-channel methods it is the mean squared error of the normalized output.
``residual`` is what no learned scale and shift per channel can mend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from normstats.estimators import Sampling
from normstats.population import Array, Ideal, Population

if TYPE_CHECKING:
    import pandas as pd

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
        monte_carlo: the same without a block of the drawn batches in turn, ``(K, C)`` for what
            was drawn; None where everything is exact.
        images: the same without a block of the images in turn, ``(K, C)``; None where the
            population has no blocks.
    """

    mean_bias_sq: Array
    mean_variance: Array
    var_bias_sq: Array
    var_variance: Array
    std_bias_sq: Array
    std_variance: Array
    residual: Array
    monte_carlo: Decomposition | None = None
    images: Decomposition | None = None

    @property
    def error(self) -> Array:
        """mean_bias_sq + mean_variance + std_bias_sq + std_variance, of σ²."""
        return self.mean_bias_sq + self.mean_variance + self.std_bias_sq + self.std_variance

    def average(self, term: str, weights: Array) -> Array:
        """A layer's value: Σ w_c · value_c over its live channels; ``(K,)`` of K replicates."""
        values = getattr(self, term)
        if not weights.all():  # what has no weight may be anything, NaN included
            values = np.where(weights == 0, 0.0, values)
        return np.asarray(values @ weights)


@overload
def bias_and_variance(terms: pd.DataFrame) -> tuple[pd.Series[float], pd.Series[float]]: ...


@overload
def bias_and_variance(terms: Mapping[str, float]) -> tuple[float, float]: ...


def bias_and_variance(terms: Any) -> tuple[Any, Any]:
    """The two parts of the error: of the mean and of the standard deviation together, of σ².

    Args:
        terms: by name; a table of them, or single values.
    """
    return (
        terms["mean_bias_sq"] + terms["std_bias_sq"],
        terms["mean_variance"] + terms["std_variance"],
    )


def decompose(population: Population, sampling: Sampling) -> Decomposition:
    """Split the error of a method whose statistics are distributed as ``sampling`` says."""
    terms = _decompose(population, sampling)
    if sampling.monte_carlo is not None:
        terms = replace(terms, monte_carlo=_decompose(population, sampling.monte_carlo))
    if sampling.images is not None and population.without_one_block is not None:
        images = _decompose(population.without_one_block, sampling.images)
        terms = replace(terms, images=images)
    return terms


def _decompose(ideal: Ideal, sampling: Sampling) -> Decomposition:
    with np.errstate(divide="ignore", invalid="ignore"):  # dead channels where ε = 0
        s_squared = ideal.variance + ideal.epsilon
        return Decomposition(
            mean_bias_sq=(sampling.expected_mean - ideal.mean) ** 2 / s_squared,
            mean_variance=sampling.variance_of_mean / s_squared,
            var_bias_sq=((sampling.expected_variance - ideal.variance) / s_squared) ** 2,
            var_variance=sampling.variance_of_variance / s_squared**2,
            std_bias_sq=(sampling.std.expected_std - ideal.std) ** 2 / s_squared,
            std_variance=sampling.std.variance_of_std / s_squared,
            residual=sampling.std.residual,
        )
