"""Images in batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from normstats.errors import ImagesError, SettingError
from normstats.fingerprint import fingerprint_of
from normstats.inputs.images.classes import told_apart
from normstats.inputs.images.processes import read_in_order
from normstats.inputs.images.reading import Reader, Reading
from normstats.inputs.images.source import Source
from normstats.inputs.preprocessing import Preprocessing
from normstats.printable import first_few, printable

Pixels = NDArray[np.float32]
Shape = tuple[int, ...]

# Of a batch; larger images come in smaller batches.
_MOST_BYTES = 256 << 20
# More images than one in this many that cannot be read are an error, unless they are allowed.
_BAD_ONE_IN = 20
# How many images tell a set from another one.
_SAMPLE = 16


@dataclass
class ImagesShare:
    """Some of the images, in the order of their places.

    Attributes:
        batches: as ``Images.batches`` gives them; reading them fills the rest.
        places: of the images that were read, among the names of all.
        digests: SHA-256 of each one's name and content.
        skipped: the images that could not be read: printable name and reason.
    """

    batches: Iterator[Tensor | tuple[Tensor, Tensor]] = field(default_factory=lambda: iter(()))
    places: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class _Seen:
    """What several shares have in common: the first image's name and shape, all that is bad."""

    first: tuple[str, Shape] | None = None
    skipped: list[tuple[str, str]] = field(default_factory=list)


