"""Capturing into a folder, part by part, so that a kill costs one part and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from normstats.capture_folder import CaptureFolder
from normstats.capturing.run import Capturer


class Share(Protocol):
    """Some of the images; reading ``batches`` fills the rest."""

    batches: Iterator[Any]
    places: list[int]
    digests: list[bytes]
    skipped: list[tuple[str, str]]


class Shareable(Protocol):
    """Images that can be read from any place on."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each class index."""

    def shares(self, ranges: Sequence[range], batch_size: int, workers: int) -> Iterator[Share]:
        """Read some ranges of the images, one after the other."""


def capture_parts(
    capturer: Capturer,
    images: Shareable,
    folder: CaptureFolder,
    numbers: Sequence[int],
    *,
    batch_size: int,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Capture some parts of a folder; each counts as soon as it is on the disk.

    Args:
        capturer: the network, in its place.
        images: all of them, as they were when the folder was begun.
        folder: was begun.
        numbers: of the parts.
        batch_size: the number of images in a forward pass.
        workers: processes that decode.
        progress: told the number of images done here.

    Raises:
        CaptureError, LayerError, ImagesError: as ``capture``.
        RunFolderError: the disk refuses.
    """
    ranges = folder.ranges()
    chosen = [ranges[number] for number in numbers]
    done = 0
    for number, share in zip(numbers, images.shares(chosen, batch_size, workers), strict=True):
        before = done

        def tell(count: int, before: int = before) -> None:
            if progress is not None:
                progress(before + count)

        moments = capturer.moments(share.batches, classes=images.classes, progress=tell)
        folder.write(
            number,
            moments,
            places=share.places,
            digests=share.digests,
            skipped=share.skipped,
        )
        done += len(ranges[number])
