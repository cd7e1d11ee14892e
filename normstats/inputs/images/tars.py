"""Images in a tar archive, read where they lie; nothing is extracted."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from normstats.errors import ImagesError
from normstats.inputs.images.classes import by_folder, by_value
from normstats.inputs.images.folders import SUFFIXES, is_image
from normstats.inputs.images.source import Labels, Listing
from normstats.printable import first_few, printable

_COPY_AGAIN = "Copy or download it again, and compare its size with the original's."
# Long names and the like; tarfile would read whatever size such a header claims.
_LONGEST_HEADER = 1 << 20
_LONGEST_LABEL = 100


@dataclass(frozen=True)
class _Member:
    """Where a file's bytes lie in the archive, or why it is none."""

    offset: int
    size: int
    problem: str | None = None


@dataclass(frozen=True, eq=False)
class ImageTar:
    """The images of an archive. Names are only names, wherever they seem to lead."""

    listing: Listing
    path: Path
    members: Sequence[_Member]

    def content(self, index: int) -> BinaryIO:
        """The file's part of the archive, opened."""
        member = self.members[index]
        if member.problem is not None:
            raise ValueError(member.problem)
        return io.BufferedReader(_Part(self.path, member.offset, member.size))


def open_tar(path: Path) -> ImageTar:
    """The images in an archive, by class where it holds ``.cls`` files or class folders.

    In the manner of WebDataset, ``name.cls`` holds the class of ``name.jpg``. Otherwise every image
    must lie in a folder below what all have in common, as in a folder of class folders.

    Raises:
        ImagesError: it is damaged, or holds no image.
    """
    shown = printable(path)
    members = _members(path, shown)
    names = sorted(name for name in members if is_image(name) and not _is_hidden(name))
    if not names:
        raise ImagesError(
            f"There is no image in {shown}: it holds {len(members)} files "
            f"({first_few(members, 4) or 'none'}).",
            f"Images are files that end in {', '.join(SUFFIXES)}.",
        )
    listing = Listing(shown, names, *_classes(path, names, members))
    return ImageTar(listing, path, [members[name] for name in names])


class _Part(io.RawIOBase):
    """A stretch of a file, as a file."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._offset = offset
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        wanted = max(0, min(len(buffer), self._size - self._at))
        self._file.seek(self._offset + self._at)
        read = self._file.readinto(memoryview(buffer)[:wanted]) or 0
        self._at += read
        return read

    def close(self) -> None:
        self._file.close()
        super().close()


class _HeaderReader:
    """A file of which tarfile cannot read more at a time than a header takes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._file.read(size)


def _members(path: Path, shown: str) -> dict[str, _Member]:
    """The files, links and others in the archive by name; of equal names the last, as extracted."""
    members: dict[str, _Member] = {}
    with path.open("rb") as file:
        try:
            for info in _infos(file):
                if not info.isdir():
                    members[_plain(info.name)] = _Member(
                        info.offset_data, info.size, _problem(info)
                    )
        except Exception as error:  # tarfile is not made for damaged archives
            raise ImagesError(
                f"{shown} is cut off or damaged, after {len(members):,} files: "
                f"{printable(error) or type(error).__name__}.",
                _COPY_AGAIN,
            ) from error
    return members


def _infos(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    with tarfile.TarFile(fileobj=_HeaderReader(file), errors="surrogateescape") as archive:  # type: ignore[arg-type]
        for info in archive:
            if info.size < 0:  # tarfile would go back, and on in circles
                raise tarfile.ReadError(f"a file of {info.size} bytes")
            yield info
            archive.members.clear()  # type: ignore[attr-defined] # a list of all takes memory
        # tarfile takes a header that it cannot read for the end, which is a block of zeros.
        file.seek(archive.offset)
        if any(file.read(tarfile.BLOCKSIZE)):
            raise tarfile.ReadError(f"no header at byte {archive.offset:,}")


def _problem(info: tarfile.TarInfo) -> str | None:
    if info.issym() or info.islnk():
        return "a link, which is not followed"
    if not info.isreg():
        return "a pipe or device, not a file"
    return "stored as a sparse file" if info.issparse() else None


def _plain(name: str) -> str:
    """The name without the ``./`` or ``/`` that some programs write before it."""
    while name.startswith(("./", "/")):
        name = name.removeprefix(".").lstrip("/")
    return name


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") and part != ".." for part in name.split("/"))


def _classes(
    path: Path, names: Sequence[str], members: Mapping[str, _Member]
) -> tuple[tuple[str, ...], Labels | None, tuple[str, ...]]:
    labels = [members.get(f"{_key(name)}.cls") for name in names]
    if all(label is None for label in labels):
        return (*by_folder(_below_common_folder(names)), ())
    texts = list(_label_texts(path, labels))
    if not all(texts):
        without = [name for name, text in zip(names, texts, strict=True) if not text]
        return (), None, (
            f"The classes in the .cls files are not used: {len(without)} of {len(names)} images "
            f"have none ({first_few(without, 3)}).",
        )  # fmt: skip
    if all(text.isascii() and text.isdecimal() for text in texts):
        return (*by_value([int(text) for text in texts]), ())
    return (*by_value(texts), ())


def _key(name: str) -> str:
    """What WebDataset calls the key: the path up to the first dot of the file's own name."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _label_texts(path: Path, labels: Iterable[_Member | None]) -> Iterator[str]:
    """What the .cls files say; an empty text where there is none that makes sense."""
    with path.open("rb") as file:
        for label in labels:
            if label is None or label.problem or label.size > _LONGEST_LABEL:
                yield ""
            else:
                file.seek(label.offset)
                yield file.read(label.size).decode("utf-8", "replace").strip()


def _below_common_folder(names: Sequence[str]) -> list[str]:
    """The names below the folder that holds all; it is often the archive's own name."""
    folders = [name.split("/")[:-1] for name in (min(names), max(names))]  # what they share, all do
    common = 0
    for first, last in zip(*folders, strict=False):
        if first != last:
            break
        common += len(first) + 1
    return [name[common:] for name in names]
