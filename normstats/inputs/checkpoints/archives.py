"""The zip archives that ``torch.save`` writes: plain ones, or refused."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from normstats.errors import CheckpointError
from normstats.inputs.checkpoints.hints import COPY_AGAIN
from normstats.printable import printable

PICKLE = "/data.pkl"
_LONGEST_PICKLE = 256 << 20
_DAMAGED = (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError, struct.error)
_NOT_REPACKED = "Give the file that torch.save wrote, not a repacked one."


def members(file: BinaryIO, shown: str) -> list[zipfile.ZipInfo]:
    """The archive's table of contents.

    Raises:
        CheckpointError: cut off or damaged.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.infolist()
    except _DAMAGED as error:
        raise _damaged(shown, error) from error


def pickle_and_sizes(path: Path) -> tuple[bytes, Mapping[str, int]]:
    """The pickle in an archive of ``torch.save``, and how many bytes each of its storages has.

    Raises:
        CheckpointError: damaged, compressed, or with ambiguous members.
    """
    shown = printable(path)
    with path.open("rb") as file:
        found = members(file, shown)
        folder = next(m.filename for m in found if m.filename.endswith(PICKLE))[: -len(PICKLE)]
        _check_plain(found, folder, file.seek(0, 2), shown)
        try:
            with zipfile.ZipFile(file) as archive:
                pickled = archive.read(folder + PICKLE)
        except _DAMAGED as error:
            raise _damaged(shown, error) from error
    start = f"{folder}/data/"
    sizes = {m.filename[len(start) :]: m.file_size for m in found if m.filename.startswith(start)}
    return pickled, sizes


def _damaged(shown: str, error: Exception) -> CheckpointError:
    reason = printable(error).rstrip(".")
    return CheckpointError(f"{shown} is cut off or damaged: {reason}.", COPY_AGAIN)


def _check_plain(found: list[zipfile.ZipInfo], folder: str, size: int, shown: str) -> None:
    # One folder and distinct names, since other readers look names up in other ways.
    names = {member.filename.casefold() for member in found}
    unambiguous = len(names) == len(found) and all(
        member.filename == member.orig_filename and member.filename.startswith(f"{folder}/")
        for member in found
    )
    if not unambiguous:
        raise CheckpointError(
            f"{shown} is not a zip archive as torch.save writes it: the names of its members are "
            "ambiguous.",
            _NOT_REPACKED,
        )
    # Nothing compressed and nothing twice, so that it never unpacks to more than its size.
    stored = all(
        member.compress_type == zipfile.ZIP_STORED and member.file_size == member.compress_size
        for member in found
    )
    if not stored or sum(member.file_size for member in found) > size:
        raise CheckpointError(
            f"{shown} is a compressed zip archive; torch.save writes none.", _NOT_REPACKED
        )
    longest = next(m.file_size for m in found if m.filename == folder + PICKLE)
    if longest > _LONGEST_PICKLE:
        raise CheckpointError(
            f"{shown} has a pickle of {longest:,} bytes beside the weights; no checkpoint has.",
            "Save the weights alone.",
        )
