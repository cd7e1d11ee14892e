"""torchvision's zoo: its architectures, its pretrained weights, and how it prepares images."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torchvision import models

from normstats.errors import ArchitectureError, CheckpointError, did_you_mean
from normstats.inputs.building import build_with
from normstats.inputs.checkpoints.reading import Checkpoint
from normstats.inputs.preprocessing import INTERPOLATIONS, Preprocessing
from normstats.inputs.zoos.downloads import fetch_url, misplaced
from normstats.printable import first_few, printable

# The heads that torchvision trains beside the main one, and leaves out or builds on demand.
AUXILIARY = ("aux_classifier.", "aux1.", "aux2.", "AuxLogits.")
_WITH_AUXILIARY = ("googlenet", "inception_v3")  # unless told otherwise
_DIGEST_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.")


@dataclass(frozen=True)
class TorchvisionWeights:
    """Pretrained weights of torchvision.

    Attributes:
        name: of the architecture.
        weights: the member of torchvision's enumeration.
    """

    name: str
    weights: Any

    @property
    def arch(self) -> str:
        """As for ``build_architecture``."""
        return f"torchvision:{self.name}"

    @property
    def description(self) -> str:
        """``torchvision resnet50, IMAGENET1K_V2``."""
        return f"torchvision {self.name}, {self.weights.name}"

    def fetch(self) -> Path:
        """The file, downloaded into torch.hub's cache where it is not there.

        Raises:
            CheckpointError: it is not there, and cannot be downloaded.
        """
        return fetch_url(self.weights.url, self.description, self.arch)

    def build(self, stored: Checkpoint) -> nn.Module:
        """The network with these weights in it, as torchvision builds it.

        With weights some of its builders take other settings than without.

        Raises:
            CheckpointError: ``stored`` holds something else.
        """
        builder = models.get_model_builder(self.name)
        with warnings.catch_warnings(), _serving(self.weights, stored.tensors):
            warnings.simplefilter("ignore")  # on auxiliary heads that were not trained
            try:
                model: nn.Module = builder(weights=self.weights, progress=False)
            except Exception as error:  # torch fails on other weights in many ways
                raise misplaced(stored.path, self.description, error) from error
        return model

    def preprocessing(self, model: nn.Module | None = None) -> Preprocessing | None:
        """How torchvision prepares images for these weights; None for clips and pairs of images."""
        return _from_preset(self.weights.transforms())


@contextmanager
def _serving(weights: Any, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Within it, torchvision's builders are given ``tensors``; they would unpickle the file."""
    kind = type(weights)
    kind.get_state_dict = lambda *_, **__: dict(tensors)
    try:
        yield
    finally:
        del kind.get_state_dict


def names() -> list[str]:
    """Of every architecture."""
    return list(models.list_models())


def build(name: str, weight_names: Collection[str] = ()) -> nn.Module:
    """The architecture, with auxiliary heads where the weights to be loaded have some.

    Raises:
        ArchitectureError: there is none of that name.
    """
    builder = models.get_model_builder(_known(name))
    options: dict[str, Any] = {}
    auxiliary = any(head in weight for weight in weight_names for head in AUXILIARY)
    if "aux_loss" in inspect.signature(builder).parameters:
        options = {"aux_loss": auxiliary}
    elif name.lower() in _WITH_AUXILIARY:  # whose random initialisation takes long, and is replaced
        options = {"aux_logits": auxiliary or not weight_names, "init_weights": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on random weights, which will not stay
        return build_with(builder, f"torchvision:{name}", **options)


def source_file(name: str) -> str:
    """The module that defines an architecture."""
    return str(models.get_model_builder(name).__module__)


def default_weights(name: str) -> TorchvisionWeights | None:
    """The weights that torchvision recommends for an architecture, if there are any."""
    offered = models.get_model_weights(_known(name))
    return TorchvisionWeights(name.lower(), offered.DEFAULT) if len(offered) else None


def find_weights(name: str, weights: str) -> TorchvisionWeights:
    """The weights ``IMAGENET1K_V1``, ``ResNet50_Weights.IMAGENET1K_V1`` or ``DEFAULT``.

    Raises:
        ArchitectureError: there is no such architecture, or only weights without norm layers.
        CheckpointError: it has no such weights.
    """
    name = _known(name)
    if name.startswith("quantized_"):
        raise ArchitectureError(
            f"torchvision's weights of {name} are 8-bit integers, and its norm layers are merged "
            "into the convolutions.",
            f"Analyze {name.removeprefix('quantized_')}, which it was made from.",
        )
    offered = models.get_model_weights(name)
    member = weights.removeprefix(f"{offered.__name__}.")
    if member not in offered.__members__:
        known = list(offered.__members__)
        raise CheckpointError(
            f"torchvision has no weights {printable(weights)!r} of {name}; it has "
            f"{first_few(known) or 'none'}.",
            did_you_mean(member, known) or f"Give torchvision:{name} for those it recommends.",
        )
    return TorchvisionWeights(name, offered[member])


def weights_with_digest(sha256: str) -> TorchvisionWeights | None:
    """The weights whose file has that SHA-256, judged by the digits in torchvision's file names."""
    for offered in _all_weights():
        digits = _DIGEST_IN_NAME.search(offered.weights.url)
        if digits and sha256.startswith(digits[1]):
            return offered
    return None


def _all_weights() -> Iterator[TorchvisionWeights]:
    for name in names():
        if not name.startswith("quantized_"):
            for member in models.get_model_weights(name):
                yield TorchvisionWeights(name, member)


def _known(name: str) -> str:
    known = names()
    if name.lower() not in known:
        raise ArchitectureError(
            f"torchvision has no architecture {printable(name)!r}.",
            did_you_mean(name.lower(), known)
            or "torchvision.models.list_models() lists what it has.",
        )
    return name.lower()


def _from_preset(preset: Any) -> Preprocessing | None:
    kind = type(preset).__name__
    if kind == "ObjectDetection":  # the network itself resizes and normalizes
        return Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    if kind not in ("ImageClassification", "SemanticSegmentation"):
        return None
    if preset.interpolation.value not in INTERPOLATIONS:
        return None
    return Preprocessing(
        resize=preset.resize_size[0] if preset.resize_size else None,
        crop=preset.crop_size[0] if kind == "ImageClassification" else None,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )
