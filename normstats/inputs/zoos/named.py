"""Zoos: CHECKPOINT as a name, for the pretrained weights of torchvision and timm."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from torch import nn

from normstats.errors import CheckpointError, did_you_mean
from normstats.inputs.checkpoints.reading import Checkpoint
from normstats.inputs.preprocessing import Preprocessing
from normstats.inputs.zoos import timm_zoo, torchvision_zoo
from normstats.printable import printable


class ZooWeights(Protocol):
    """Pretrained weights that a zoo offers."""

    @property
    def arch(self) -> str:
        """As for ``build_architecture``."""

    @property
    def description(self) -> str:
        """``torchvision resnet50, IMAGENET1K_V2``."""

    def fetch(self) -> Path:
        """The file, downloaded into the zoo's cache where it is not there.

        Raises:
            CheckpointError: it is not there, and cannot be downloaded.
        """

    def build(self, stored: Checkpoint) -> nn.Module:
        """The network with these weights in it, as the zoo builds it.

        Raises:
            CheckpointError: ``stored`` holds something else.
        """

    def preprocessing(self, model: nn.Module) -> Preprocessing | None:
        """How the zoo prepares images for the network it built; None for ways not known here."""


def find_weights(checkpoint: str | Path) -> ZooWeights | None:
    """The zoo's weights that a CHECKPOINT names; None where it is a file, or looks like one.

    Args:
        checkpoint: ``resnet50`` (torchvision's weights, then timm's),
            ``torchvision:resnet50``, ``torchvision:resnet50:IMAGENET1K_V1``,
            ``timm:resnet50.a1_in1k``, ``timm:hf-hub:user/repository``, or a path. What exists as a
            file or folder is a path.

    Raises:
        ArchitectureError: the zoo is not installed, or has no such architecture.
        CheckpointError: it has no such weights, or there is neither such a file nor such a name.
    """
    if isinstance(checkpoint, Path) or _exists(checkpoint):
        return None
    zoo, colon, name = checkpoint.partition(":")
    if colon and zoo == "torchvision":
        architecture, _, weights = name.partition(":")
        return torchvision_zoo.find_weights(architecture, weights or "DEFAULT")
    if colon and zoo == "timm":
        return timm_zoo.find_weights(name)
    if any(mark in checkpoint for mark in ":/\\"):
        return None
    return _by_bare_name(checkpoint)


def _exists(text: str) -> bool:
    try:
        return Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # a name too long, a null byte, an unknown ~user
        return False


def _by_bare_name(name: str) -> ZooWeights | None:
    known = torchvision_zoo.names()
    if name.lower() in known:
        return torchvision_zoo.find_weights(name, "DEFAULT")
    timm = timm_zoo.timm_if_installed()
    if timm is not None:
        if timm.is_model(name.partition(".")[0]):
            return timm_zoo.find_weights(name)
        known = sorted({*known, *timm.list_models()})
    if Path(name).suffix:
        return None
    raise CheckpointError(
        f"There is no file {printable(name)}, and no zoo has weights of that name.",
        did_you_mean(name, known) or f"Paths are taken from {printable(Path.cwd())}.",
    )
