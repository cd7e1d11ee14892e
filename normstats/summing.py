"""From moments, some images at a time, to sums on the disk, and from there to a layer's numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normstats.blocks import COUNT
from normstats.errors import MethodError
from normstats.estimators import Sampling, constant
from normstats.layer_values import LayerValues
from normstats.layerwise import map_layers
from normstats.methods import Method, stored_statistics
from normstats.moments import LayerMoments, Moments
from normstats.moments_folder import SummedLayers
from normstats.moments_parts import Sums
from normstats.population import Weighting, channel_weights
from normstats.resampling import Resamples
from normstats.summed_layers import SummedLayer
from normstats.sums import LayerSums, group_counts, of_batches

SUMS_ONLY = (
    "The moments of each image were not kept, only sums. std_*, error and residual of batches of "
    "several images come from the images in one random order, each in one batch a size, and are "
    "less exact than with --keep layers; it also answers further questions."
)


@dataclass
class Summing:
    """Adds up the moments of one part's images.

    Args:
        methods: that will be asked for.
    """

    methods: Sequence[Method]
    _images: int = 0
    _layers: dict[str, LayerMoments] = field(default_factory=dict)
    _sums: dict[str, dict[int, LayerSums]] = field(default_factory=dict)
    _classes: tuple[str, ...] = ()
    _left_out: dict[str, str] = field(default_factory=dict)

    def add(self, moments: Moments) -> None:
        """Some images, one at least.

        A layer that did not run with all of them, or with other channels, is left out.
        """
        self._classes = moments.classes
        for name, reason in moments.left_out.items():
            self._left_out.setdefault(name, reason)
        for name in {**self._layers, **moments.layers}:
            if name not in moments or (self._images and name not in self._layers):
                self._leave_out(name, "it did not run with every image")
            elif name in self._layers and moments[name].channels != self._layers[name].channels:
                counts = self._layers[name].channels, moments[name].channels
                self._leave_out(name, "its channels changed from {} to {}".format(*counts))
        going_on = [name for name in moments if not self._images or name in self._layers]
        chosen = replace(moments, layers={name: moments[name] for name in going_on})
        for name, sums in zip(chosen, map_layers(self._added, chosen), strict=True):
            self._sums[name] = sums
            self._layers[name] = self._without_images(name, moments[name])
        self._images += moments.images

    def _added(self, name: str, layer: LayerMoments) -> dict[int, LayerSums]:
        """The layer's sums so far, and these images."""
        so_far, now = self._sums.get(name, {}), {}
        batches = {1: layer}
        for batch, counts in sorted(group_counts(self.methods, layer.channels).items()):
            made = max(size for size in batches if batch % size == 0)
            batches[batch] = of_batches(batches[made], batch // made)
            if batches[batch].images:
                before = so_far.get(batch)
                sums = LayerSums.of(batches[batch], counts, before)
                now[batch] = sums if before is None else before.plus(sums)
        return {**so_far, **now}

    def _without_images(self, name: str, layer: LayerMoments) -> LayerMoments:
        before = self._layers.get(name, layer)
        smallest = min(before.spatial, layer.spatial, key=math.prod)
        none = np.empty((0, layer.channels), layer.mean.dtype)
        return replace(layer, mean=none, variance=none, spatial=smallest)

    def _leave_out(self, name: str, reason: str) -> None:
        self._layers.pop(name, None)
        self._sums.pop(name, None)
        self._left_out.setdefault(name, reason)

    def sums(self) -> Sums:
        """Of all images that were added."""
        return Sums(
            self._images,
            Moments(self._layers, classes=self._classes, left_out=self._left_out),
            {
                name: {
                    f"{batch}/{key}": values
                    for batch, of_batch in sums.items()
                    for key, values in of_batch.tensors().items()
                }
                for name, sums in self._sums.items()
            },
        )


def summed_layer(layers: SummedLayers, name: str) -> SummedLayer:
    """The sums over all images of a layer.

    Parts that were merged from several captures are dealt into as many blocks as those of one.

    Raises:
        RunFolderError: the folder is damaged.
    """
    epsilon = layers.description(name).epsilon
    numbers, sums = [], []
    for number, tensors in layers.sums(name):
        by_batch: dict[int, dict[str, NDArray[Any]]] = {}
        for key, values in tensors.items():
            batch, _, rest = key.partition("/")
            by_batch.setdefault(int(batch), {})[rest] = values
        numbers.append(number % COUNT)
        sums.append({b: LayerSums.from_tensors(of, epsilon) for b, of in by_batch.items()})
    return SummedLayer.of(sums, numbers)


class SummedValues(LayerValues):
    """A layer's values by method, as far as its sums tell them."""

    def __init__(
        self, layers: SummedLayers, name: str, weighting: Weighting, resamples: Resamples
    ) -> None:
        self.layer = layers.description(name)
        self.weighting = weighting
        self.resamples = resamples
        self._summed = summed_layer(layers, name)
        self.population = self._summed.population
        self.blocks = self.population.dealt
        self.weights = channel_weights(self.population, self.layer.gamma, weighting)
        self._groups = dict(self._summed.groups)
        self._known = {}

    def compute(self, methods: Sequence[Method]) -> None:
        """Nothing takes less time together."""

    def _sampling(self, method: Method) -> Sampling | None:
        if method.has_own_statistics:
            raise MethodError("its moments were not kept", "Run with --keep layers.")
        if method.batch is None:
            return constant(*stored_statistics(self.layer), self.layer.epsilon)
        groups = method.groups_in(self.layer.channels)
        if method.batch == 1 and groups == self.layer.channels and self.layer.positions == 1:
            return None  # the variance of a single value
        return self._summed.sampling(groups, method.batch)
