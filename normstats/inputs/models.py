"""A model ready to be looked at: an architecture with a checkpoint's weights in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from normstats.errors import ArchitectureError, SettingError
from normstats.inputs.architectures import build_architecture
from normstats.inputs.building import build_with
from normstats.inputs.checkpoints.reading import Checkpoint, read_checkpoint
from normstats.inputs.checkpoints.weights import load_into
from normstats.inputs.choosing import choose_architecture, fitting_architecture
from normstats.inputs.preprocessing import Preprocessing
from normstats.inputs.zoos import timm_zoo, torchvision_zoo
from normstats.inputs.zoos.downloads import is_original
from normstats.inputs.zoos.named import ZooWeights, find_weights
from normstats.printable import printable

Architecture = str | Callable[[], nn.Module] | nn.Module

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model with a checkpoint's weights, and where both came from.

    Attributes:
        model: in evaluation mode.
        name: the checkpoint's file name.
        arch: the architecture, as ``build_architecture`` takes it where it can.
        sha256: of the checkpoint file, in hexadecimal.
        description: what was loaded: ``torchvision resnet50, IMAGENET1K_V2`` or
            ``net.pt, torchvision:resnet50``.
        preprocessing: how the zoo that the architecture is of prepares images; None for others.
        notes: what the user should know about how the weights were read; sentences.
    """

    model: nn.Module = field(repr=False)
    name: str
    arch: str
    sha256: str
    description: str
    preprocessing: Preprocessing | None = None
    notes: tuple[str, ...] = ()


def load(
    checkpoint: str | Path, arch: Architecture | None = None, *, dtype: str = "float32"
) -> LoadedModel:
    """Read a checkpoint, build its architecture and put the weights in.

    Args:
        checkpoint: a PyTorch or safetensors file; or the name of a zoo's weights: ``resnet50``,
            ``torchvision:resnet50:IMAGENET1K_V1``, ``timm:resnet50.a1_in1k``,
            ``timm:hf-hub:user/repository``. A name that is also a file means the file.
        arch: as for ``build_architecture``; or a function that returns the network; or the network
            itself, which is then filled and returned. None takes the name that is stored beside
            the weights, else the zoos' architecture that they fit.
        dtype: of the weights in the model: float32, bfloat16 or float16.

    Raises:
        CheckpointError: the file cannot be read, fetched, or its weights do not fit.
        ArchitectureError: the architecture cannot be found or built, or none is known.
        SettingError: an unknown ``dtype``.
    """
    if dtype not in _DTYPES:
        raise SettingError(
            f"There is no dtype {printable(dtype)!r}.", f"Give one of {', '.join(_DTYPES)}."
        )
    weights = find_weights(checkpoint)
    loaded = _from_file(Path(checkpoint), arch) if weights is None else _from_zoo(weights, arch)
    if dtype != "float32":
        loaded.model.to(_DTYPES[dtype])
    return loaded


def load_model(
    checkpoint: str | Path, arch: Architecture | None = None, *, dtype: str = "float32"
) -> nn.Module:
    """The model with the checkpoint's weights in it, in evaluation mode.

        model = ns.load_model("resnet20.th", arch="resnet.py:resnet20")
        model = ns.load_model("torchvision:resnet50")

    Args:
        checkpoint: a PyTorch file (read with ``weights_only=True``, always) or a safetensors file;
            or the name of a zoo's weights: ``"resnet50"``, ``"timm:resnet50.a1_in1k"``,
            ``"torchvision:resnet50:IMAGENET1K_V1"``, ``"timm:hf-hub:user/repository"``.
        arch: ``"resnet50"``, ``"torchvision:resnet50"``, ``"timm:convnext_atto"``,
            ``"file.py:function"`` or ``"package.module:function"``; or a function that returns the
            network; or the network itself, which is then filled and returned. None takes the name
            that is stored beside the weights, else the zoos' architecture that they fit.
        dtype: of the weights in the model: ``"float32"``, ``"bfloat16"`` or ``"float16"``.

    Raises:
        CheckpointError: the file cannot be read, fetched, or its weights do not fit.
        ArchitectureError: the architecture cannot be found or built, or none is known.
        SettingError: an unknown ``dtype``.
    """
    return load(checkpoint, arch, dtype=dtype).model


def input_channels(model: nn.Module) -> int:
    """The number of channels of the images the model takes: that of its first convolution, or 3."""
    for module in model.modules():
        if isinstance(module, _ConvNd):
            return int(module.in_channels)
    return 3


def _from_zoo(weights: ZooWeights, arch: Architecture | None) -> LoadedModel:
    if arch is not None:
        raise ArchitectureError(
            f"{weights.description} is a network with its weights, and an architecture was given "
            "too.",
            "Leave --arch out; it is for files.",
        )
    path = weights.fetch()
    stored = read_checkpoint(path)
    notes = stored.notes
    if not is_original(path, stored.sha256):
        notes += (f"{printable(path)} is not the original: its SHA-256 is not the one it names.",)
    model = weights.build(stored).eval()
    return LoadedModel(
        model=model,
        name=stored.path.name,
        arch=weights.arch,
        sha256=stored.sha256,
        description=weights.description,
        preprocessing=weights.preprocessing(model),
        notes=notes,
    )


def _from_file(path: Path, arch: Architecture | None) -> LoadedModel:
    stored = read_checkpoint(path)
    if isinstance(arch, nn.Module):
        return _loaded(stored, arch, type(arch).__name__, _fill(arch, stored))
    if callable(arch):
        shown = getattr(arch, "__qualname__", type(arch).__name__)
        model = build_with(arch, shown)
        return _loaded(stored, model, shown, _fill(model, stored))
    spec, why = choose_architecture(stored) if arch is None else fitting_architecture(arch, stored)
    original = torchvision_zoo.weights_with_digest(stored.sha256)
    if original is not None and spec == original.arch:
        model = original.build(stored)
        notes = [f"The file is that of {original.description}."]
        preprocessing = original.preprocessing(model)
    else:
        model = build_architecture(spec, stored.tensors)
        notes = [*why, *_fill(model, stored)]
        preprocessing, whose = _usual_preprocessing(spec, model)
        if preprocessing is not None:
            notes.append(f"Unless told otherwise, images are prepared as for {whose}.")
    return _loaded(stored, model, spec, notes, preprocessing)


def _fill(model: nn.Module, stored: Checkpoint) -> tuple[str, ...]:
    """Load the weights, into float32 where the network was made for less; returns notes."""
    if any(p.dtype in (torch.float16, torch.bfloat16) for p in model.parameters()):
        model.float()
    return load_into(model, stored)


def _loaded(
    stored: Checkpoint,
    model: nn.Module,
    arch: str,
    notes: Iterable[str],
    preprocessing: Preprocessing | None = None,
) -> LoadedModel:
    return LoadedModel(
        model=model.eval(),
        name=stored.path.name,
        arch=arch,
        sha256=stored.sha256,
        description=f"{printable(stored.path.name)}, {printable(arch)}",
        preprocessing=preprocessing,
        notes=(*stored.notes, *notes),
    )


def _usual_preprocessing(spec: str, model: nn.Module) -> tuple[Preprocessing | None, str]:
    """How the zoo of an architecture prepares images for its own weights, and for which."""
    zoo, _, name = spec.partition(":")
    if zoo == "torchvision" and (weights := torchvision_zoo.default_weights(name)):
        return weights.preprocessing(), weights.description
    if zoo == "timm":
        return timm_zoo.preprocessing(model), f"timm {name}"
    return None, ""
