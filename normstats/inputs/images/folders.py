"""Image files below a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from torchvision.datasets.folder import IMG_EXTENSIONS

from normstats.errors import ImagesError
from normstats.inputs.images.classes import by_folder
from normstats.inputs.images.source import Listing, open_file
from normstats.printable import first_few, printable

SUFFIXES = (*IMG_EXTENSIONS, ".gif", ".jfif")


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Image files below a folder, named by their paths from there, with ``/``."""

    listing: Listing
    root: Path

    def content(self, index: int) -> BinaryIO:
        """The file, opened."""
        return open_file(self.root / self.listing.names[index])


def open_folder(root: Path) -> ImageFiles:
    """The images below a folder, by class where every image lies in a subfolder.

    Hidden files and folders are left out. Links are followed, and each folder is read once.

    Raises:
        ImagesError: the folder or one below it cannot be read, or there is no image.
    """
    files = _files_below(root)
    names = [name for name in files if is_image(name)]
    if not names:
        raise ImagesError(
            f"There is no image in {printable(root)}: {_what_there_is(files)}.",
            _what_to_give(root, files),
        )
    return ImageFiles(Listing(printable(root), names, *by_folder(names)), root)


def is_image(name: str) -> bool:
    """Whether the name ends like an image's."""
    return name.lower().endswith(SUFFIXES)


def _files_below(root: Path) -> list[str]:
    """All that is no folder below ``root`` and not hidden, relative to it, sorted."""
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            status = (root / folder).stat()
            if (status.st_dev, status.st_ino) in seen:  # links may lead in circles
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(root / folder) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            raise ImagesError(
                f"The folder {printable(root / folder)} cannot be read: {error.strerror}.",
                "Check that you may read it.",
            ) from error
        # In order, so that of two links to one folder the same is read each time.
        visible.sort(key=lambda entry: entry.name, reverse=True)
        deeper = [entry for entry in visible if _is_folder(entry)]
        folders += [f"{folder}{entry.name}/" for entry in deeper]
        found += [f"{folder}{entry.name}" for entry in visible if not _is_folder(entry)]
    return sorted(found)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; counted as a broken file when it is read
        return False


def _what_there_is(files: Sequence[str]) -> str:
    if not files:
        return "it holds no files"
    kinds = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in files)
    told = first_few((f"{count} {kind}" for kind, count in kinds.most_common()), 4)
    return f"it holds {len(files)} files ({told})"


def _what_to_give(root: Path, files: Sequence[str]) -> str:
    given = [name for name in files if name.endswith((".tar", ".npy", ".npz", ".safetensors"))]
    if given:
        return f"Give the file itself: {printable(root / given[0])}"
    if any(name.endswith(".arrow") for name in files):
        return f"To read it as a Hugging Face dataset, write hf:{printable(root)}"
    return f"Images are files that end in {', '.join(SUFFIXES)}."
