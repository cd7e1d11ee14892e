"""What has no closed form: the standard deviation S = √(V + ε) and the residual.

Both are expectations of smooth functions of a batch's moments. For batches of one image they
are averages over the images, exactly. For larger ones batches are drawn, and what is *known* of
them (the closed forms) takes most of the Monte-Carlo noise away: each function is regressed on
M, V − E[V] and their products (control variates), whose expectations are exact. What noise is
left is estimated by leaving out one block of batches at a time (jackknife).

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
from scipy.sparse import csr_array

from normstats.closed_forms import ClosedForms, Groups, pool, second_moment_about, spread
from normstats.population import Array, Population

BLOCKS = 16  # of batches, for the jackknife
_CHANNELS_AT_ONCE = 64  # keeps the working arrays in the processor's cache


@dataclass(frozen=True)
class Resamples:
    """Batches of any size, drawn independently with replacement; the same for every layer.

    Args:
        images: the number of images N.
        draws: batches of each size, a multiple of ``BLOCKS``; two and four times as many of four
            and two images, whose statistics are least like the expected ones.
        seed: of the random numbers.
    """

    images: int
    draws: int = 1024
    seed: int = 0
    _drawn: dict[int, csr_array] = field(default_factory=dict, repr=False, compare=False)

    def averages(self, values: Array, batch: int) -> Array:
        """The mean of ``values (N, K)`` over each batch of ``batch`` images, ``(draws, K)``."""
        if batch not in self._drawn:
            self._drawn[batch] = self._draw(batch)
        return np.asarray(self._drawn[batch] @ values)

    def _draw(self, batch: int) -> csr_array:
        """A row a batch: how much each image counts in its mean."""
        draws = self.draws * max(1, 8 // batch)
        generator = np.random.default_rng([self.seed, batch])
        members = generator.integers(self.images, size=draws * batch)
        ends = np.arange(0, members.size + 1, batch)
        shares = np.full(members.size, 1 / batch)
        return csr_array((shares, members, ends), shape=(draws, self.images))


@dataclass(frozen=True)
class StdAndResidual:
    """E[S] (of σ), Var[S] (of σ²) and the residual: ``(C,)``, or ``(K, C)`` for K replicates."""

    expected_std: Array
    variance_of_std: Array
    residual: Array


def exact(population: Population, groups: Groups, forms: ClosedForms) -> StdAndResidual:
    """Batches of one image: the average over all images."""
    reference = _Reference.of(population, groups, forms)
    means = np.empty((4, population.channels))
    for channels, part in reference.parts():
        functions, _ = _functions(
            population.deviation[:, channels], population.second_moment[:, channels], part
        )
        means[:, channels] = functions.mean(axis=1)
    return _assemble(means, population, reference)


def resampled(
    population: Population,
    groups: Groups,
    forms: ClosedForms,
    batch: int,
    resamples: Resamples,
) -> tuple[StdAndResidual, StdAndResidual]:
    """Larger batches: the estimate, ``(C,)``, and its jackknife replicates, ``(K, C)``."""
    reference = _Reference.of(population, groups, forms)
    deviation = resamples.averages(population.deviation, batch)
    second_moment = resamples.averages(population.second_moment, batch)
    blocks = np.empty((4, BLOCKS, population.channels))
    for channels, part in reference.parts():
        functions, controls = _functions(deviation[:, channels], second_moment[:, channels], part)
        blocks[:, :, channels] = _controlled(functions, controls, part)
    total = blocks.mean(axis=1)
    without_one = total[:, None] + (total[:, None] - blocks) / (BLOCKS - 1)
    return (
        _assemble(total, population, reference),
        _assemble(without_one, population, reference),
    )


@dataclass(frozen=True)
class _Reference:
    """The batch with the expected statistics, which all others are measured from.

    Attributes:
        size: channels a group.
        offset: each channel's ideal mean minus its group's, ``(C,)``.
        expected_variance: E[V], ``(G,)``.
        controls: the known expectations of the control variates, ``(5, G)``.
        epsilon: the layer's ε.
    """

    size: int
    offset: Array
    expected_variance: Array
    controls: Array
    epsilon: float

    @classmethod
    def of(cls, population: Population, groups: Groups, forms: ClosedForms) -> _Reference:
        zero = np.zeros_like(forms.expected_variance)
        return cls(
            size=groups.size,
            offset=population.mean - spread(groups.mean, groups.size),
            expected_variance=forms.expected_variance,
            controls=np.stack(
                [
                    zero,
                    zero,
                    forms.variance_of_mean,
                    forms.covariance,
                    forms.variance_of_variance,
                ]
            ),
            epsilon=population.epsilon,
        )

    @property
    def std(self) -> Array:
        """S0 = √(E[V] + ε), ``(G,)``."""
        return np.sqrt(np.maximum(self.expected_variance, 0.0) + self.epsilon)

    def parts(self) -> Iterator[tuple[slice, _Reference]]:
        """Some whole groups at a time: their channels, and the reference for these alone."""
        step = max(1, _CHANNELS_AT_ONCE // self.size)
        for start in range(0, self.expected_variance.size, step):
            groups = slice(start, start + step)
            channels = slice(start * self.size, (start + step) * self.size)
            yield (
                channels,
                _Reference(
                    size=self.size,
                    offset=self.offset[channels],
                    expected_variance=self.expected_variance[groups],
                    controls=self.controls[:, groups],
                    epsilon=self.epsilon,
                ),
            )


def _functions(
    deviation: Array, second_moment: Array, reference: _Reference
) -> tuple[Array, Array]:
    """What is averaged over batches, and the control variates.

    Args:
        deviation: batch mean minus μ, ``(n, C)``.
        second_moment: the batch's second moment about μ, ``(n, C)``.
        reference: for these channels.

    Returns:
        ``(4, n, C)``: (S − S0)², and the batch's mean of e, e² and e·(x − μ);
        ``(5, n, G)``: A = M − E[M], D = V − E[V], A², AD and D².
    """
    size, offset, std = reference.size, reference.offset, reference.std
    about_group = deviation + offset
    squared_about_group = second_moment_about(deviation, second_moment, offset)
    mean_shift = pool(deviation, size)
    variance = np.maximum(pool(squared_about_group, size) - mean_shift**2, 0.0)
    batch_std = np.sqrt(variance + reference.epsilon)
    variance_shift = variance - reference.expected_variance
    with np.errstate(divide="ignore", invalid="ignore"):  # a constant channel where ε = 0
        std_shift = variance_shift / (batch_std + std)
        inverse_shift = spread(-std_shift / (batch_std * std), size)
        scaled_mean_shift = spread(mean_shift / batch_std, size)
    along = about_group * inverse_shift
    e = along - scaled_mean_shift
    functions = np.stack(
        [
            spread(std_shift**2, size),
            e,
            squared_about_group * inverse_shift**2
            + scaled_mean_shift * (scaled_mean_shift - 2 * along),
            squared_about_group * inverse_shift - about_group * scaled_mean_shift - offset * e,
        ]
    )
    controls = np.stack(
        [
            mean_shift,
            variance_shift,
            mean_shift**2,
            mean_shift * variance_shift,
            variance_shift**2,
        ]
    )
    return functions, controls


def _controlled(functions: Array, controls: Array, reference: _Reference) -> Array:
    """Block means of the functions with the noise of the control variates taken away.

    Returns:
        ``(4, K, C)`` for K blocks of batches.
    """
    count, draws, channels = functions.shape
    groups = controls.shape[-1]
    surprise = controls - reference.controls[:, None, :]
    # In units of their own spread, or the products' tiny numbers make the equations singular.
    unit = np.sqrt((surprise**2).mean(axis=1, keepdims=True))
    surprise = surprise / np.where(unit > 0, unit, 1.0)
    x = np.ascontiguousarray(surprise.transpose(2, 0, 1))  # (G, 5, n)
    by_group = functions.reshape(count, draws, groups, reference.size)
    y = by_group.transpose(2, 0, 3, 1).reshape(groups, -1, draws)  # (G, 4·size, n)
    x_centred = x - x.mean(axis=-1, keepdims=True)
    gram = x_centred @ x_centred.transpose(0, 2, 1) / draws + 1e-12 * np.eye(len(controls))
    slope = np.linalg.solve(gram, x_centred @ y.transpose(0, 2, 1) / draws)  # (G, 5, 4·size)
    x_blocks = x.reshape(groups, len(controls), BLOCKS, -1).mean(axis=-1)
    y_blocks = y.reshape(groups, -1, BLOCKS, draws // BLOCKS).mean(axis=-1)
    controlled = y_blocks - slope.transpose(0, 2, 1) @ x_blocks  # (G, 4·size, K)
    by_function = controlled.reshape(groups, count, reference.size, BLOCKS).transpose(1, 3, 0, 2)
    return np.asarray(by_function.reshape(count, BLOCKS, channels))


def _assemble(means: Array, population: Population, reference: _Reference) -> StdAndResidual:
    """E[S], Var[S] and the residual from the expectations ``(4, ..., C)`` of ``_functions``."""
    squared_shift, e, e_squared, e_along = means
    std = spread(reference.std, reference.size)
    with np.errstate(divide="ignore", invalid="ignore"):  # dead channels
        half_shift = squared_shift / (2 * std)
        variance_of_e = e_squared - e**2
        unexplained = variance_of_e - e_along**2 / population.variance
        variance_of_output = population.variance / std**2 + 2 * e_along / std + variance_of_e
        return StdAndResidual(
            expected_std=std - half_shift,
            variance_of_std=np.maximum(squared_shift - half_shift**2, 0.0),
            residual=np.maximum(unexplained / variance_of_output, 0.0),
        )
