"""A model ready to be looked at: an architecture with a checkpoint's weights in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn
from torch.nn.modules.conv import _ConvNd

from normstats.errors import ArchitectureError
from normstats.inputs.architectures import build_architecture, build_with, build_zoo_architecture
from normstats.inputs.checkpoints import Checkpoint, read_checkpoint
from normstats.inputs.weights import load_into
from normstats.printable import printable

Architecture = str | Callable[[], nn.Module] | nn.Module


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model with a checkpoint's weights, and where both came from.

    Attributes:
        model: in evaluation mode.
        name: the checkpoint's file name.
        arch: the architecture, as the user named it.
        sha256: of the checkpoint file, in hexadecimal.
        notes: what the user should know about how the weights were read; sentences.
    """

    model: nn.Module = field(repr=False)
    name: str
    arch: str
    sha256: str
    notes: tuple[str, ...] = ()


def load(checkpoint: str | Path, arch: Architecture | None = None) -> LoadedModel:
    """Read a checkpoint, build its architecture and put the weights in.

    Args:
        checkpoint: a PyTorch or safetensors file.
        arch: as for ``build_architecture``; or a function that returns the network; or the network
            itself, which is then filled and returned. None takes the name that is stored beside
            the weights.

    Raises:
        CheckpointError: the file cannot be read, or its weights do not fit the architecture.
        ArchitectureError: the architecture cannot be found or built, or none is known.
    """
    stored = read_checkpoint(checkpoint)
    notes = list(stored.notes)
    if arch is None:
        model, shown = _stored_architecture(stored)
        notes.append(f"The architecture {shown} is named in the checkpoint.")
    elif isinstance(arch, str):
        model, shown = build_architecture(arch), arch
    elif isinstance(arch, nn.Module):
        model, shown = arch, type(arch).__name__
    else:
        shown = getattr(arch, "__qualname__", type(arch).__name__)
        model = build_with(arch, shown)
    notes += load_into(model, stored)
    return LoadedModel(
        model=model.eval(),
        name=stored.path.name,
        arch=shown,
        sha256=stored.sha256,
        notes=tuple(notes),
    )


def load_model(checkpoint: str | Path, arch: Architecture | None = None) -> nn.Module:
    """The model with the checkpoint's weights in it, in evaluation mode.

        model = ns.load_model("resnet20.th", arch="resnet.py:resnet20")

    Args:
        checkpoint: a PyTorch file (read with ``weights_only=True``, always) or a safetensors file.
        arch: ``"resnet50"``, ``"torchvision:resnet50"``, ``"timm:convnext_atto"``,
            ``"file.py:function"`` or ``"package.module:function"``; or a function that returns the
            network; or the network itself, which is then filled and returned. None takes the name
            that is stored beside the weights.

    Raises:
        CheckpointError: the file cannot be read, or its weights do not fit the architecture.
        ArchitectureError: the architecture cannot be found or built, or none is known.
    """
    return load(checkpoint, arch).model


def input_channels(model: nn.Module) -> int:
    """The number of channels of the images the model takes: that of its first convolution, or 3."""
    for module in model.modules():
        if isinstance(module, _ConvNd):
            return int(module.in_channels)
    return 3


def _stored_architecture(stored: Checkpoint) -> tuple[nn.Module, str]:
    shown = printable(stored.path)
    how = "Give it: --arch resnet50 or --arch file.py:function (arch=... in Python)."
    if stored.arch is None:
        raise ArchitectureError(
            f"{shown} holds weights, but does not say of which architecture.", how
        )
    try:
        # Only names of the zoos: a file must not choose which code is imported.
        return build_zoo_architecture(stored.arch), stored.arch
    except ArchitectureError as error:
        raise ArchitectureError(
            f"{shown} names its architecture {printable(stored.arch)!r}, which cannot be built: "
            f"{error.message}",
            how,
        ) from error
