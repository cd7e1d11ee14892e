"""Checkpoints: the weights in one file or several, read without running anything they ask for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from normstats.errors import CheckpointError
from normstats.inputs.checkpoints.entries import find_architecture, find_weights
from normstats.inputs.checkpoints.filekinds import FileKind, file_kind
from normstats.inputs.checkpoints.hints import COPY_AGAIN
from normstats.inputs.checkpoints.safetensors_files import load_safetensors
from normstats.inputs.checkpoints.shards import file_in, read_index
from normstats.inputs.checkpoints.torch_files import load_torch
from normstats.printable import first_few, printable

_LONGEST_NAME = 1000
_MOST_DIMENSIONS = 16


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The weights a file holds.

    Attributes:
        path: the file, the index of the shards, or the folder, as it was given.
        sha256: in hexadecimal: of the file's bytes; of shards, what ``sha256sum SHARDS |
            sha256sum`` prints beside them, the shards in the order of their names.
        tensors: the weights by name, on the CPU, as stored: prefixes and precision untouched. Most
            are views of the file, which must stay as it is while they are used.
        arch: the architecture's name, where one is stored beside the weights or in the settings of
            the training program; of torchvision, of timm, or of the program's own.
        notes: what the user should know about how the file was read; sentences.
    """

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor] = field(repr=False)
    arch: str | None = None
    notes: tuple[str, ...] = ()


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read the weights in a PyTorch or safetensors file, recognised by content.

    Also the index of a checkpoint in several files (``model.safetensors.index.json``), or the
    folder that holds the index or the file.

    Raises:
        CheckpointError: the file is missing, empty, cut off, not a checkpoint, holds no weights, or
            cannot be read without running code.
    """
    given = Path(path).expanduser()
    kind, file = file_kind(given), given
    if kind is FileKind.FOLDER:
        file = file_in(given)
        kind = file_kind(file)
    if kind is FileKind.INDEX:
        return _read_shards(file, given)
    tensors, arch, notes = _read_file(file, kind)
    if file != given:
        notes = (f"Of the folder, {printable(file.name)} was read.", *notes)
    return Checkpoint(given, _sha256(file), tensors, arch, notes)


def _read_file(path: Path, kind: FileKind) -> tuple[dict[str, Tensor], str | None, tuple[str, ...]]:
    """The weights of one file, the architecture it names, and notes."""
    shown = printable(path)
    arch: str | None
    notes: tuple[str, ...] = ()
    if kind is FileKind.SAFETENSORS:
        tensors, words = load_safetensors(path)
        arch = words.get("arch")
        if not tensors:
            raise CheckpointError(f"{shown} holds no tensors.", "Give a file of weights.")
    elif kind is FileKind.TORCH:
        content = load_torch(path)
        tensors, notes = find_weights(content, shown)
        arch = find_architecture(content)
    else:
        raise CheckpointError(
            f"{shown} is {kind.value}, where a file of weights should be.", COPY_AGAIN
        )
    _check_tensors(tensors, path)
    return tensors, arch, notes


def _read_shards(index: Path, given: Path) -> Checkpoint:
    """The weights of an index; each shard's are views of it, so that none is held twice."""
    tensors: dict[str, Tensor] = {}
    shards = read_index(index)
    for shard, wanted in shards.items():
        held, _, _ = _read_file(shard, file_kind(shard))
        missing = sorted(wanted - held.keys())
        if missing:
            raise CheckpointError(
                f"{printable(index)} promises weights in {printable(shard.name)} that are not "
                f"there: {first_few(missing)}.",
                "Index and shards are of different checkpoints: download them together.",
            )
        tensors.update({name: tensor for name, tensor in held.items() if name in wanted})
    sums = b"".join(
        b"%s  %s\n" % (_sha256(shard).encode(), os.fsencode(shard.name)) for shard in shards
    )
    return Checkpoint(
        given,
        hashlib.sha256(sums).hexdigest(),
        tensors,
        notes=(f"The weights were read from the {len(shards)} shards of {printable(index.name)}.",),
    )


def _check_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse what is not plain numbers, or cannot be what a file of this size holds."""
    shown, size = printable(path), path.stat().st_size
    for name, tensor in tensors.items():
        if len(name) > _LONGEST_NAME or tensor.ndim > _MOST_DIMENSIONS:
            raise CheckpointError(
                f"{shown} is damaged: {printable(name[:80])!r} has a name of {len(name):,} "
                f"characters and {tensor.ndim:,} dimensions.",
                COPY_AGAIN,
            )
        if tensor.is_meta:
            raise CheckpointError(
                f"{shown} holds the shape of {printable(name)}, but not its values.",
                "It was saved from the meta device; save the trained weights.",
            )
        # Views can repeat a few bytes to any size.
        if tensor.numel() * tensor.element_size() > size:
            raise CheckpointError(
                f"{shown} is damaged: {printable(name)} claims the shape "
                f"{tuple(tensor.shape)}, more than the whole file of {size:,} bytes holds.",
                COPY_AGAIN,
            )
        if tensor.is_floating_point() and tensor.element_size() < 2:
            raise CheckpointError(
                f"{shown} holds {printable(name)} as {str(tensor.dtype).removeprefix('torch.')}: "
                "quantized, so that its values mean nothing without the scales beside them.",
                "Give the weights from before quantization, in float32, float16 or bfloat16.",
            )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
