"""Batches of several images: drawn, as what is averaged over them has no closed form.

What is *known* of the drawn batches (the closed forms) takes most of the Monte-Carlo noise away
(``control_variates``). What noise is left is estimated by leaving out one block of batches at a
time (jackknife). All batch sizes are made from the same draws, some channels at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from normstats import loops
from normstats.closed_forms import ClosedForms, Groups, channels_of, some_groups, spread
from normstats.control_variates import (
    DRAW_BLOCKS,
    blocks_of_draws,
    inverse,
    mended,
    quadratic,
    quadratic_expected,
    without_one_of_draws,
)
from normstats.population import Array, Ideal, slabs
from normstats.resampling import Draws, Resamples
from normstats.std_and_residual import Estimate, StdAndResidual, assemble, reference_std


def resampled(
    groups: Groups, forms: Mapping[int, ClosedForms], resamples: Resamples
) -> dict[int, Estimate]:
    """Batches of each size of ``forms``, from the same draws.

    Args:
        groups: the layer's channels, pooled as the method pools them.
        forms: by batch size.
        resamples: the batches to draw.
    """
    draws = Draws.of(resamples, list(forms), groups.population.dealt.order)
    of = _of_channels if groups.size == 1 else _of_groups
    means = of(groups, forms, draws)
    return {batch: _estimate(groups, forms[batch], batch, means[batch]) for batch in forms}


def _estimate(groups: Groups, forms: ClosedForms, batch: int, by_block: Array) -> Estimate:
    population = groups.population
    std = spread(reference_std(forms.expected_variance, population.epsilon), groups.size)
    total = by_block.mean(axis=1)
    value = assemble(total, std=std, variance=population.variance)
    return Estimate(
        value,
        monte_carlo=assemble(without_one_of_draws(by_block), std=std, variance=population.variance),
        images=_without_images(value, total[0], groups, forms, batch),
    )


def _of_channels(
    groups: Groups, forms: Mapping[int, ClosedForms], draws: Draws
) -> dict[int, Array]:
    """Where a channel is a group: what ``assemble`` takes, over blocks of draws ``(4, K, C)``.

    There all that is drawn are functions of V, with u = (S − S0)²:

        E[e] = 0      E[e²] = (E[u] − ε·E[u/S²] + Var[M])/S0²
        E[e·(x − μ)] = −(E[u]/2 + ε·(E[u]/(2·S0²) + E[u/S]/S0) + Var[M])/S0
    """
    population = groups.population
    channels, epsilon = population.channels, population.epsilon
    known = {batch: _KnownVariance.of(of_batch, epsilon) for batch, of_batch in forms.items()}
    blocks = {batch: np.empty((channels, DRAW_BLOCKS, 5)) for batch in forms}
    products = {batch: np.empty((channels, 9)) for batch in forms}
    for some in slabs(channels, len(draws.places)):
        for batch, (d, q) in draws.averages(population.slab(some)):
            known[batch].add_up(d, q, epsilon, some, blocks[batch], products[batch])
    return {
        batch: known[batch].means(blocks[batch], products[batch], of_batch, epsilon)
        for batch, of_batch in forms.items()
    }


@dataclass(frozen=True)
class _KnownVariance:
    """What is known of V: E[V], S0, and one over the spread, ``(C,)`` each."""

    expected: Array
    std: Array
    unit: Array

    @classmethod
    def of(cls, forms: ClosedForms, epsilon: float) -> _KnownVariance:
        """From the closed forms."""
        expected = forms.expected_variance
        unit = inverse(np.sqrt(forms.variance_of_variance))
        return cls(expected, reference_std(expected, epsilon), unit)

    def add_up(
        self, d: Array, q: Array, epsilon: float, some: slice, blocks: Array, products: Array
    ) -> None:
        """``loops.of_drawn_channels`` of some channels."""
        blocks[some], products[some] = loops.of_drawn_channels(
            d, q, self.std[some], self.expected[some], self.unit[some], epsilon, DRAW_BLOCKS
        )

    def means(self, blocks: Array, products: Array, forms: ClosedForms, epsilon: float) -> Array:
        """What ``assemble`` takes, over blocks of draws: ``(4, K, C)``."""
        found, _ = mended(
            blocks[..., :2],
            blocks[..., 2:],
            products[:, [0, 1, 1, 2]].reshape(-1, 2, 2),
            products[:, 3:].reshape(-1, 2, 3),
            np.stack([np.zeros_like(self.unit), (self.unit > 0).astype(float)], axis=-1),
        )
        u, over, over_squared = found.transpose(2, 1, 0)
        std, of_mean = self.std, forms.variance_of_mean
        with np.errstate(divide="ignore", invalid="ignore"):  # a constant channel where ε = 0
            squared = (u - epsilon * over_squared + of_mean) / std**2
            along = u / 2 + epsilon * (u / (2 * std**2) + over / std) + of_mean
            return np.stack([u, np.zeros_like(u), squared, -along / std])


def _of_groups(groups: Groups, forms: Mapping[int, ClosedForms], draws: Draws) -> dict[int, Array]:
    """Where channels share a group: what ``assemble`` takes, over blocks of draws ``(4, K, C)``."""
    population, size = groups.population, groups.size
    offset = population.mean - spread(groups.moments.mean, size)
    means = {batch: np.empty((4, DRAW_BLOCKS, population.channels)) for batch in forms}
    for some in some_groups(len(groups.moments.mean), size, len(draws.places)):
        count, start = some.stop - some.start, some.start * size
        pooled = {batch: np.zeros((2, count, n)) for batch, n in draws.counts.items()}
        channels = list(channels_of(some, size, len(draws.places)))
        for part in channels:
            for batch, (d, q) in draws.averages(population.slab(part)):
                loops.add_to_groups(d, q, offset[part], part.start - start, size, pooled[batch])
        drawn = {
            batch: _DrawnGroups.of(a, b, forms[batch], some, population.epsilon)
            for batch, (a, b) in pooled.items()
        }
        for part in channels:
            for batch, (d, q) in draws.averages(population.slab(part)):
                found = drawn[batch].means(d, q, offset[part], part.start - start, size)
                means[batch][:, :, part] = found
    return means


@dataclass(frozen=True)
class _DrawnGroups:
    """Drawn batches of some groups.

    Attributes:
        functions: of M and V, ``(G, 6, n)``; see ``loops.group_functions``.
        controls: ``quadratic`` of M and V, in units of their spread, ``(G, 5, n)``.
        expected: of the controls, ``(G, 5)``.
    """

    functions: Array
    controls: Array
    expected: Array

    @classmethod
    def of(
        cls, a: Array, b: Array, forms: ClosedForms, some: slice, epsilon: float
    ) -> _DrawnGroups:
        """From M − E[M] and the second moment about E[M] of each batch, ``(G, n)``."""
        expected = forms.expected_variance[some]
        variances = forms.variance_of_mean[some], forms.variance_of_variance[some]
        units = [inverse(np.sqrt(x)) for x in variances]
        variance = b - a * a
        return cls(
            loops.group_functions(a, variance, reference_std(expected, epsilon), expected, epsilon),
            quadratic(a * units[0][:, None], (variance - expected[:, None]) * units[1][:, None]),
            quadratic_expected(
                variances[0] * units[0] ** 2,
                forms.covariance[some] * units[0] * units[1],
                variances[1] * units[1] ** 2,
            ),
        )

    def means(self, d: Array, q: Array, offset: Array, first: int, size: int) -> Array:
        """Over blocks of draws, for some channels: ``(4, K, c)``."""
        batches = self.functions.shape[-1]
        ends = np.arange(1, DRAW_BLOCKS + 1) * (batches // DRAW_BLOCKS)
        blocks = loops.of_groups(d, q, offset, first, size, self.functions, ends)
        products = [
            loops.of_groups(d, q, offset, first, size, self.functions * control, ends[-1:])[:, 0]
            for control in self.controls.transpose(1, 0, 2)[:, :, None]
        ]
        x_x = self.controls @ self.controls.swapaxes(-1, -2) / batches
        group = (first + np.arange(len(d))) // size
        means, _ = mended(
            blocks_of_draws(self.controls)[group],
            blocks.transpose(2, 1, 0),
            x_x[group],
            np.stack(products).transpose(2, 0, 1),
            self.expected[group],
        )
        return means.transpose(2, 1, 0)


def _without_images(
    value: StdAndResidual, squared_shift: Array, groups: Groups, forms: ClosedForms, batch: int
) -> StdAndResidual | None:
    """What was drawn, without each block of images: scaled as its leading order in 1/B changes.

    With A = M − E[M], D = V − E[V] and o = μ − E[M], to leading order S − S0 = D/(2·S0) and
    ŷ − (x − E[M])/S0 = −(x − E[M])·D/(2·S0³) − A/S0, so that

        E[(S − S0)²] ≈ Var[V]/(4·S0²)
        residual ≈ ((σ² + o²)·Var[V]/(4·S0⁴) + Var[M] + o·Cov[M, V]/S0²)/σ²

    Args:
        value: from all images, ``(C,)``.
        squared_shift: E[(S − S0)²] from all images, ``(C,)``.
        groups, forms, batch: what they are of.
    """
    population = groups.population
    ideal, pooled = population.without_one_block, groups.without_one_block
    if ideal is None or pooled is None:
        return None
    forms_without = ClosedForms.of(pooled, batch)
    _, shift, residual = _leading_order(population, forms, groups.size)
    std_without, shift_without, residual_without = _leading_order(ideal, forms_without, groups.size)
    with np.errstate(divide="ignore", invalid="ignore"):
        half_shift = _scaled(squared_shift, shift, shift_without) / (2 * std_without)
        return StdAndResidual(
            expected_std=std_without - half_shift,
            variance_of_std=np.maximum(2 * std_without * half_shift - half_shift**2, 0.0),
            residual=_scaled(value.residual, residual, residual_without),
        )


def _leading_order(ideal: Ideal, forms: ClosedForms, size: int) -> tuple[Array, Array, Array]:
    """S0, E[(S − S0)²] and the residual to leading order in 1/B, ``(..., C)`` each."""
    std = spread(reference_std(forms.expected_variance, ideal.epsilon), size)
    offset = ideal.mean - spread(forms.expected_mean, size)
    with np.errstate(divide="ignore", invalid="ignore"):  # dead channels
        shift = spread(forms.variance_of_variance, size) / (4 * std**2)
        residual = (
            (ideal.variance + offset**2) * shift / std**2
            + spread(forms.variance_of_mean, size)
            + offset * spread(forms.covariance, size) / std**2
        ) / ideal.variance
    return std, shift, residual


def _scaled(value: Array, approximate: Array, approximate_without: Array) -> Array:
    """``value`` changed in the proportion of its approximations; as it is where these are zero."""
    ratio = np.ones_like(approximate_without)
    np.divide(approximate_without, approximate, out=ratio, where=approximate > 0)
    return value * ratio
