"""The intervention: layer by layer and method by method, what the output does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from normstats.capturing import is_detector
from normstats.capturing.wrappers import eager_module
from normstats.errors import CaptureError, SettingError
from normstats.methods import Method
from normstats.moments import Moments
from normstats.validation.correlation import Correlations
from normstats.validation.images import check_belonging, choose_images
from normstats.validation.network import Network, find_places
from normstats.validation.normalization import Indices, ideal
from normstats.validation.outputs import compare, correct
from normstats.validation.result import Validation
from normstats.validation.swaps import choose_methods, make_swaps

if TYPE_CHECKING:
    from normstats.study import Study

Progress = Callable[[int], None]

# Of one forward pass: small images go many at a time, large ones must fit into memory.
_MOST_VALUES = 10_000_000
_MOST_IMAGES = 256


@dataclass(frozen=True)
class Estimate:
    """What an experiment will take.

    Attributes:
        images: on which the output is compared.
        megabytes: of memory for these images.
        layers: whose statistics are replaced.
        passes: forward passes, each of one batch.
        seconds: for all of them, by one that was measured.
    """

    images: int
    megabytes: float
    layers: int
    passes: int
    seconds: float


class Experiment:
    """A network, images in memory and the statistics to be put into each layer.

    Args:
        study: what is predicted, and the moments that the statistics are made from.
        model: the network that the moments were captured from.
        images: all the images that they were captured from, in the same order and in batches as
            ``capture`` takes them; ``limit`` of them, chosen at random, are kept in memory.
        layers: patterns of layer names; all layers of the study by default.
        methods: some of the study's methods, all of them by default; methods of one's own not by
            name, but themselves.
        limit: on how many images the output is compared.
        batch_size: images a forward pass; changes no result. By default as many as hold ten million
            values, at most 256.
        seed: of the choice of images and of how they are dealt into batches.
        device: run the network there; None or ``"auto"`` where it is.
        channel_dim: as in ``capture``.

    Attributes:
        estimate: what ``run`` will take.

    Raises:
        CaptureError: the network or the images are not those of the moments, or the network does
            not return class scores.
        LayerError: a pattern matches no layer, or in none the statistics can be replaced.
        MethodError: a method is not in the study, or no layer can have any.
        SettingError: a limit or a batch size that makes no sense.
    """

    def __init__(
        self,
        study: Study,
        model: nn.Module,
        images: Iterable[Any],
        *,
        layers: str | Sequence[str] | None = None,
        methods: str | Iterable[str | Method] | None = None,
        limit: int = 1000,
        batch_size: int | None = None,
        seed: int = 0,
        device: str | torch.device | None = None,
        channel_dim: int | None = None,
    ) -> None:
        for name, number, least in (("limit", limit, 2), ("batch size", batch_size, 1)):
            if number is not None and number < least:
                raise SettingError(f"The {name} is {number}.", f"Give {least} or more.")
        model = eager_module(model)
        if is_detector(model):
            raise CaptureError(
                "The network detects objects: it returns boxes, as many as it finds; what is "
                "compared are class scores.",
                "Validate a classifier or a segmentation network.",
            )
        moments = study.moments if layers is None else study.moments.select(layers)
        chosen_methods, notes = choose_methods(study, methods)
        places, obstacles = find_places(model, moments, channel_dim)
        possible = {name: moments[name] for name in places}
        order = np.random.default_rng(seed).permutation(moments.images)
        chosen = order[:limit]
        self._swaps, impossible = make_swaps(
            possible, study.errors(), chosen_methods, order, len(chosen)
        )
        self._notes = (*obstacles, *notes, *impossible)
        self._ideal = {name: ideal(possible[name], len(chosen)) for name in self._swaps}
        kept = choose_images(images, order, len(chosen))
        size = batch_size or max(1, min(_MOST_IMAGES, _MOST_VALUES // kept[0].numel()))
        self._network = Network(model, places, torch.split(kept, size), device)
        check_belonging(
            model,
            self._network.images,
            {name: possible[name] for name in self._swaps},
            chosen,
            device=device,
            channel_dim=channel_dim,
        )
        self._settings = {"limit": limit, "seed": seed}
        self.estimate, shape = self._tried_out()
        self._labels, unfit = _fitting_labels(moments, chosen, shape)
        self._notes += unfit

    def run(self, progress: Progress | None = None) -> Validation:
        """Replace one layer's statistics at a time, and compare the output.

        Args:
            progress: told the number of forward passes done, of ``estimate.passes``.
        """
        rows: list[dict[str, Any]] = []
        accuracies: list[float] = []
        done = 0

        def tell() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done)

        with self._network.ready():
            for layer in self._swaps:
                found, accuracy = self._measure(layer, tell)
                rows += found
                accuracies.append(accuracy)
        table = pd.DataFrame(rows)
        return Validation(
            table=table,
            correlations=Correlations.of(table),
            accuracy=float(np.mean(accuracies)),
            images=self._network.count,
            notes=self._notes,
            settings=self._settings,
        )

    def _measure(self, layer: str, tell: Callable[[], None]) -> tuple[list[dict[str, Any]], float]:
        """The rows of one layer, and the accuracy with its ideal statistics."""
        swaps = self._swaps[layer]
        variants = [variant for swap in swaps for variant in (swap.kept, swap.refit)]
        sums = np.zeros((len(variants), 3))
        right = 0.0
        for numbers, images in self._network.batches():
            reference = self._network.scores(layer, self._ideal[layer], numbers, images)
            tell()
            right += self._right(reference, numbers)
            for index, variant in enumerate(variants):
                changed = self._network.scores(layer, variant, numbers, images)
                tell()
                comparison = compare(reference, changed)
                sums[index] += (
                    float(comparison.kl.sum()),
                    float(comparison.agreement.sum()),
                    self._right(changed, numbers),
                )
        means = sums / self._network.count
        rows = [
            {
                "layer": layer,
                "method": swap.method,
                "error": swap.error,
                "residual": swap.residual,
                **dict(zip(("kl", "agreement", "accuracy"), kept, strict=True)),
                **dict(zip(("kl_refit", "agreement_refit", "accuracy_refit"), refit, strict=True)),
            }
            for swap, kept, refit in zip(swaps, means[::2], means[1::2], strict=True)
        ]
        return rows, right / self._network.count

    def _right(self, scores: Tensor, numbers: Indices) -> float:
        """How many of a batch's labels are met; NaN where there are none."""
        if self._labels is None:
            return float("nan")
        return float(correct(scores, self._labels[torch.from_numpy(numbers)]).sum())

    def _tried_out(self) -> tuple[Estimate, torch.Size]:
        """What it will take, by one forward pass; and the shape of its class scores."""
        network = self._network
        layer = next(iter(self._swaps))
        with network.ready():
            numbers, images = next(network.batches())
            started = time.perf_counter()
            scores = network.scores(layer, self._ideal[layer], numbers, images).cpu()
            seconds = time.perf_counter() - started
        variants = sum(1 + 2 * len(swaps) for swaps in self._swaps.values())
        estimate = Estimate(
            images=network.count,
            megabytes=sum(batch.nbytes for batch in network.images) / 1e6,
            layers=len(self._swaps),
            passes=variants * len(network.images),
            seconds=seconds * variants * network.count / len(images),
        )
        return estimate, scores.shape