class Images:
    """The images of a source, or a sample of them, ready to be read in batches.

    Attributes:
        names: of the images to be read ``(N,)``, in order.
        classes: the names of the classes, printable and no two alike; empty where there are none.
        labels: the class index of each of ``names`` ``(N,)``, or None where there are no classes.
        channels: of each image.
        preprocessing: what happens to each image.
        notes: what the user should know about how the images were understood; sentences.
        skipped: after reading, the images that could not be read: printable name and reason.
        fingerprint: after reading to the end, SHA-256 over the names and contents of the images
            that were read; else None.
    """

    def __init__(
        self,
        source: Source,
        indices: Sequence[int],
        preprocessing: Preprocessing,
        channels: int,
        *,
        allow_bad: bool = False,
    ) -> None:
        listing = source.listing
        self.names = tuple(listing.names[index] for index in indices)
        self.classes = told_apart(printable(name) for name in listing.classes)
        self.labels = None if listing.labels is None else listing.labels[np.asarray(indices)]
        self.channels = channels
        self.preprocessing = preprocessing
        self.notes = listing.notes
        self.skipped: list[tuple[str, str]] = []
        self.fingerprint: str | None = None
        self._source = source
        self._indices = indices
        self._allow_bad = allow_bad

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        shown, classes = self._source.listing.shown, len(self.classes)
        return f"Images({shown}, {len(self):,} images, {classes} classes)"

    def batches(
        self, batch_size: int, workers: int = 0
    ) -> Iterator[Tensor | tuple[Tensor, Tensor]]:
        """Read all images, in order.

        An image that cannot be read is left out and listed in ``skipped``.

        Args:
            batch_size: the number of images in a batch; fewer where they would take too much
                memory.
            workers: processes that decode; 0 decodes in this one. What comes out is the same.

        Yields:
            Images ``(N, C, H, W)`` in float32 with their labels ``(N,)`` in int64; the images
            alone where there are no classes.

        Raises:
            SettingError: a batch size below 1, a negative number of workers.
            ImagesError: images of different sizes, or too many that cannot be read.
        """
        every = self.shares([range(len(self))], batch_size, workers)
        return self._all(every)

    def shares(
        self, ranges: Sequence[Sequence[int]], batch_size: int, workers: int = 0
    ) -> Iterator[ImagesShare]:
        """Read some ranges of the images, one after the other.

        Args:
            ranges: of places among ``names``; no batch holds images of two.
            batch_size, workers: as in ``batches``.

        Yields:
            A share for each range, to be read before the next is asked for.

        Raises:
            SettingError, ImagesError: as ``batches``.
        """
        if batch_size < 1:
            raise SettingError(f"The batch size is {batch_size}.", "Give 1 or more.")
        if workers < 0:
            raise SettingError(f"The number of workers is {workers}.", "Give 0 or more.")
        return self._shares(ranges, batch_size, workers)

    def sample_sha256(self) -> str:
        """SHA-256 over the names of all images and the contents of a few, read for it.

        Enough to tell these images from others before all are read.
        """
        names = "\0".join(self.names)
        digest = hashlib.sha256(names.encode("utf-8", "surrogatepass"))
        reader = Reader(self._source, self.preprocessing, self.channels)
        for place in np.unique(np.linspace(0, len(self) - 1, _SAMPLE).astype(int)):
            digest.update(reader(self._indices[place]).digest)
        return digest.hexdigest()

    def none_readable(self, skipped: Iterable[tuple[str, str]]) -> ImagesError:
        """What is wrong where every image was skipped."""
        return ImagesError(
            f"None of the {len(self)} images in {self._source.listing.shown} can be read: "
            f"{_reasons(skipped)}.",
            "Mend them: files must open in an image viewer, arrays hold finite numbers.",
        )

    def _all(self, shares: Iterator[ImagesShare]) -> Iterator[Tensor | tuple[Tensor, Tensor]]:
        self.skipped, self.fingerprint = [], None
        for share in shares:
            self.skipped = share.skipped
            yield from share.batches
            self.fingerprint = fingerprint_of(share.digests)
        if self.fingerprint is None or not share.places:
            raise self.none_readable(self.skipped)

    def _shares(
        self, ranges: Sequence[Sequence[int]], batch_size: int, workers: int
    ) -> Iterator[ImagesShare]:
        reader = Reader(self._source, self.preprocessing, self.channels)
        indices = [self._indices[place] for places in ranges for place in places]
        readings = read_in_order(reader, indices, workers)
        seen = _Seen()
        for places in ranges:
            share = ImagesShare()
            good = self._good(zip(places, readings, strict=False), share, seen)
            share.batches = self._batches(good, batch_size)
            yield share

    def _batches(
        self, good: Iterator[tuple[int, Pixels]], batch_size: int
    ) -> Iterator[Tensor | tuple[Tensor, Tensor]]:
        places: list[int] = []
        images: list[Pixels] = []
        for place, image in good:
            places.append(place)
            images.append(image)
            if len(images) == batch_size or (len(images) + 1) * image.nbytes > _MOST_BYTES:
                batch = self._batch(places, images)
                places, images = [], []  # before the network runs, since they take memory
                yield batch
        if images:
            yield self._batch(places, images)

    def _batch(self, places: list[int], images: list[Pixels]) -> Tensor | tuple[Tensor, Tensor]:
        stacked = torch.from_numpy(np.stack(images))
        if self.labels is None:
            return stacked
        return stacked, torch.from_numpy(self.labels[places])

    def _good(
        self, readings: Iterable[tuple[int, Reading]], share: ImagesShare, seen: _Seen
    ) -> Iterator[tuple[int, Pixels]]:
        """The images that can be read, and their places among ``names``."""
        for place, reading in readings:
            name = self.names[place]
            if reading.image is None:
                self._skip(reading, name, share, seen)
                continue
            shape = reading.image.shape
            seen.first = seen.first or (name, shape)
            if shape != seen.first[1]:
                raise self._sizes_differ(seen.first, (name, shape))
            share.places.append(place)
            named = name.encode("utf-8", "surrogatepass") + b"\0" + reading.digest
            share.digests.append(hashlib.sha256(named).digest())
            yield place, reading.image

    def _skip(self, reading: Reading, name: str, share: ImagesShare, seen: _Seen) -> None:
        if isinstance(reading.problem, ImagesError):
            raise reading.problem
        share.skipped.append((printable(name), reading.problem or "not read"))
        seen.skipped.append(share.skipped[-1])
        if self._allow_bad or len(seen.skipped) * _BAD_ONE_IN <= len(self):
            return
        raise ImagesError(
            f"More than {100 // _BAD_ONE_IN} % of the {len(self):,} images in "
            f"{self._source.listing.shown} cannot be read, among them {_reasons(seen.skipped)}.",
            "Mend or remove them; or leave them out with --allow-bad.",
        )

    def _sizes_differ(self, *both: tuple[str, Shape]) -> ImagesError:
        first, other = (f"{printable(name)} is {shape[2]}x{shape[1]}" for name, shape in both)
        resize = self.preprocessing.resize
        return ImagesError(
            f"The images differ in size: {first} pixels (width x height), {other}.",
            f"Cut them to one size: --crop {resize}, say."
            if resize
            else "Bring them to one size: --resize 256 --crop 224, say.",
        )


def _reasons(skipped: Iterable[tuple[str, str]]) -> str:
    return first_few((f"{name} ({reason})" for name, reason in skipped), 3)
