"""A capture in the making: parts that outlive a kill, and what they are parts of.

``capture.json`` says of which network and images, and how, before anything is captured. Whoever
starts the same capture again goes on from the parts that are whole; another is refused. One
process prepares and completes the folder, under a lock; several may write parts of their own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from normstats.blocks import Blocks
from normstats.errors import RunFolderError
from normstats.files import to_json, write_durably
from normstats.moments import Moments
from normstats.moments_folder import write_index
from normstats.moments_parts import StoredPart, Sums, part_name, whole_part, write_part

FORMAT = 1
ABOUT = "capture.json"
IMAGES_A_PART = 128
LOCK = ".lock"


@dataclass(frozen=True)
class CaptureFolder:
    """A folder of parts.

    Attributes:
        folder: where.
        identity: what the parts are made of: checkpoint, images, preprocessing, layers, versions;
            JSON.
        images: how many are to be captured.
        images_a_part: how many of them make a part.
        way: how the network is run, e.g. its batch size; JSON.
        dealt: where a part holds sums: the seed with which the images are dealt into one part for
            each block of the confidence intervals, in random order. None for parts of images that
            follow each other.
    """

    folder: Path
    identity: Mapping[str, Any]
    images: int
    images_a_part: int
    way: Mapping[str, Any]
    dealt: int | None = None

    @classmethod
    def read(cls, folder: Path) -> CaptureFolder | None:
        """What was begun in a folder; None where nothing was, or it cannot be read."""
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            return cls(folder, **about["capture"]) if about["format"] == FORMAT else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self) -> None:
        """Write down what is begun, in place of whatever was begun here before.

        Raises:
            RunFolderError: the disk refuses.
        """
        about = {
            "format": FORMAT,
            "capture": {
                "identity": dict(self.identity),
                "images": self.images,
                "images_a_part": self.images_a_part,
                "way": dict(self.way),
                "dealt": self.dealt,
            },
        }
        with _disk(self.folder):
            for old in self.folder.glob("*part-*"):
                old.unlink()
            write_durably(self.folder / ABOUT, to_json(about))

    def differences(self, identity: Mapping[str, Any]) -> list[str]:
        """By what another capture differs from this one: names of the identity's entries."""
        theirs = json.loads(json.dumps(identity))  # tuples are lists there
        return [
            name
            for name in sorted({*self.identity, *theirs})
            if self.identity.get(name) != theirs.get(name)
        ]

    def ranges(self) -> list[Sequence[int]]:
        """The places of each part's images."""
        if self.dealt is not None:
            blocks = Blocks.of(self.images, seed=self.dealt)
            random = np.random.default_rng([self.dealt, self.images])
            members = (blocks.members(block) for block in range(len(blocks.ends)))
            return [random.permutation(of_block).tolist() for of_block in members]
        every, step = range(self.images), self.images_a_part
        return [every[first : first + step] for first in range(0, self.images, step)]

    def whole(self) -> dict[int, StoredPart]:
        """The parts that are whole, by number. Every byte of them is read for it."""
        parts = {n: whole_part(self.folder, part_name(n)) for n in range(len(self.ranges()))}
        return {number: part for number, part in parts.items() if part is not None}

    def write(
        self,
        number: int,
        moments: Moments | Sums,
        *,
        places: Sequence[int],
        digests: Sequence[bytes],
        skipped: Iterable[tuple[str, str]],
    ) -> None:
        """Write a part; see ``moments_parts.write_part``.

        Raises:
            RunFolderError: the disk refuses.
        """
        with _disk(self.folder):
            write_part(
                self.folder,
                part_name(number),
                moments,
                places=places,
                digests=digests,
                skipped=skipped,
            )

    def finish(self, parts: Mapping[int, StoredPart], provenance: Mapping[str, Any]) -> Moments:
        """Make the folder complete, and open it.

        Raises:
            CaptureError: there is too little in it.
            RunFolderError: parts are missing, or the disk refuses.
        """
        missing = [number for number in range(len(self.ranges())) if number not in parts]
        if missing:
            raise RunFolderError(
                f"{self.folder} lacks {len(missing)} of {len(self.ranges())} parts, the first of "
                f"them {part_name(missing[0])}.",
                "Run the same command again to capture them; if they lie on another machine, bring "
                "the runs together with `normstats merge`.",
            )
        with _disk(self.folder):
            for cut_off in self.folder.glob(".*"):  # where a process died as it wrote
                cut_off.unlink()
            every = [parts[n] for n in sorted(parts)]
            return write_index(self.folder, every, provenance, summed=self.dealt is not None)


@contextmanager
def locked(run: Path, unfinished: Path) -> Iterator[None]:
    """Be the only one to capture into a run folder, which is made where it is missing.

    The lock goes with the process, however it ends. What holds fewer than two images in the end is
    removed.

    Args:
        run: the run's folder.
        unfinished: the capture's folder in it.

    Raises:
        RunFolderError: another process has the lock, or the disk refuses.
    """
    from filelock import FileLock, Timeout

    with _disk(run):
        unfinished.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunFolderError(
                f"Another normstats is writing to {run}.",
                "Wait until it has finished, or choose another place with --out.",
            ) from None
    try:
        yield
    finally:
        if unfinished.is_dir() and not _holds_images(unfinished):
            shutil.rmtree(unfinished)
        (run / LOCK).unlink(missing_ok=True)
        lock.release()
        if not any(run.iterdir()):
            run.rmdir()


def _holds_images(folder: Path) -> bool:
    """Whether there is something to go on from: two images or more."""
    images = 0
    for file in sorted(folder.glob("part-*.json")):
        part = whole_part(folder, file.stem)
        images += part.about["images"] if part else 0
        if images > 1:
            return True
    return False


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunFolderError(
            f"Moments cannot be written to {folder}: {error}",
            "Make room, or choose another place with --out. The parts that are whole stay: the "
            "same command goes on from them.",
        ) from error
