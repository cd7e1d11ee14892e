"""The best mix of a noisy and a biased estimate: BatchNorm with another method's statistics.

BatchNorm's statistics of a batch of B are noisy and nearly without bias. Stored statistics have no
noise and may be biased; those of GroupNorm have less noise and more bias. A mix of both, as of
Schneider et al. (2020),

    M = (1 − λ)·M_bn + λ·M_other      V = (1 − λ)·V_bn + λ·V_other

is at its best λ at least as good as either. One λ serves all channels of a layer; it is the
shrinkage of James and Stein (1961): many means (one a channel), each measured with noise, are
drawn towards a point that is known beforehand, further the noisier they are. For the mean and
``running`` it is λ = noise/(noise + bias²), summed over channels. Schneider et al. write it as a
number n of stored pseudo-samples against B new ones, λ = n/(n + B).

A method of one image, such as GroupNorm, is applied to the image that is normalized, which is one
of the batch's B: both statistics then share its values.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from normstats.closed_forms import ClosedForms, Groups, PooledMoments, pool, spread
from normstats.control_variates import calibrated, quadratic, quadratic_expected
from normstats.errors import MethodError
from normstats.methods import Method, stored_statistics
from normstats.moments import LayerMoments
from normstats.population import Array, Population, Weighting, channel_weights
from normstats.resampling import averaging, check_batches

DRAWS = 128
_GRID = np.linspace(0, 1, 9)  # the error need not have one minimum only
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Mix:
    """The best mix of BatchNorm with another method, in one layer.

    Attributes:
        share_of_other: λ with the least error.
        share_closed_form: λ with the least error where (S − s)² is taken to be (V − σ²)²/(4·s²),
            which makes the error a parabola in λ.
        share_for_mean: λ with the least error of the mean alone, a closed form.
        pseudo_samples: B·λ/(1 − λ), how many images the other method is worth; infinite at λ = 1.
        error: E[(M − μ)² + (S − s)²]/s² at λ, of σ².
        error_of_batch_norm: the same at 0.
        error_of_other: the same at 1.
        saving: the share of the error that the mix takes off the better of the two.
    """

    share_of_other: float
    share_closed_form: float
    share_for_mean: float
    pseudo_samples: float
    error: float
    error_of_batch_norm: float
    error_of_other: float
    saving: float


UNKNOWN = Mix(*[np.nan] * 8)


@dataclass(frozen=True)
class _Errors:
    """E[x²], E[x·y] and E[y²] of BatchNorm's error x and the other's y, ``(C,)`` each."""

    batch_norm: Array
    product: Array
    other: Array

    def at(self, share: float) -> Array:
        """E[((1 − λ)·x + λ·y)²]."""
        rest = 1 - share
        return rest**2 * self.batch_norm + 2 * rest * share * self.product + share**2 * self.other

    def plus(self, other: _Errors, factor: Array) -> _Errors:
        """These and ``factor`` times the other ones."""
        return _Errors(
            self.batch_norm + factor * other.batch_norm,
            self.product + factor * other.product,
            self.other + factor * other.other,
        )

    def vertex(self, weights: Array) -> float:
        """λ with the least weighted sum of ``at``, between 0 and 1; 0 where it makes no odds."""
        above = float(((self.batch_norm - self.product) * weights).sum())
        curvature = float(((self.batch_norm + self.other - 2 * self.product) * weights).sum())
        return float(np.clip(above / curvature, 0.0, 1.0)) if curvature > 0 else 0.0


@dataclass(frozen=True)
class OtherMethod:
    """The method that BatchNorm is mixed with, in one layer; ``(C,)`` each.

    With v its variance of one image about E[v], a its mean about E[M], d and q as in
    ``Population``:

    Attributes:
        offset: E[M] − μ.
        bias: E[V] − σ².
        v: ``(N, C)``, or None for a constant.
        moments: mean(a²), mean(d·a), mean(v²), mean(q·v), mean(d²·v); ``(5, C)``.
    """

    offset: Array
    bias: Array
    v: Array | None
    moments: Array

    @classmethod
    def of(cls, layer: LayerMoments, population: Population, method: Method) -> OtherMethod:
        """``running``, or a built-in method of one image.

        Raises:
            MethodError: it is neither, or the layer cannot have it.
        """
        check_other(method)
        if method.batch is None:
            mean, variance = stored_statistics(layer)
            offset, bias = mean - population.mean, variance - population.variance
            return cls(offset, bias, None, np.zeros((5, population.channels)))
        size = population.channels // method.groups_in(population.channels)
        d, q = population.deviation, population.second_moment
        of_group = spread(pool(population.mean, size), size)
        offset = population.mean - of_group
        a = pool(d, size)
        v = np.maximum(pool(q + (2 * d + offset) * offset, size) - a**2, 0.0)
        expected = v.mean(axis=0)
        a, v = spread(a, size), spread(v - expected, size)
        products = ((a, a), (d, a), (v, v), (q, v), (d * d, v))
        moments = np.stack([np.einsum("nc,nc->c", x, y) for x, y in products])
        bias = spread(expected, size) - population.variance
        return cls(-offset, bias, v, moments / population.images)


@dataclass(frozen=True)
class Mixture:
    """BatchNorm and another method over the same batches.

    Attributes:
        batch: B.
        mean: errors of the means, M − μ; exact.
        variance: errors of the variances, V − σ²; exact.
        expected_variances: E[V] of BatchNorm and of the other, ``(2, C)``; exact.
        batch_norm: V − E[V] of BatchNorm for each batch drawn, ``(C, n)``.
        other: V − E[V] of the other method, ``(C, n)``; zero where it is a constant.
        draw_weights: of the batches, ``(C, n)``.
        ideal_std: s, ``(C,)``.
        epsilon: the layer's ε.
        weights: of the channels, over s²: zero where there is no signal, ``(C,)``.
    """

    batch: int
    mean: _Errors
    variance: _Errors
    expected_variances: Array
    batch_norm: Array
    other: Array
    draw_weights: Array
    ideal_std: Array
    epsilon: float
    weights: Array

    @classmethod
    def of(
        cls,
        population: Population,
        alone: PooledMoments,
        other: OtherMethod,
        batch: int,
        weights: Array,
        *,
        draws: int = DRAWS,
        seed: int = 0,
    ) -> Mixture:
        """Draw the batches; all N^B of them where these are no more than would be drawn.

        With d, q and v as in ``OtherMethod``, all but S is exact:

            Cov[M_bn, M_other] = mean(d·a)/B    Cov[V_bn, V_other] = mean(q·v)/B − mean(d²·v)/B²

        Args:
            population: the layer's ideal statistics.
            alone: what determines BatchNorm's closed forms, of groups of one channel.
            other: the other method.
            batch: B.
            weights: of the channels, ``(C,)``.
            draws: batches to draw; two and four times as many of four and two images.
            seed: of the random numbers.
        """
        forms = ClosedForms.of(alone, batch)
        bias = forms.expected_variance - population.variance
        a_a, d_a, v_v, q_v, d2_v = other.moments
        covariance = q_v / batch - d2_v / batch**2
        members = _members(population.images, batch, draws * max(1, 8 // batch), seed)
        average = averaging(members, population.images)
        d, q = average @ population.deviation, average @ population.second_moment
        batch_norm = np.ascontiguousarray((q - d**2 - forms.expected_variance).T)
        of_first = np.zeros((1, population.channels)) if other.v is None else other.v[members[:, 0]]
        of_other = np.broadcast_to(of_first.T, batch_norm.shape)
        std = population.std
        return cls(
            batch=batch,
            mean=_Errors(forms.variance_of_mean, d_a / batch, a_a + other.offset**2),
            variance=_Errors(
                forms.variance_of_variance + bias**2,
                covariance + bias * other.bias,
                v_v + other.bias**2,
            ),
            expected_variances=population.variance + np.stack([bias, other.bias]),
            batch_norm=batch_norm,
            other=of_other,
            draw_weights=calibrated(
                quadratic(batch_norm, of_other),
                quadratic_expected(forms.variance_of_variance, covariance, v_v),
            ),
            ideal_std=std,
            epsilon=population.epsilon,
            weights=np.divide(weights, std**2, out=np.zeros_like(weights), where=weights > 0),
        )

    def error(self, share: float) -> float:
        """The layer's error at λ = ``share``, of σ².

        (M − μ)² is exact. With S0² = E[V] + ε, E[(S − s)²] = (S0 − s)² + E[(S − S0)²]·s/S0, of
        which the last expectation is over the batches drawn.
        """
        expected = np.array([1 - share, share]) @ self.expected_variances
        reference = np.sqrt(np.maximum(expected, 0.0) + self.epsilon)
        shift = (1 - share) * self.batch_norm + share * self.other
        with np.errstate(divide="ignore", invalid="ignore"):  # a constant channel where ε = 0
            std = np.sqrt(np.maximum(shift + expected[:, None], 0.0) + self.epsilon)
            std += reference[:, None]
            np.divide(shift, std, out=shift)
            squared = np.einsum("cn,cn,cn->c", shift, shift, self.draw_weights)
            of_std = (reference - self.ideal_std) ** 2
            of_std += np.maximum(squared, 0.0) * self.ideal_std / reference
        errors = self.mean.at(share) + of_std
        return float(np.where(self.weights == 0, 0.0, errors) @ self.weights)

    def best(self) -> Mix:
        """The best λ: the best of a grid, then a bounded search around it."""
        weights = self.weights
        if not weights.any():  # the whole layer is dead
            return UNKNOWN
        on_grid = [self.error(float(share)) for share in _GRID]
        i = int(np.argmin(on_grid))
        bounds = _GRID[max(i - 1, 0)], _GRID[min(i + 1, len(_GRID) - 1)]
        found = minimize_scalar(
            self.error, bounds=bounds, method="bounded", options={"xatol": _TOLERANCE}
        )
        error, share = min((on_grid[i], float(_GRID[i])), (float(found.fun), float(found.x)))
        better = min(on_grid[0], on_grid[-1])
        parabola = self.mean.plus(self.variance, 1 / (4 * self.ideal_std**2))
        return Mix(
            share_of_other=share,
            share_closed_form=parabola.vertex(weights),
            share_for_mean=self.mean.vertex(weights),
            pseudo_samples=self.batch * share / (1 - share) if share < 1 else np.inf,
            error=error,
            error_of_batch_norm=on_grid[0],
            error_of_other=on_grid[-1],
            saving=1 - error / better if better > 0 else 0.0,
        )


def best_mix(
    layer: LayerMoments,
    other: str | Method,
    batch: int,
    *,
    weights: Weighting = "gamma",
    draws: int = DRAWS,
    seed: int = 0,
) -> Mix:
    """The best mix of one layer's BatchNorm over batches of B with another method.

    Args:
        layer: the moments of the layer.
        other: ``running``, or a built-in method of one image.
        batch: B.
        weights: how channels count in the layer's average.
        draws: batches to draw.
        seed: of the random numbers.

    Raises:
        MethodError: the other method is neither stored nor of one image, the layer cannot have it,
            or one of both has no variance to give.
        SettingError: the batch is below 1.
    """
    check_batches([batch])
    method = other if isinstance(other, Method) else Method.parse(other)
    population = Population.of(layer)
    found = OtherMethod.of(layer, population, method)
    if reason := undefined(layer, method, batch):
        raise MethodError(
            f"BatchNorm over {batch} images cannot be mixed with {method}: {reason}.",
            "Choose larger batches, or a method of several channels.",
        )
    return Mixture.of(
        population,
        Groups.of(population, population.channels).moments,
        found,
        batch,
        channel_weights(population, layer.gamma, weights),
        draws=draws,
        seed=seed,
    ).best()


def check_other(other: Method) -> None:
    """Refuse what BatchNorm cannot be mixed with.

    Raises:
        MethodError: it is neither stored nor of one image.
    """
    if other.has_own_statistics or other.batch not in (None, 1):
        raise MethodError(
            f"{other} cannot be mixed with BatchNorm.",
            "Mix with stored statistics (running) or a built-in method of one image (in, gn:32, "
            "ln).",
        )


def undefined(layer: LayerMoments, other: Method, batch: int) -> str:
    """Why a mix has no value in this layer; empty where it has."""
    if layer.positions > 1:
        return ""
    alone = other.batch == 1 and other.group_channels == 1
    return "one position has no variance" if batch == 1 or alone else ""


def _members(images: int, batch: int, draws: int, seed: int) -> NDArray[np.int64]:
    """The images of each batch, ``(n, B)``: of all N^B batches, or drawn where these are more."""
    if images**batch <= max(draws, images):
        return np.array(list(product(range(images), repeat=batch)), dtype=np.int64)
    return np.random.default_rng([seed, batch]).integers(images, size=(draws, batch))
