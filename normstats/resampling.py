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

from normstats.closed_forms import ClosedForms, Groups, second_moment_about, spread
from normstats.population import Array, Population

DRAWS = 512
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
    draws: int = DRAWS
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


def exact(groups: Groups, forms: ClosedForms) -> StdAndResidual:
    """Batches of one image: the average over all images."""
    population = groups.population
    reference = _Reference.of(groups, forms)
    means = np.empty((4, population.channels))
    for channels, part in reference.parts():
        functions, _, _ = _functions(
            part.by_group(population.deviation[:, channels]),
            part.by_group(population.second_moment[:, channels]),
            part,
        )
        means[:, channels] = functions.mean(axis=-1).transpose(1, 0, 2).reshape(4, -1)
    return _assemble(means, population, reference)


def resampled(
    groups: Groups, forms: ClosedForms, batch: int, resamples: Resamples
) -> tuple[StdAndResidual, StdAndResidual]:
    """Larger batches: the estimate, ``(C,)``, and its jackknife replicates, ``(K, C)``."""
    population = groups.population
    reference = _Reference.of(groups, forms)
    deviation = resamples.averages(population.deviation, batch)
    second_moment = resamples.averages(population.second_moment, batch)
    blocks = np.empty((4, BLOCKS, population.channels))
    for channels, part in reference.parts():
        blocks[:, :, channels] = _controlled(
            *_functions(
                part.by_group(deviation[:, channels]),
                part.by_group(second_moment[:, channels]),
                part,
            ),
            part,
        )
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
        offset: each channel's ideal mean minus its group's, ``(G, C/G)``.
        expected_variance: E[V], ``(G,)``.
        std_of_mean: √Var[M], ``(G,)``.
        std_of_variance: √Var[V], ``(G,)``.
        covariance: Cov[M, V], ``(G,)``.
        epsilon: the layer's ε.
    """

    offset: Array
    expected_variance: Array
    std_of_mean: Array
    std_of_variance: Array
    covariance: Array
    epsilon: float

    @classmethod
    def of(cls, groups: Groups, forms: ClosedForms) -> _Reference:
        population = groups.population
        return cls(
            offset=population.mean.reshape(-1, groups.size) - groups.mean[:, None],
            expected_variance=forms.expected_variance,
            std_of_mean=np.sqrt(forms.variance_of_mean),
            std_of_variance=np.sqrt(forms.variance_of_variance),
            covariance=forms.covariance,
            epsilon=population.epsilon,
        )

    @property
    def size(self) -> int:
        """Channels a group, C/G."""
        return int(self.offset.shape[1])

    @property
    def std(self) -> Array:
        """S0 = √(E[V] + ε), ``(G,)``."""
        return np.sqrt(np.maximum(self.expected_variance, 0.0) + self.epsilon)

    def by_group(self, values: Array) -> Array:
        """``(n, C)`` as ``(G, C/G, n)``: the draws last, where they lie side by side in memory."""
        return np.ascontiguousarray(values.T).reshape(*self.offset.shape, -1)

    def parts(self) -> Iterator[tuple[slice, _Reference]]:
        """Some whole groups at a time: their channels, and the reference for these alone."""
        step = max(1, _CHANNELS_AT_ONCE // self.size)
        for start in range(0, len(self.offset), step):
            some = slice(start, start + step)
            channels = slice(start * self.size, (start + step) * self.size)
            yield (
                channels,
                _Reference(
                    offset=self.offset[some],
                    expected_variance=self.expected_variance[some],
                    std_of_mean=self.std_of_mean[some],
                    std_of_variance=self.std_of_variance[some],
                    covariance=self.covariance[some],
                    epsilon=self.epsilon,
                ),
            )


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
    variance_shift = variance - reference.expected_variance[:, None]
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


def _controlled(
    functions: Array, mean_shift: Array, variance_shift: Array, reference: _Reference
) -> Array:
    """Block means of the functions with the noise of the control variates taken away.

    The control variates are A = M − E[M] and D = V − E[V] in units of their own spread, A², AD
    and D².

    Returns:
        ``(4, K, C)`` for K blocks of batches.
    """
    groups, count, size, draws = functions.shape
    known = np.zeros((groups, 5, 1))
    x = np.empty((groups, 5, draws))
    with np.errstate(divide="ignore", invalid="ignore"):  # where all images are alike
        x[:, 0] = mean_shift / reference.std_of_mean[:, None]
        x[:, 1] = variance_shift / reference.std_of_variance[:, None]
        known[:, 2, 0] = reference.std_of_mean / reference.std_of_mean
        known[:, 3, 0] = reference.covariance / (reference.std_of_mean * reference.std_of_variance)
        known[:, 4, 0] = reference.std_of_variance / reference.std_of_variance
    x[:, 2] = x[:, 0] ** 2
    x[:, 3] = x[:, 0] * x[:, 1]
    x[:, 4] = x[:, 1] ** 2
    for values in (x, known):
        values[~np.isfinite(values)] = 0.0
    y = functions.reshape(groups, count * size, draws)
    x_blocks = x.reshape(groups, 5, BLOCKS, -1).mean(axis=-1)
    y_blocks = y.reshape(groups, count * size, BLOCKS, -1).mean(axis=-1)
    x_mean, y_mean = x_blocks.mean(axis=-1), y_blocks.mean(axis=-1)
    gram = x @ x.transpose(0, 2, 1) / draws - x_mean[:, :, None] * x_mean[:, None]
    cross = x @ y.transpose(0, 2, 1) / draws - x_mean[:, :, None] * y_mean[:, None]
    slope = np.linalg.solve(gram + 1e-12 * np.eye(5), cross)  # (G, 5, 4·C/G)
    controlled = y_blocks - slope.transpose(0, 2, 1) @ (x_blocks - known)
    by_function = controlled.reshape(groups, count, size, BLOCKS).transpose(1, 3, 0, 2)
    return np.asarray(by_function.reshape(count, BLOCKS, groups * size))


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
