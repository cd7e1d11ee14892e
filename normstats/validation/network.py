"""A network in which one layer can be given a normalization, and the images it is run on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from normstats.capturing.devices import model_device, model_dtype, placed
from normstats.capturing.hooks import eval_mode, forward
from normstats.capturing.layers import find_layers
from normstats.errors import LayerError
from normstats.moments import Moments
from normstats.validation.intervention import Intervention, find_interventions
from normstats.validation.normalization import Indices, Normalization
from normstats.validation.outputs import class_scores


@dataclass(frozen=True)
class Network:
    """The model, where its layers are taken hold of, and the images.

    Attributes:
        model: the eager module.
        places: by the name of the layer.
        images: batches ``(n, C, H, W)``, in the order in which they were dealt.
        device: where to run; None or ``"auto"`` where the model is.
    """

    model: nn.Module
    places: Mapping[str, Intervention]
    images: Sequence[Tensor]
    device: str | torch.device | None

    @property
    def count(self) -> int:
        """The number of images."""
        return sum(map(len, self.images))

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Inside the block the model is in eval mode and on the device."""
        with placed(self.model, self.device), eval_mode(self.model):
            yield

    def batches(self) -> Iterator[tuple[Indices, Tensor]]:
        """The numbers of each batch's images, and the images on the model's device."""
        first = 0
        device, dtype = model_device(self.model), model_dtype(self.model)
        for batch in self.images:
            yield np.arange(first, first + len(batch)), batch.to(device, dtype)
            first += len(batch)

    def scores(
        self, layer: str, normalization: Normalization, numbers: Indices, images: Tensor
    ) -> Tensor:
        """The class scores ``(n, K, P)`` with that normalization in one layer."""
        outputs: list[Any] = []
        hook = self.model.register_forward_hook(lambda _, __, output: outputs.append(output))
        with hook, self.places[layer].with_normalization(normalization, numbers):
            forward(self.model, images)
        return class_scores(outputs[-1], len(numbers))


def find_places(
    model: nn.Module, moments: Moments, channel_dim: int | None
) -> tuple[dict[str, Intervention], list[str]]:
    """Where the statistics can be replaced, and sentences on where they cannot.

    Raises:
        LayerError: nowhere.
    """
    found = find_interventions(find_layers(model), moments, channel_dim)
    notes = [f"{name} is left out: {at.obstacle}." for name, at in found.items() if at.obstacle]
    places = {name: place for name, place in found.items() if not place.obstacle}
    if not places:
        raise LayerError(
            f"In no layer the statistics can be replaced. {notes[0]}",
            "Validate a network that normalizes, or choose other layers with --layers.",
        )
    return places, notes