def validate(
    study: Study,
    model: nn.Module,
    images: Iterable[Any],
    *,
    layers: str | Sequence[str] | None = None,
    methods: str | Iterable[str | Method] | None = None,
    limit: int = 1000,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    channel_dim: int | None = None,
    progress: Progress | None = None,
) -> Validation:
    """Replace one layer's statistics at a time in the real network, and compare its output.

    For each layer and method, the layer normalizes with the statistics that the method gives, and
    everything else is as in eval mode. The reference is the network with the ideal statistics, μ
    and σ² of all captured images, in that layer. Done once with the layer's γ and β as they are,
    and once with the affine that per-channel least squares fit to the ideal output.

    Args and errors are those of ``Experiment``; ``progress`` is that of ``Experiment.run``.
    """
    experiment = Experiment(
        study,
        model,
        images,
        layers=layers,
        methods=methods,
        limit=limit,
        batch_size=batch_size,
        seed=seed,
        device=device,
        channel_dim=channel_dim,
    )
    return experiment.run(progress)


def _fitting_labels(
    moments: Moments, chosen: Indices, scores: Sequence[int]
) -> tuple[Tensor | None, tuple[str, ...]]:
    """The chosen images' labels where they can be the network's classes; else a sentence why not.

    Classes are counted, not compared: a network does not name its own.
    """
    _, classes, positions = scores
    if moments.labels is None:
        return None, ()
    known = len(moments.classes) or int(moments.labels.max()) + 1
    named = len(moments.classes) > 0
    if positions > 1:
        return None, ("Accuracy is left out: the network has a class at every position.",)
    if known > classes or (named and known != classes):
        return None, (
            f"Accuracy is left out: the images are of {known:,} classes, the network of "
            f"{classes:,}.",
        )
    return torch.from_numpy(moments.labels[chosen]), ()
