"""The arrays in a file: ``.npy``, ``.npz`` and ``.safetensors``; nothing is ever unpickled."""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import torch
from numpy.lib import format as npy_format
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from normstats.errors import ImagesError
from normstats.printable import printable

_COPY_AGAIN = "Copy or download it again, and compare its size with the original's."
# A compressed array cannot be mapped: it must fit into memory.
_LARGEST_UNPACKED = 1 << 30
_MOST_MEMBERS = 1000

# What safetensors calls the types that images and labels have.
_SAFETENSORS_TYPES = {
    "U8": "uint8", "U16": "uint16", "F16": "float16", "BF16": "bfloat16", "F32": "float32",
    "F64": "float64", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
}  # fmt: skip


class Array(Protocol):
    """An array whose elements are read on demand."""

    def read(self, index: int | slice) -> Tensor:
        """A copy of the elements of that index on the first axis."""


@dataclass(frozen=True)
class StoredArray:
    """An array that a file says it holds.

    Attributes:
        shape: of the array.
        dtype: as NumPy calls it: ``uint8``, ``float32``, ``bfloat16``, ``object``.
        open: makes it readable; raises ImagesError where the file is damaged.
    """

    shape: tuple[int, ...]
    dtype: str
    open: Callable[[], Array]

    def __str__(self) -> str:
        return f"{self.shape} {self.dtype}"


def arrays_in(path: Path) -> dict[str, StoredArray]:
    """The arrays in a file, by name; a ``.npy`` file's one array is called ``""``.

    Raises:
        ImagesError: the file is damaged, or of none of the three formats.
    """
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(npy_format.MAGIC_PREFIX):
        return {"": _in_npy(path)}
    if head.startswith(b"PK"):
        return _in_npz(path)
    return _in_safetensors(path)


