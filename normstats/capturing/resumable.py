"""Capturing into a folder, part by part, so that a kill costs one part and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, Protocol

from normstats.capture_folder import IMAGES_A_PART, CaptureFolder
from normstats.capturing.run import Capturer
from normstats.moments import Moments
from normstats.moments_parts import Sums


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

    def shares(
        self, ranges: Sequence[Sequence[int]], batch_size: int, workers: int
    ) -> Iterator[Share]:
        """Read some ranges of the images, one after the other."""


class Summing(Protocol):
    """Moments that are added up, some images at a time."""

    def add(self, moments: Moments) -> None:
        """Some images, one at least."""

    def sums(self) -> Sums:
        """Of all that were added."""


def capture_parts(
    capturer: Capturer,
    images: Shareable,
    folder: CaptureFolder,
    numbers: Sequence[int],
    *,
    batch_size: int,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
    summing: Callable[[], Summing] | None = None,
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
        summing: makes what adds up a part's moments, of which nothing else is kept then.

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

        captured: Moments | Sums
        if summing is None:
            captured = capturer.moments(share.batches, classes=images.classes, progress=tell)
        else:
            captured = _summed(capturer, share.batches, images.classes, summing(), tell)
        folder.write(
            number,
            captured,
            places=share.places,
            digests=share.digests,
            skipped=share.skipped,
        )
        done += len(ranges[number])


def _summed(
    capturer: Capturer,
    batches: Iterator[Any],
    classes: Sequence[str],
    summing: Summing,
    tell: Callable[[int], None],
) -> Sums:
    """The sums over all batches, of which some images' moments at a time are in memory."""
    done = 0
    for first in batches:

        def tell_on(count: int, before: int = done) -> None:
            tell(before + count)

        some = chain([first], _some(batches, IMAGES_A_PART - _images(first)))
        moments = capturer.moments(some, classes=classes, progress=tell_on)
        summing.add(moments)
        done += moments.images
    return summing.sums()


def _some(batches: Iterator[Any], images: int) -> Iterator[Any]:
    """Batches until there are so many images."""
    while images > 0 and (batch := next(batches, None)) is not None:
        yield batch
        images -= _images(batch)


def _images(batch: Any) -> int:
    return len(batch[0] if isinstance(batch, tuple) else batch)
