"""Checkpoints: the weights in a file, read without running anything the file asks for.

``torch.load`` runs with ``weights_only=True``, always. A file that needs more is refused, with the
name of what it wanted to run; there is no switch that unpickles.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from normstats.errors import CheckpointError
from normstats.inputs.filekinds import COPY_AGAIN, SAVE_WEIGHTS, FileKind, recognise
from normstats.printable import first_few, printable

# Where training programs put the weights; of several, the first is used.
ENTRIES = (
    "state_dict",
    "model",
    "model_state_dict",
    "state_dict_ema",
    "model_ema",
    "net",
    "ema",
    "module",
    "network",
    "weights",
    "params",
    "params_ema",
    "ema_state_dict",
)
_DEEPEST = 3

# How torch.load says that a pickle wants something that is not on its list.
_WANTED_CODE = re.compile(r"GLOBAL (\S+)|Trying to .*|Can only .*")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The weights a file holds.

    Attributes:
        path: the file.
        sha256: of the file's bytes, in hexadecimal.
        tensors: the weights by name, on the CPU, as stored: prefixes and precision untouched.
        arch: the architecture's name, where one is stored beside the weights.
        notes: what the user should know about how the file was read; sentences.
    """

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor] = field(repr=False)
    arch: str | None = None
    notes: tuple[str, ...] = ()


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read the weights in a PyTorch file or a safetensors file, recognised by content.

    Raises:
        CheckpointError: the file is missing, empty, cut off, not a checkpoint, holds no weights, or
            cannot be read without running code.
    """
    path = Path(path).expanduser()
    if recognise(path) is FileKind.SAFETENSORS:
        tensors, arch = _read_safetensors(path)
        notes: tuple[str, ...] = ()
    else:
        content = _torch_load(path)
        tensors, notes = _weights_in(content, path)
        arch = content.get("arch")
    _check_stored(tensors, path)
    return Checkpoint(
        path=path,
        sha256=_sha256(path),
        tensors=tensors,
        arch=arch if isinstance(arch, str) else None,
        notes=notes,
    )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], str | None]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{printable(path)} is cut off or damaged: {printable(error)}.", COPY_AGAIN
        ) from error
    if not tensors:
        raise CheckpointError(f"{printable(path)} holds no tensors.", "Give a file of weights.")
    return tensors, metadata.get("arch")


def _torch_load(path: Path) -> Mapping[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch fails on damaged files in a dozen ways, bare KeyErrors too
        if isinstance(error, UnpicklingError) and (wanted := _WANTED_CODE.search(str(error))):
            raise CheckpointError(
                f"{printable(path)} holds more than weights: it asks for "
                f"{printable(wanted[1] or wanted[0])}. Loading it would run code of the file's "
                "choosing, so it was refused.",
                SAVE_WEIGHTS,
            ) from error
        reason = printable(str(error).strip().partition("\n")[0][:200])
        raise CheckpointError(
            f"{printable(path)} is cut off or damaged"
            f" ({type(error).__name__}{': ' if reason else ''}{reason}).",
            COPY_AGAIN,
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{printable(path)} holds a {type(content).__name__}, not a dictionary of weights.",
            SAVE_WEIGHTS,
        )
    return content


def _weights_in(
    content: Mapping[Any, Any], path: Path
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The state dict in what a training program saved, and notes on where it was."""
    found = list(_state_dicts(content, ()))
    if not found:
        found = [
            ((str(name),), tensors)
            for name, value in content.items()
            if isinstance(value, Mapping) and (tensors := _tensors(value))
        ]
        if len(found) > 1:
            raise CheckpointError(
                f"{printable(path)} holds weights under several unknown names: "
                f"{first_few(trail[0] for trail, _ in found)}.",
                'Save the ones to analyze under "state_dict".',
            )
    if not found:
        raise CheckpointError(
            f"{printable(path)} holds no weights; its entries are "
            f"{first_few(content) or 'none at all'}.",
            SAVE_WEIGHTS,
        )
    (trail, tensors), *others = found
    notes = []
    if others or (trail and trail[0] not in ENTRIES):
        also = f"; it also holds {first_few('.'.join(t) for t, _ in others)}" if others else ""
        notes.append(f"The weights were taken from {printable('.'.join(trail))!r}{also}.")
    return tensors, tuple(notes)


def _state_dicts(
    content: Mapping[Any, Any], trail: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Every state dict under the usual entries, nested too, in the order of ``ENTRIES``."""
    nested = [name for name in ENTRIES if isinstance(content.get(name), Mapping)]
    inside = [
        found
        for name in nested
        if len(trail) < _DEEPEST
        for found in _state_dicts(content[name], (*trail, name))
    ]
    if inside:
        yield from inside
    elif tensors := _tensors(content):
        yield trail, tensors


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {
        name: value.detach()
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }


def _check_stored(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors without values, and views that repeat a few bytes to an absurd size."""
    size = path.stat().st_size
    for name, tensor in tensors.items():
        if tensor.is_meta:
            raise CheckpointError(
                f"{printable(path)} holds the shape of {printable(name)}, but not its values.",
                "It was saved from the meta device; save the trained weights.",
            )
        if tensor.numel() * tensor.element_size() > size:
            raise CheckpointError(
                f"{printable(path)} is damaged: {printable(name)} claims the shape "
                f"{tuple(tensor.shape)}, more than the whole file of {size:,} bytes holds.",
                COPY_AGAIN,
            )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
