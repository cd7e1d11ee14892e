"""One run of a comparison: the populations of its layers, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from normstats.blocks import COUNT, Blocks
from normstats.moments import LayerMoments, Moments
from normstats.population import Array, Ideal, Population
from normstats.study import Study

_IMAGES_CORRELATED = 512  # at most; correlations need no more


@dataclass(frozen=True)
class LayerSide:
    """One layer of one run.

    Attributes:
        mean: μ, ``(C,)``.
        variance: σ², ``(C,)``.
        gamma: the learned scale, ``(C,)``, or None.
        alive: channels with σ² > ε, ``(C,)``.
        without: μ and σ² without each block of images in turn, ``(K, C)``, with the layer's ε;
            None without moments.
        image_means: spatial means of some images, ``(n, C)``, standardised over them; None
            without moments.
    """

    mean: Array
    variance: Array
    gamma: Array | None
    alive: NDArray[np.bool_]
    without: Ideal | None = None
    image_means: NDArray[np.float32] | None = None

    def with_images(self, layer: LayerMoments, blocks: Blocks) -> LayerSide:
        """The same with what the images' moments tell besides."""
        return replace(
            self,
            without=Population.of(layer, blocks).without_one_block,
            image_means=_standardised(layer.mean),
        )


@dataclass(frozen=True)
class Side:
    """One run of a comparison.

    Attributes:
        study: of the run.
        image_set: the first run with the same images.
        blocks: how its images are dealt into blocks; alike in runs of the same images, so that
            what chance does to both is left out of both.
        layers: by name.
    """

    study: Study
    image_set: str
    blocks: Blocks
    layers: Mapping[str, LayerSide]

    @classmethod
    def of(cls, study: Study, image_set: str, blocks: Blocks, moments: Moments | None) -> Side:
        """The run's populations; ``moments`` None where it has none."""
        layers = {}
        for name, rows in study.channels().groupby("layer", sort=False):
            gamma = rows["gamma"].to_numpy(dtype=np.float64)
            side = LayerSide(
                mean=rows["mean"].to_numpy(dtype=np.float64),
                variance=rows["variance"].to_numpy(dtype=np.float64),
                gamma=None if np.isnan(gamma).all() else gamma,
                alive=rows["alive"].to_numpy(dtype=bool),
            )
            if moments is not None:
                side = side.with_images(moments[str(name)], blocks)
            layers[str(name)] = side
        return cls(study, image_set, blocks, layers)


def deal(counts: Sequence[int], image_sets: Sequence[str]) -> list[Blocks]:
    """Blocks of each run's images: the same deal for the same images, else an independent one.

    Args:
        counts: images of each run; all get as many blocks.
        image_sets: the first run with the same images, of each run.
    """
    seeds = {name: seed for seed, name in enumerate(dict.fromkeys(image_sets))}
    count = min(COUNT, *counts)
    return [
        Blocks.of(images, count=count, seed=seeds[name])
        for images, name in zip(counts, image_sets, strict=True)
    ]


def _standardised(mean: NDArray[np.floating]) -> NDArray[np.float32]:
    """Of images evenly spread over all: mean 0 and sum of squares 1 over them; NaN if constant."""
    places = np.linspace(0, len(mean) - 1, min(len(mean), _IMAGES_CORRELATED)).astype(int)
    chosen = np.asarray(mean[places], dtype=np.float64)
    chosen = chosen - chosen.mean(axis=0)
    length = np.sqrt((chosen**2).sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(chosen / length, dtype=np.float32)