class _Mapped:
    """An array in NumPy's format, mapped from its place in a file."""

    def __init__(
        self, path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], order: str
    ) -> None:
        self._place = (path, offset, shape, dtype, order)
        self._map: NDArray[Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Another process maps the file itself; a pickled map would be a copy of the array.
        return {**self.__dict__, "_map": None}

    def read(self, index: int | slice) -> Tensor:
        if self._map is None:
            path, offset, shape, dtype, order = self._place
            self._map = np.memmap(path, dtype, "r", offset, shape, "F" if order == "F" else "C")
        return _to_tensor(self._map[index])


class _Unpacked:
    """An array in memory."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._values = values

    def read(self, index: int | slice) -> Tensor:
        return _to_tensor(self._values[index])


class _InSafetensors:
    """A tensor in a safetensors file, which is mapped."""

    def __init__(self, path: Path, name: str) -> None:
        self._place = (path, name)
        self._slice: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_slice": None}

    def read(self, index: int | slice) -> Tensor:
        if self._slice is None:
            path, name = self._place
            file: Any = safe_open(path, framework="pt")
            self._slice = file.get_slice(name)
        values: Tensor = self._slice[index]
        return values.clone()


def _to_tensor(values: NDArray[Any]) -> Tensor:
    native = values.dtype.newbyteorder("=")  # which is all that torch knows
    return torch.from_numpy(np.array(values, dtype=native, order="C"))


@dataclass(frozen=True)
class _NpyHeader:
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    length: int

    def bytes_needed(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def _read_npy_header(file: IO[bytes], shown: str) -> _NpyHeader:
    try:
        version = npy_format.read_magic(file)
        if version not in ((1, 0), (2, 0)):  # 3.0 is for names of columns
            raise ValueError(f"format version {version}")
        read = (
            npy_format.read_array_header_1_0
            if version == (1, 0)
            else npy_format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
        header = _NpyHeader(tuple(int(n) for n in shape), fortran, dtype, file.tell())
        if min(header.shape, default=0) < 0:
            raise ValueError(f"a shape of {header.shape}")
    except Exception as error:  # the header is a Python literal, and fails in many ways
        raise ImagesError(
            f"{shown} is damaged: its header cannot be read ({_short(error)}).", _COPY_AGAIN
        ) from error
    return header


def _check_length(header: _NpyHeader, available: int, shown: str) -> None:
    # Pickled objects have no length of their own; they are refused by their type.
    if not header.dtype.hasobject and header.bytes_needed() > available:
        raise ImagesError(
            f"{shown} is cut off or damaged: its header promises {header.bytes_needed():,} bytes "
            f"of values, and there are {available:,}.",
            _COPY_AGAIN,
        )


def _in_npy(path: Path) -> StoredArray:
    shown = printable(path)
    with path.open("rb") as file:
        header = _read_npy_header(file, shown)
        size = file.seek(0, 2)
    _check_length(header, size - header.length, shown)
    return _mapped(path, header.length, header)


def _mapped(path: Path, offset: int, header: _NpyHeader) -> StoredArray:
    order = "F" if header.fortran else "C"
    return StoredArray(
        header.shape,
        header.dtype.name,
        partial(_Mapped, path, offset, header.shape, header.dtype, order),
    )


def _in_npz(path: Path) -> dict[str, StoredArray]:
    shown = printable(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
            if len(members) > _MOST_MEMBERS:
                raise ImagesError(
                    f"{shown} holds {len(members):,} arrays.", "Save the images as one array."
                )
            return {m.filename[:-4]: _in_archive(path, archive, m) for m in members}
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError) as error:
        raise ImagesError(f"{shown} is damaged: {_short(error)}.", _COPY_AGAIN) from error


def _in_archive(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> StoredArray:
    shown = f"{printable(path)}:{printable(member.filename[:-4])}"
    with archive.open(member) as file:
        header = _read_npy_header(file, shown)
    _check_length(header, member.file_size - header.length, shown)
    if member.compress_type == zipfile.ZIP_STORED:
        return _mapped(path, _data_offset(path, member) + header.length, header)
    return StoredArray(
        header.shape, header.dtype.name, partial(_unpack, path, member.filename, header, shown)
    )


def _data_offset(path: Path, member: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: behind its local header, of a length that only it tells."""
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    return int(member.header_offset + 30 + name + extra)


def _unpack(path: Path, member: str, header: _NpyHeader, shown: str) -> _Unpacked:
    needed = header.bytes_needed()
    if needed > _LARGEST_UNPACKED:
        raise ImagesError(
            f"{shown} is compressed and takes {needed / 2**30:.1f} GiB unpacked; compressed arrays "
            f"must be read into memory, and are up to {_LARGEST_UNPACKED >> 30} GiB.",
            "Save it with numpy.save or numpy.savez, which files are read piece by piece.",
        )
    values = np.empty(header.shape, header.dtype, "F" if header.fortran else "C")
    flat = values.reshape(-1, order="A").view(np.uint8)
    filled = 0
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            file.read(header.length)
            while filled < needed and (piece := file.read(min(1 << 20, needed - filled))):
                flat[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
                filled += len(piece)
    except Exception as error:  # zlib and others raise their own
        raise ImagesError(f"{shown} is damaged: {_short(error)}.", _COPY_AGAIN) from error
    if filled != needed:
        raise ImagesError(f"{shown} is cut off.", _COPY_AGAIN)
    return _Unpacked(values)


def _in_safetensors(path: Path) -> dict[str, StoredArray]:
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: StoredArray(
                    tuple(values.get_shape()),
                    _SAFETENSORS_TYPES.get(values.get_dtype(), values.get_dtype()),
                    partial(_InSafetensors, path, name),
                )
                for name, values in slices.items()
            }
    except (SafetensorError, OSError, ValueError, MemoryError) as error:
        raise ImagesError(
            f"{printable(path)} cannot be read as safetensors: {_short(error)}.", _COPY_AGAIN
        ) from error


def _short(error: Exception) -> str:
    """The first line; what follows in NumPy's is advice that is none here."""
    line = next(iter(str(error).strip().splitlines()), "")
    return printable(line)[:200].removesuffix(".") or type(error).__name__
