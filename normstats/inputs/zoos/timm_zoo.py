"""timm's zoo: its architectures, its pretrained weights, and how it prepares images."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from normstats.errors import ArchitectureError, CheckpointError, did_you_mean
from normstats.inputs.building import build_with, what_happened
from normstats.inputs.checkpoints.reading import Checkpoint
from normstats.inputs.preprocessing import INTERPOLATIONS, Preprocessing
from normstats.inputs.zoos.downloads import fetch_from_hub, fetch_url, misplaced, weights_only
from normstats.printable import first_few, printable

_HUB = "hf-hub:"
# What timm calls its files on the Hugging Face hub; the safe format first, as timm itself does.
_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class TimmWeights:
    """Pretrained weights of timm.

    Attributes:
        name: ``resnet50.a1_in1k``, or ``hf-hub:user/repository``.
    """

    name: str

    @property
    def arch(self) -> str:
        """As for ``build_architecture``."""
        return f"timm:{self.name}"

    @property
    def description(self) -> str:
        """``timm resnet50.a1_in1k``."""
        return f"timm {self.name}"

    def fetch(self) -> Path:
        """The file, downloaded into torch.hub's or Hugging Face's cache where it is not there.

        Raises:
            CheckpointError: it is not there, and cannot be downloaded.
        """
        if self.name.startswith(_HUB):
            repository = self.name.removeprefix(_HUB)
            fetch_from_hub(repository, ["config.json"], self.description, "timm:NAME")
            return fetch_from_hub(repository, _FILES, self.description, "timm:NAME")
        settings = _timm().get_pretrained_cfg(self.name)
        if settings.hf_hub_id:
            own = settings.hf_hub_filename
            files = (own,) if own else _FILES
            return fetch_from_hub(settings.hf_hub_id, files, self.description, self.arch)
        return fetch_url(settings.url, self.description, self.arch)

    def build(self, stored: Checkpoint) -> nn.Module:
        """The network with the weights of that file in it, as timm builds it.

        timm's own reader is used: it knows how each architecture's weights were renamed.

        Raises:
            CheckpointError: the file holds something else.
        """
        here = {"file": str(stored.path), "source": "", "url": None, "hf_hub_id": None}
        with warnings.catch_warnings(), weights_only():
            warnings.simplefilter("ignore")
            try:
                model: nn.Module = _timm().create_model(
                    self.name,
                    pretrained=True,
                    pretrained_cfg_overlay={**here, "custom_load": False},
                )
            except Exception as error:  # timm fails on other weights in many ways
                raise misplaced(stored.path, self.description, error) from error
        return model

    def preprocessing(self, model: nn.Module) -> Preprocessing | None:
        """How timm prepares images for the network it built; None for ways not known here."""
        return preprocessing(model)


def timm_if_installed() -> ModuleType | None:
    """The package timm; None where it is not installed.

    Raises:
        ArchitectureError: it is installed, but cannot be imported.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("timm")
    except Exception as error:  # an installation that does not suit this torch fails in many ways
        if isinstance(error, ModuleNotFoundError) and error.name == "timm":
            return None
        raise ArchitectureError(
            f"timm is installed, but cannot be imported: {what_happened(error)}.",
            "Reinstall it: pip install --upgrade timm",
        ) from error


def build(name: str) -> nn.Module:
    """The architecture, with random weights.

    Raises:
        ArchitectureError: timm is not installed, or has none of that name.
    """
    timm = _timm(name)
    if not timm.is_model(name):
        raise ArchitectureError(
            f"timm has no architecture {printable(name)!r}.",
            did_you_mean(name, timm.list_models()) or "timm.list_models() lists what it has.",
        )

    def create() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return timm.create_model(name, pretrained=False)

    return build_with(create, f"timm:{name}")


def source_file(name: str) -> str:
    """The module that defines an architecture."""
    return str(_timm().models.model_entrypoint(name).__module__)


def find_weights(name: str) -> TimmWeights:
    """The weights ``resnet50`` (those that timm recommends), ``resnet50.a1_in1k``, ``hf-hub:...``.

    Raises:
        ArchitectureError: timm is not installed, or has no such architecture.
        CheckpointError: timm has no such weights.
    """
    timm = _timm(name)
    if name.startswith(_HUB):
        return TimmWeights(name)
    if not timm.is_model(name):
        raise ArchitectureError(
            f"timm has no architecture {printable(name)!r}.",
            did_you_mean(name, timm.list_models()) or "timm.list_models() lists what it has.",
        )
    architecture, _, tag = name.partition(".")
    offered = [known.partition(".")[2] for known in timm.list_pretrained(architecture)]
    if not offered:
        raise CheckpointError(
            f"timm has no weights of {name}, the architecture alone.",
            f"Give a file: normstats analyze FILE --arch timm:{architecture}",
        )
    if tag and tag not in offered:
        raise CheckpointError(
            f"timm has no weights {printable(tag)!r} of {architecture}; it has "
            f"{first_few(offered)}.",
            did_you_mean(tag, offered) or f"Give timm:{architecture} for those it recommends.",
        )
    chosen = tag or timm.get_pretrained_cfg(architecture).tag
    return TimmWeights(f"{architecture}.{chosen}" if chosen else architecture)


def preprocessing(model: nn.Module) -> Preprocessing | None:
    """How timm prepares images for a network it built; None for ways that are not known here."""
    settings = getattr(model, "pretrained_cfg", None)
    if not isinstance(settings, Mapping):
        return None
    config = _timm().data.resolve_data_config(pretrained_cfg=settings)
    _, height, width = config["input_size"]
    known = config["crop_mode"] in ("center", "squash")
    if not known or height != width or config["interpolation"] not in INTERPOLATIONS:
        return None
    return Preprocessing(
        resize=math.floor(height / config["crop_pct"]),
        crop=height,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
        squash=config["crop_mode"] == "squash",
    )


def _timm(name: str = "") -> ModuleType:
    timm = timm_if_installed()
    if timm is None:
        raise ArchitectureError(
            f"timm:{printable(name)} needs timm, which is not installed.",
            "pip install 'normstats[timm]'",
        )
    return timm
