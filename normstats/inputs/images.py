"""Images from a folder, in batches, in an order that never changes."""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS

from normstats.errors import ImagesError, SettingError
from normstats.inputs.preprocessing import Preprocessing, decode
from normstats.printable import first_few, printable


class ImageFolder:
    """The images of a folder, ready to be read in batches.

    Attributes:
        root: the folder.
        names: of the images to be read, relative to the folder, with ``/``, sorted.
        classes: the names of the first-level folders, where every image lies in one; else empty.
        labels: the class index of each of ``names`` ``(N,)``, or None where there are no classes.
        channels: 3 for RGB, 1 for grey.
        preprocessing: what happens to each image.
        skipped: after reading, the images that could not be read: printable name and reason.
        fingerprint: after reading to the end, SHA-256 over the names and contents of the images
            that were read; else None.
    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        classes: tuple[str, ...],
        preprocessing: Preprocessing,
        channels: int,
    ) -> None:
        self.root = root
        self.names = tuple(names)
        self.classes = classes
        self.labels = _labels(names, classes) if classes else None
        self.preprocessing = preprocessing.for_channels(channels)
        self.channels = channels
        self.skipped: list[tuple[str, str]] = []
        self.fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"ImageFolder({str(self.root)!r}, {len(self):,} images, {len(self.classes)} classes)"

    def batches(
        self, batch_size: int, workers: int = 0
    ) -> Iterator[Tensor | tuple[Tensor, Tensor]]:
        """Read all images, in order.

        An image that cannot be read is skipped and listed in ``skipped``; its batch is one smaller.

        Args:
            batch_size: the number of images in a batch.
            workers: processes that decode; 0 decodes in this one. What comes out is the same.

        Yields:
            Images ``(N, C, H, W)`` in float32 with their labels ``(N,)`` in int64; the images
            alone where there are no classes.

        Raises:
            SettingError: a batch size below 1, a negative number of workers.
            ImagesError: images of different sizes, or none that can be read.
        """
        if batch_size < 1:
            raise SettingError(f"The batch size is {batch_size}.", "Give 1 or more.")
        if workers < 0:
            raise SettingError(f"The number of workers is {workers}.", "Give 0 or more.")
        return self._read(batch_size, workers)

    def _read(self, batch_size: int, workers: int) -> Iterator[Tensor | tuple[Tensor, Tensor]]:
        self.skipped.clear()
        self.fingerprint = None
        digest = hashlib.sha256()
        first: _Reading | None = None
        loader = DataLoader(
            _Files(self.root, self.names, self.preprocessing, self.channels),
            batch_size=batch_size,
            num_workers=workers,
            collate_fn=_collate,
            generator=torch.Generator(),  # so that the global one does not move
        )
        for batch in loader:
            good = []
            for reading in batch.readings:
                if isinstance(reading.problem, ImagesError):
                    raise reading.problem
                if reading.problem is not None:
                    self.skipped.append((printable(self.names[reading.index]), reading.problem))
                    continue
                first = first or reading
                if reading.size != first.size:
                    raise self._sizes_differ(first, reading)
                digest.update(os.fsencode(self.names[reading.index]) + b"\0" + reading.digest)
                good.append(reading.index)
            if batch.images is None:
                continue
            if self.labels is None:
                yield batch.images
            else:
                yield batch.images, torch.from_numpy(self.labels[good])
        if first is None:
            raise self._none_readable()
        self.fingerprint = digest.hexdigest()

    def _sizes_differ(self, first: _Reading, other: _Reading) -> ImagesError:
        def told(reading: _Reading) -> str:
            height, width = reading.size
            return f"{printable(self.names[reading.index])} is {width}x{height}"

        resize = self.preprocessing.resize
        return ImagesError(
            f"The images differ in size: {told(first)} pixels (width x height), {told(other)}.",
            f"Cut them to one size: --crop {resize}, say."
            if resize
            else "Bring them to one size: --resize 256 --crop 224, say.",
        )

    def _none_readable(self) -> ImagesError:
        reasons = (f"{name} ({reason})" for name, reason in self.skipped)
        return ImagesError(
            f"None of the {len(self)} images in {printable(self.root)} can be read: "
            f"{first_few(reasons, 3)}.",
            "Check that an image viewer opens them.",
        )


def open_images(
    path: str | Path,
    *,
    preprocessing: Preprocessing | None = None,
    limit: int | None = None,
    seed: int = 0,
    input_channels: int = 3,
) -> ImageFolder:
    """The images below a folder: in class subfolders, or flat.

    Hidden files and folders are left out. Links are followed, and each folder is read once.

    Args:
        path: the folder.
        preprocessing: what happens to each image; by default, ImageNet's normalization alone.
        limit: read a random sample of this many images.
        seed: of the sample.
        input_channels: 3 to read RGB, 1 to read grey.

    Raises:
        ImagesError: no such folder, no image in it, or a number of channels that images lack.
        SettingError: a limit below 1.
    """
    root = Path(path).expanduser()
    if limit is not None and limit < 1:
        raise SettingError(
            f"The limit is {limit} images.",
            "Give a positive number, or leave it out for all images.",
        )
    if input_channels not in (1, 3):
        raise ImagesError(
            f"The network takes images of {input_channels} channels; image files give 3 (RGB) or "
            "1 (grey).",
            "From Python, ns.capture takes any batches of tensors.",
        )
    files = _files_below(root)
    names = [name for name in files if name.lower().endswith(IMG_EXTENSIONS)]
    if not names:
        raise ImagesError(
            f"There is no image in {printable(root)}: {_what_there_is(files)}.",
            f"Images are files that end in {', '.join(IMG_EXTENSIONS)}.",
        )
    parents = {name.partition("/")[0] if "/" in name else "" for name in names}
    classes = () if "" in parents else tuple(sorted(parents))
    if limit is not None and limit < len(names):
        names = sorted(random.Random(seed).sample(names, limit))
    return ImageFolder(root, names, classes, preprocessing or Preprocessing(), input_channels)


def _files_below(root: Path) -> list[str]:
    """The regular files below ``root`` that are not hidden, relative to it, sorted."""
    if not root.exists():
        raise ImagesError(
            f"There is no folder {printable(root)}.",
            f"Paths are taken from {printable(Path.cwd())}.",
        )
    if not root.is_dir():
        raise ImagesError(f"{printable(root)} is a file.", "Give the folder that holds the images.")
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
            visible.sort(key=lambda entry: entry.name)
            found += [f"{folder}{entry.name}" for entry in visible if _is_file(entry)]
            folders += [f"{folder}{entry.name}/" for entry in visible[::-1] if _is_folder(entry)]
        except OSError as error:
            raise ImagesError(
                f"The folder {printable(root / folder)} cannot be read: {error.strerror}.",
                "Check that you may read it.",
            ) from error
    return sorted(found)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether there is a file to read: no pipe or device. A link that leads nowhere is a broken
    file, to be counted when it is read.
    """
    if not entry.is_symlink():
        return entry.is_file()
    return Path(entry.path).is_file() or not Path(entry.path).exists()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir()


