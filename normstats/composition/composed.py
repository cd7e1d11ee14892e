"""How batches are put together: what classes have to do with the noise of BatchNorm's statistics.

Three compositions of a batch of B images, from K classes with shares p_k of the images:

- ``iid``: B images, drawn independently from all.
- ``single-class``: a class, drawn with p_k, and B of its images, drawn independently.
- ``class-balanced``: ⌊B/K⌋ images of every class and one more of B mod K different classes, drawn
  at random; the images of a class drawn independently. Where classes differ in size, these batches
  come from another mixture of images than the population, and so are biased.

Images of one class resemble each other, so that a single-class batch has fewer independent values
than an iid one; Batch Renormalization (Ioffe 2017) shows how BatchNorm fails on such batches. Any
other order or sampler can be tested with ``given_batches``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from normstats.composition.classes import COMPOSITIONS, Classes, Composition
from normstats.composition.given import BatchErrors, layer_average, layer_errors
from normstats.control_variates import calibrated, quadratic, quadratic_expected
from normstats.layerwise import Progress, map_layers
from normstats.moments import LayerMoments, Moments
from normstats.population import Array, Population, Weighting, channel_weights
from normstats.resampling import averaging, check_batches
from normstats.std_and_residual import std_and_residual

DEFAULT_BATCHES = (2, 8, 32)
DRAWS = 128
_UNDEFINED = BatchErrors(*[np.nan] * 6)  # one image of one position has no variance


@dataclass(frozen=True)
class ClassShare:
    """How much of a layer's batch noise lies between classes, averaged over its channels.

    Attributes:
        between_class_share: the plug-in share of τ² that lies between classes, η² = Σ p_k (μ_k −
            μ)²/τ². With labels that say nothing it is (K − 1)/(N − 1), not zero.
        corrected_share: without what chance gives, ε² = 1 − (1 − η²)·(N − 1)/(N − K) (Kelley
            1935): from the mean squares of an analysis of variance, between less within. Clipped
            at zero after averaging; NaN where every image is a class of its own.
        floor: what the error of single-class batches falls to as B grows,
            Σ p_k [(μ_k − μ)² + (s_k − s)²]/s², of σ².
        floor_by_chance: the floor that labels would have that say nothing, to leading order:
            (K − 1)/(N − 1)·[τ² + var(q)/(4·s²)]/s². Class means of few images differ by chance;
            a floor means something where it is well above this.
    """

    between_class_share: float
    corrected_share: float
    floor: float
    floor_by_chance: float


def class_share(population: Population, classes: Classes, weights: Array) -> ClassShare:
    """The share of τ² that lies between classes, and the floor of single-class batches.

    A channel whose image means do not differ has no share to give: it counts as zero.

    Args:
        population: the layer's ideal statistics, N images.
        classes: of these images.
        weights: of the channels, ``(C,)``.
    """
    images, number = population.images, classes.number
    p = (classes.counts / images)[:, None]
    mean = classes.means(population.deviation)
    variance = classes.means(population.second_moment) - mean**2
    total = population.between_variance
    share = np.divide((p * mean**2).sum(axis=0), total, out=np.zeros_like(total), where=total > 0)
    s_squared = population.variance + population.epsilon
    std = np.sqrt(np.maximum(variance, 0.0) + population.epsilon)
    floor = (p * (mean**2 + (std - population.std) ** 2)).sum(axis=0)
    spread = total + population.second_moment.var(axis=0) / (4 * s_squared)
    by_chance = (number - 1) / max(images - 1, 1)
    plug_in = layer_average(share, weights)
    with np.errstate(divide="ignore", invalid="ignore"):  # dead channels where ε = 0
        floors = (
            layer_average(floor / s_squared, weights),
            layer_average(spread / s_squared, weights),
        )
    return ClassShare(
        between_class_share=plug_in,
        corrected_share=(
            float(np.maximum(1 - (1 - plug_in) * (images - 1) / (images - number), 0.0))
            if images > number
            else np.nan
        ),
        floor=floors[0],
        floor_by_chance=by_chance * floors[1],
    )


@dataclass(frozen=True)
class ComposedBatches:
    """Batches put together in one of the three ways, and what is known of them without drawing.

    Everything is about the mean of the images that the composition draws, each weighing as much
    as it comes up.

    Attributes:
        population: the layer's ideal statistics.
        classes: of its images.
        composition: ``"iid"``, ``"single-class"`` or ``"class-balanced"``.
        shift: mean of the images drawn minus μ, ``(C,)``.
        deviation: each image's mean, ``(N, C)``.
        second_moment: each image's second moment, ``(N, C)``.
        ideal_variance: E[q], the variance of all values drawn, ``(C,)``.
        between: Var[d], Cov[d, q] and Var[q] between classes, ``(3, C)``.
        within: the same within classes, ``(3, C)``.
    """

    population: Population
    classes: Classes
    composition: Composition
    shift: Array
    deviation: Array
    second_moment: Array
    ideal_variance: Array
    between: Array
    within: Array

    @classmethod
    def of(
        cls, population: Population, classes: Classes, composition: Composition
    ) -> ComposedBatches:
        """The composition, from a population of N images."""
        shares = classes.image_shares(composition)
        shift = shares @ population.deviation
        d = population.deviation - shift
        q = population.second_moment - (2 * d + shift) * shift
        ideal_variance = shares @ q
        d_of_class, q_of_class = classes.means(d), classes.means(q)
        class_shares = np.asarray(np.bincount(classes.of_image, weights=shares), dtype=np.float64)
        within = _covariances(
            shares, d - d_of_class[classes.of_image], q - q_of_class[classes.of_image]
        )
        between = _covariances(class_shares, d_of_class, q_of_class - ideal_variance)
        return cls(population, classes, composition, shift, d, q, ideal_variance, between, within)

    def errors(
        self, batch: int, weights: Array, *, draws: int = DRAWS, seed: int = 0
    ) -> BatchErrors:
        """BatchNorm's error over such batches of ``batch`` images.

        The mean's terms and E[V] are closed forms. With f = ``Classes.between_factor``:

            Cov[mean of (d, q) over the batch] = f·between + within/B
            E[V] = E[q] − Var[mean of d]

        S and the residual are drawn; the batch's means of d and q, whose first two moments are
        known, take most of the Monte-Carlo noise away.

        Args:
            batch: B.
            weights: of the channels, ``(C,)``.
            draws: batches to draw; two and four times as many of four and two images, whose
                statistics are least like the expected ones.
            seed: of the random numbers.
        """
        factor = self.classes.between_factor(self.composition, batch)
        covariances = factor * self.between + self.within / batch
        generator = np.random.default_rng([seed, batch, COMPOSITIONS.index(self.composition)])
        draws *= max(1, 8 // batch)
        members = self.classes.draw(self.composition, batch, draws, generator)
        average = averaging(members, self.population.images)
        d, q = (
            np.ascontiguousarray((average @ values).T)
            for values in (self.deviation, self.second_moment)
        )
        draw_weights = calibrated(
            quadratic(d, q - self.ideal_variance[:, None]), quadratic_expected(*covariances)
        )
        std = std_and_residual(
            d,
            q,
            d,
            q - d**2,
            offset=np.zeros(len(d)),
            expected_variance=self.ideal_variance - covariances[0],
            ideal_variance=self.ideal_variance,
            epsilon=self.population.epsilon,
            weights=draw_weights,
        )
        return layer_errors(self.population, self.shift, covariances[0], std, weights)


def class_table(
    moments: Moments, *, weights: Weighting = "gamma", progress: Progress | None = None
) -> pd.DataFrame:
    """``ClassShare`` of every layer: a row per layer.

    Raises:
        ImagesError: the moments have no labels.
    """
    classes = Classes.of(moments)

    def of_layer(name: str, layer: LayerMoments) -> dict[str, object]:
        population = Population.of(layer)
        by_channel = channel_weights(population, layer.gamma, weights)
        share = class_share(population, classes, by_channel)
        return _head(name, layer, weights) | {"classes": classes.number} | asdict(share)

    return pd.DataFrame(map_layers(of_layer, moments, progress))


def composition_table(
    moments: Moments,
    batches: Sequence[int] = DEFAULT_BATCHES,
    *,
    weights: Weighting = "gamma",
    draws: int = DRAWS,
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """BatchNorm's error for each way to put batches together: a row per layer, batch and way.

    ``error_relative_to_iid`` is the error divided by that of iid batches of the same size. NaN
    where one image of one position has no variance.

    Args:
        moments: the captured layers, with labels.
        batches: batch sizes B.
        weights: how channels count in their layer's average.
        draws: batches of each kind and size. On a trained ResNet-20, 128 give ``error`` and
            ``residual`` within 0.5 % (median over layers) and 5 % (worst).
        seed: of the random numbers.
        progress: told the number of layers done.

    Raises:
        ImagesError: the moments have no labels.
        SettingError: no batch size, or one below 1.
    """
    classes = Classes.of(moments)
    sizes = check_batches(batches)

    def of_layer(name: str, layer: LayerMoments) -> list[dict[str, object]]:
        population = Population.of(layer)
        by_channel = channel_weights(population, layer.gamma, weights)
        rows = []
        iid: dict[int, float] = {}
        for composition in COMPOSITIONS:
            composed = ComposedBatches.of(population, classes, composition)
            for batch in sizes:
                if batch == layer.positions == 1:
                    found = _UNDEFINED
                else:
                    found = composed.errors(batch, by_channel, draws=draws, seed=seed)
                reference = iid.setdefault(batch, found.error)
                relative = found.error / reference if reference else np.nan
                rows.append(
                    _head(name, layer, weights)
                    | {"batch": batch, "composition": composition}
                    | asdict(found)
                    | {"error_relative_to_iid": relative}
                )
        return rows

    return pd.DataFrame([row for rows in map_layers(of_layer, moments, progress) for row in rows])


def _covariances(shares: Array, d: Array, q: Array) -> Array:
    """Var[d], Cov[d, q] and Var[q] of centred values ``(N, C)`` with these shares: ``(3, C)``."""
    return np.stack([shares @ (d * d), shares @ (d * q), shares @ (q * q)])


def _head(name: str, layer: LayerMoments, weights: Weighting) -> dict[str, object]:
    return {"layer": name, "channels": layer.channels, "weights": weights}
