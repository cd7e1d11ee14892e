"""Bringing together what was captured on several machines or days."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normstats.capture_folder import CaptureFolder
from normstats.errors import RunFolderError
from normstats.fingerprint import fingerprint_of
from normstats.moments import Moments
from normstats.moments_folder import INDEX, write_index
from normstats.moments_parts import StoredPart, part_name, whole_part
from normstats.run_folder import MOMENTS, UNFINISHED

# What may differ: the images, and what changes no more than the last digits.
_MAY_DIFFER = frozenset(
    {"images", "device", "memory_format", "batch_size", "normstats", "torch", "merged"}
)


@dataclass(frozen=True)
class Captured:
    """What one run holds, finished or not.

    Attributes:
        run: its folder.
        folder: what was begun there.
        parts: those that are whole, by number.
        provenance: what a finished run says of itself; empty for others.
    """

    run: Path
    folder: CaptureFolder
    parts: Mapping[int, StoredPart]
    provenance: Mapping[str, Any]

    @classmethod
    def read(cls, run: Path) -> Captured:
        """The parts of a run. Every byte of them is read.

        Raises:
            RunFolderError: it holds none.
        """
        for place in (run / UNFINISHED, run / MOMENTS):
            folder = CaptureFolder.read(place)
            if folder is None:
                continue
            names, provenance = [part_name(n) for n in range(len(folder.ranges()))], {}
            if (place / INDEX).is_file():
                index = json.loads((place / INDEX).read_text(encoding="utf-8"))
                names, provenance = list(index["parts"]), index["provenance"]
            parts = ((int(name[-5:]), whole_part(place, name)) for name in names)
            return cls(run, folder, {n: part for n, part in parts if part}, provenance)
        what = "holds no parts of a capture" if run.exists() else "does not exist"
        raise RunFolderError(
            f"{run} {what}.", "Give run folders that `normstats analyze` wrote, finished or not."
        )


def together(captured: Sequence[Captured]) -> list[StoredPart]:
    """The parts of all runs, one after the other.

    Runs of the same images complete each other; other images follow.

    Raises:
        RunFolderError: there are not two runs, they are of different networks or settings, parts
            are missing, or the same images come twice.
    """
    if len(captured) < 2:
        raise RunFolderError("There is only one run.", "Give two or more.")
    first = captured[0]
    for other in captured[1:]:
        differing = sorted(set(first.folder.differences(other.folder.identity)) - _MAY_DIFFER)
        if differing:
            raise RunFolderError(
                f"{other.run} differs from {first.run} in: {', '.join(differing)}.",
                "Only captures of the same checkpoint with the same settings can be merged.",
            )
    parts = [part for same in _by_images(captured) for part in _completed(same)]
    _check_classes(parts)
    _check_repeated(parts)
    return parts


def copied(
    captured: Sequence[Captured],
    parts: Sequence[StoredPart],
    place: Path,
    provenance: Mapping[str, Any],
) -> Moments:
    """Copy the parts into a new folder, as if one capture had written them.

    Args:
        captured: the runs.
        parts: theirs, ``together``.
        place: exists.
        provenance: of the whole, to which the images' fingerprint is added.

    Raises:
        RunFolderError: the disk refuses.
    """
    identity = dict(captured[0].folder.identity)
    images = sorted({one.folder.identity["images"] for one in captured})
    if len(images) > 1:
        identity["images"] = hashlib.sha256("".join(images).encode()).hexdigest()
    identity["merged"] = [str(part.about["sha256"]) for part in parts]
    total = sum(part.about["images"] for part in parts)
    first = captured[0].folder
    CaptureFolder(place, identity, total, first.images_a_part, {}, first.dealt).begin()
    try:
        for number, part in enumerate(parts):
            for suffix in (".safetensors", ".json"):
                target = place / f"{part_name(number)}{suffix}"
                shutil.copyfile(part.file.with_suffix(suffix), target)
        copies = [whole_part(place, part_name(number)) for number in range(len(parts))]
        digests = (digest for part in parts for digest in part.digests)
        images_from = {**provenance["images_from"], "sha256": fingerprint_of(digests)}
        return write_index(
            place,
            [copy for copy in copies if copy],
            {**provenance, "images_from": images_from},
            summed=first.dealt is not None,
        )
    except OSError as error:
        raise RunFolderError(
            f"The parts cannot be copied to {place}: {error}",
            "Make room, or choose another place with --out.",
        ) from error


def _by_images(captured: Sequence[Captured]) -> list[list[Captured]]:
    groups: dict[str, list[Captured]] = {}
    for one in captured:
        groups.setdefault(one.folder.identity["images"], []).append(one)
    return list(groups.values())


def _completed(same: Sequence[Captured]) -> list[StoredPart]:
    """The parts of runs of the same images."""
    first = same[0]
    finished = [one.run for one in same if one.provenance]
    if finished and len(same) > 1:
        raise RunFolderError(
            f"{finished[0]} is finished, and {len(same) - 1} of the others are of the same images.",
            "Give each image once: it would count twice.",
        )
    if finished:
        return [first.parts[number] for number in sorted(first.parts)]
    parts = {number: part for one in reversed(same) for number, part in one.parts.items()}
    missing = [n for n in range(len(first.folder.ranges())) if n not in parts]
    if missing:
        raise RunFolderError(
            f"Together, {', '.join(str(one.run) for one in same)} lack {len(missing)} of "
            f"{len(first.folder.ranges())} parts, the first of them {part_name(missing[0])}.",
            "Run the command that began them again: it captures what is missing.",
        )
    return [parts[number] for number in sorted(parts)]


def _check_classes(parts: Sequence[StoredPart]) -> None:
    if len({tuple(part.about["classes"]) for part in parts}) > 1:
        raise RunFolderError(
            "The runs are of images with different classes.",
            "Capture them with the same class folders, be some of them empty, or with none.",
        )


def _check_repeated(parts: Sequence[StoredPart]) -> None:
    digests = [digest for part in parts for digest in part.digests]
    repeated = len(digests) - len(set(digests))
    if repeated:
        raise RunFolderError(
            f"{repeated:,} images, by name and content, come more than once.",
            "Give each image once: it would count twice.",
        )
