"""safetensors files: tensors and a few words, and nothing that could run."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from normstats.errors import CheckpointError
from normstats.inputs.checkpoints.hints import COPY_AGAIN
from normstats.printable import printable

# Of 100,000 tensors; the format itself allows ten times as much, which takes gigabytes to read.
_LONGEST_HEADER = 10_000_000


def load_safetensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """The tensors by name, as views of the file, and the words stored beside them.

    Raises:
        CheckpointError: cut off, damaged, or with a header that lies.
    """
    shown = printable(path)
    _check_header(path, shown)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except (SafetensorError, OSError, ValueError, RuntimeError, AttributeError) as error:
        raise CheckpointError(
            f"{shown} is cut off or damaged: {printable(str(error)[:300])}.", COPY_AGAIN
        ) from error


def _check_header(path: Path, shown: str) -> None:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        size = file.seek(0, 2)
    if length > _LONGEST_HEADER:
        raise CheckpointError(
            f"{shown} looks like a safetensors file with a header of {length:,} bytes, "
            f"which no checkpoint has.",
            COPY_AGAIN,
        )
    if length + 8 > size:
        raise CheckpointError(
            f"{shown} is cut off: its header alone should be {length:,} bytes, the file has "
            f"{size:,}.",
            COPY_AGAIN,
        )