def _what_there_is(files: Sequence[str]) -> str:
    if not files:
        return "it holds no files"
    kinds = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in files)
    told = first_few((f"{count} {kind}" for kind, count in kinds.most_common()), 4)
    return f"it holds {len(files)} files ({told})"


def _labels(names: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[name.partition("/")[0]] for name in names], dtype=np.int64)


@dataclass(frozen=True)
class _Reading:
    """One file, read: an image, or the reason why there is none.

    A reason that the user must mend is an error; it travels as data, since an exception would lose
    its hint on the way out of a worker process.
    """

    index: int
    digest: bytes = b""
    size: tuple[int, int] = (0, 0)
    problem: str | ImagesError | None = None


@dataclass(frozen=True)
class _Batch:
    """The readings of a batch, and its images ``(N, C, H, W)``; None if none, or of many sizes."""

    readings: list[_Reading]
    images: Tensor | None


class _Files(Dataset[tuple[_Reading, Tensor | None]]):
    """What a worker process needs to read an image by its index."""

    def __init__(
        self, root: Path, names: Sequence[str], preprocessing: Preprocessing, channels: int
    ) -> None:
        self.root = root
        self.names = names
        self.preprocessing = preprocessing
        self.channels = channels

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[_Reading, Tensor | None]:
        name = self.names[index]
        try:
            with (self.root / name).open("rb") as file:
                digest = hashlib.sha256()
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
                file.seek(0)
                image = self.preprocessing(decode(file, self.channels))
        except ImagesError as error:
            return _Reading(
                index, problem=ImagesError(f"{printable(name)}: {error.message}", error.hint)
            ), None
        except Exception as error:  # Pillow's decoders fail in many ways
            return _Reading(index, problem=_reason(error)), None
        height, width = image.shape[-2:]
        return _Reading(index, digest.digest(), (height, width)), image


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels, a possible decompression bomb"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return printable(error) or type(error).__name__


def _collate(items: list[tuple[_Reading, Tensor | None]]) -> _Batch:
    images = [image for _, image in items if image is not None]
    alike = len({image.shape for image in images}) == 1
    return _Batch([reading for reading, _ in items], torch.stack(images) if alike else None)
