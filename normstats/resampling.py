"""What has no closed form: the standard deviation S = √(V + ε) and the residual.

Both are expectations of smooth functions of a batch's moments. For batches of one image they
are averages over the images, exactly. For larger ones batches are drawn, and what is *known* of
them (the closed forms) takes most of the Monte-Carlo noise away (``control_variates``). What noise
is left is estimated by leaving out one block of batches at a time (jackknife).

Everything is written as a distance from a batch with the expected statistics, so that small
errors of large batches come out with a small *relative* noise. With S0 = √(E[V] + ε):

    E[S] = S0 − E[(S − S0)²]/(2·S0)        because E[S²] = S0²
    ŷ = (x − E[M])/S0 + e                  e = (x − E[M])·(1/S − 1/S0) − (M − E[M])/S
    residual = (Var[e] − Cov[e, y]²/Var[y]) / Var[ŷ]

The last is 1 − corr(ŷ, y)²: a Gram determinant does not change when a multiple of y is taken
away from ŷ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from normstats.closed_forms import ClosedForms, Groups, second_moment_about, spread
from normstats.control_variates import DRAW_BLOCKS, Controls
from normstats.population import Array, Ideal

DRAWS = 512
_CHANNELS_AT_ONCE = 64  # keeps the working arrays in the processor's cache


@dataclass(frozen=True)
class Resamples:
    """Batches of any size, drawn independently with replacement; the same for every layer.

    Args:
        images: the number of images N.
        draws: batches of each size, a multiple of ``DRAW_BLOCKS``; two and four times as many of
            four and two images, whose statistics are least like the expected ones.
        seed: of the random numbers.
    """

    images: int
    draws: int = DRAWS
    seed: int = 0
    _drawn: dict[int, csr_array] = field(default_factory=dict, repr=False, compare=False)

    def averages(self, values: Array, batch: int) -> Array:
        """The mean of ``values (N, K)`` over each batch of ``batch`` images, ``(draws, K)``."""
        if batch not in self._drawn:
            self._drawn[batch] = averaging(self.members(batch), self.images)
        return np.asarray(self._drawn[batch] @ values)

    def members(self, batch: int) -> NDArray[np.int64]:
        """The images of each batch of ``batch`` images, ``(draws, batch)``."""
        draws = self.draws * max(1, 8 // batch)
        generator = np.random.default_rng([self.seed, batch])
        return generator.integers(self.images, size=(draws, batch))


def averaging(members: NDArray[np.int64], images: int) -> csr_array:
    """The matrix ``(n, N)`` that averages ``(N, C)`` over the images ``(n, B)`` of each batch."""
    ends = np.arange(0, members.size + 1, members.shape[1])
    shares = np.full(members.size, 1 / members.shape[1])
    return csr_array((shares, members.ravel(), ends), shape=(len(members), images))


@dataclass(frozen=True)
class StdAndResidual:
    """E[S] (of σ), Var[S] (of σ²) and the residual: ``(C,)``, or ``(K, C)`` for K replicates."""

    expected_std: Array
    variance_of_std: Array
    residual: Array


@dataclass(frozen=True)
class Estimate:
    """What was computed, and how it changes without a part of what it was computed from.

    Attributes:
        value: ``(C,)``.
        monte_carlo: without a block of the drawn batches in turn, ``(K, C)``; None where nothing
            was drawn.
        images: without a block of the images in turn, ``(K, C)``; None where the population has
            no blocks.
    """

    value: StdAndResidual
    monte_carlo: StdAndResidual | None = None
    images: StdAndResidual | None = None


def exact(groups: Groups, forms: ClosedForms) -> Estimate:
    """Batches of one image: the average over all images."""
    population, blocks = groups.population, groups.population.blocks
    reference = _Reference.of(groups, forms)
    deviation, second_moment = population.by_channel
    by_block = np.empty((4, 1 if blocks is None else len(blocks.share), population.channels))
    for channels, part in reference.parts():
        functions, _, _ = _functions(
            part.by_group(deviation[channels]), part.by_group(second_moment[channels]), part
        )
        if blocks is None:
            means = functions.mean(axis=-1, keepdims=True)
        else:
            means = blocks.means_of_last(functions)
        by_block[:, :, channels] = _channels_last(means)
    std = spread(reference.std, groups.size)
    if blocks is None:
        return Estimate(assemble(by_block[:, 0], std=std, variance=population.variance))
    ideal, pooled = population.without_one_block, groups.without_one_block
    assert ideal is not None
    assert pooled is not None
    return Estimate(
        assemble(blocks.total(by_block), std=std, variance=population.variance),
        images=assemble(
            blocks.without_one(by_block),
            std=std,
            variance=ideal.variance,
            mean_shift=ideal.mean - population.mean,
            variance_shift=spread(
                ClosedForms.of(pooled, 1).expected_variance - forms.expected_variance, groups.size
            ),
        ),
    )


def resampled(groups: Groups, forms: ClosedForms, batch: int, resamples: Resamples) -> Estimate:
    """Larger batches, drawn."""
    population = groups.population
    reference = _Reference.of(groups, forms)
    deviation, second_moment = (
        np.ascontiguousarray(resamples.averages(values, batch).T)
        for values in (population.deviation, population.second_moment)
    )
    by_block = np.empty((4, DRAW_BLOCKS, population.channels))
    for channels, part in reference.parts():
        functions, mean, variance = _functions(
            part.by_group(deviation[channels]), part.by_group(second_moment[channels]), part
        )
        flat = functions.reshape(len(functions), -1, functions.shape[-1])
        means, _ = part.controls.means(flat, mean, variance)
        by_block[:, :, channels] = _channels_last(means.reshape(*functions.shape[:3], -1))
    total = by_block.mean(axis=1)
    without_one = total[:, None] + (total[:, None] - by_block) / (DRAW_BLOCKS - 1)
    std = spread(reference.std, groups.size)
    value = assemble(total, std=std, variance=population.variance)
    return Estimate(
        value,
        monte_carlo=assemble(without_one, std=std, variance=population.variance),
        images=_without_images(value, total[0], groups, forms, batch),
    )


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
    std = spread(np.sqrt(np.maximum(forms.expected_variance, 0.0) + ideal.epsilon), size)
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


@dataclass(frozen=True)
class _Reference:
    """The batch with the expected statistics, which all others are measured from.

    Attributes:
        offset: each channel's ideal mean minus its group's, ``(G, C/G)``.
        controls: E[M], E[V] and what else is known of the batches.
        epsilon: the layer's ε.
    """

    offset: Array
    controls: Controls
    epsilon: float

    @classmethod
    def of(cls, groups: Groups, forms: ClosedForms) -> _Reference:
        population = groups.population
        return cls(
            offset=population.mean.reshape(-1, groups.size) - forms.expected_mean[:, None],
            controls=Controls.of(forms),
            epsilon=population.epsilon,
        )

    @property
    def size(self) -> int:
        """Channels a group, C/G."""
        return int(self.offset.shape[1])

    @property
    def std(self) -> Array:
        """S0 = √(E[V] + ε), ``(G,)``."""
        return np.sqrt(np.maximum(self.controls.expected_variance, 0.0) + self.epsilon)

    def by_group(self, values: Array) -> Array:
        """``(C, n)`` as ``(G, C/G, n)``."""
        return values.reshape(*self.offset.shape, -1)

    def parts(self) -> Iterator[tuple[slice, _Reference]]:
        """Some whole groups at a time: their channels, and the reference for these alone."""
        step = max(1, _CHANNELS_AT_ONCE // self.size)
        for start in range(0, len(self.offset), step):
            some = slice(start, start + step)
            channels = slice(start * self.size, (start + step) * self.size)
            part = _Reference(self.offset[some], self.controls.some(some), self.epsilon)
            yield channels, part


def _functions(
    deviation: Array, second_moment: Array, reference: _Reference
) -> tuple[Array, Array, Array]:
    """What is averaged over batches, and what the control variates are made of.

    Args:
        deviation: batch mean minus μ, ``(G, C/G, n)``.
        second_moment: the batch's second moment about μ, ``(G, C/G, n)``.
        reference: for these channels.

    Returns:
        ``(G, 4, C/G, n)``: (S − S0)², and the batch's mean of e, e² and e·(x − μ);
        M − E[M] ``(G, n)``; V − E[V] ``(G, n)``.
    """
    offset, std = reference.offset[:, :, None], reference.std[:, None]
    about_group = deviation + offset
    squared_about_group = second_moment_about(deviation, second_moment, offset)
    mean_shift = _pooled(deviation)
    variance = np.maximum(_pooled(squared_about_group) - mean_shift**2, 0.0)
    batch_std = np.sqrt(variance + reference.epsilon)
    variance_shift = variance - reference.controls.expected_variance[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):  # a constant channel where ε = 0
        std_shift = variance_shift / (batch_std + std)
        inverse_shift = (-std_shift / (batch_std * std))[:, None]
        scaled_mean_shift = (mean_shift / batch_std)[:, None]
    along = about_group * inverse_shift
    e = along - scaled_mean_shift
    functions = np.empty((len(deviation), 4, *deviation.shape[1:]))
    functions[:, 0] = (std_shift**2)[:, None]
    functions[:, 1] = e
    functions[:, 2] = squared_about_group * inverse_shift**2
    functions[:, 2] += scaled_mean_shift * (scaled_mean_shift - 2 * along)
    functions[:, 3] = squared_about_group * inverse_shift
    functions[:, 3] -= about_group * scaled_mean_shift + offset * e
    return functions, mean_shift, variance_shift


def _pooled(values: Array) -> Array:
    """Mean over the channels of each group: ``(G, C/G, n)`` to ``(G, n)``."""
    return values[:, 0] if values.shape[1] == 1 else values.mean(axis=1)


def _channels_last(means: Array) -> Array:
    """``(G, 4, C/G, K)`` as ``(4, K, C)``."""
    groups, count, size, blocks = means.shape
    return np.asarray(means.transpose(1, 3, 0, 2).reshape(count, blocks, groups * size))


def assemble(
    means: Array,
    *,
    std: Array,
    variance: Array,
    mean_shift: Array | float = 0.0,
    variance_shift: Array | float = 0.0,
) -> StdAndResidual:
    """E[S], Var[S] and the residual from what is averaged over batches.

    Args:
        means: E[(S − S0)²], E[e], E[e²] and E[e·(x − μ)], ``(4, ..., C)``.
        std: S0, ``(C,)``.
        variance: σ², ``(..., C)``.
        mean_shift: how much μ lies above the one in ``means``, ``(..., C)``.
        variance_shift: how much E[V] + ε lies above S0², ``(..., C)``.
    """
    squared_shift, e, e_squared, e_along = means
    with np.errstate(divide="ignore", invalid="ignore"):  # dead channels
        # E[S²] = E[V] + ε gives E[S] − S0.
        shift = (variance_shift - squared_shift) / (2 * std)
        e_along = e_along - e * mean_shift
        variance_of_e = e_squared - e**2
        unexplained = variance_of_e - e_along**2 / variance
        variance_of_output = variance / std**2 + 2 * e_along / std + variance_of_e
        return StdAndResidual(
            expected_std=std + shift,
            variance_of_std=np.maximum(squared_shift - shift**2, 0.0),
            residual=np.maximum(unexplained / variance_of_output, 0.0),
        )
