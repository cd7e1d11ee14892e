"""From a network and images to moments in the run's folder: begun, gone on with, completed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normstats import run_folder
from normstats.capture_folder import IMAGES_A_PART, CaptureFolder
from normstats.capturing import Capturer, Way, capture_parts, fastest
from normstats.capturing.layout import MemoryFormat, laid_out
from normstats.capturing.trial import images_to_try
from normstats.errors import RunFolderError
from normstats.fingerprint import fingerprint_of
from normstats.methods import Method
from normstats.printable import first_few
from normstats.summing import Summing
from normstats_cli.console import note, progress
from normstats_cli.inputs import Inputs
from normstats_cli.ranks import Ranks
from normstats_cli.runs import made_with

if TYPE_CHECKING:
    import torch

    from normstats.inputs import Images, LoadedModel
    from normstats.moments import Moments
    from normstats.moments_parts import StoredPart


@dataclass(frozen=True)
class Capturing:
    """What is to be captured, and how.

    Attributes:
        inputs, loaded, pictures: the network, in its place, and the images.
        layers, amp: as ``normstats.capture`` takes them.
        device: where the network is.
        memory_format, batch_size: None for what is fastest here.
        workers: processes that decode.
        summed: the methods for which sums are kept in place of the moments; None to keep these.
        ranks: who takes part.
        quiet: no progress and no notes.
    """

    inputs: Inputs
    loaded: LoadedModel
    pictures: Images
    layers: str | None
    amp: bool
    device: torch.device
    memory_format: MemoryFormat | None
    batch_size: int | None
    workers: int
    summed: Sequence[Method] | None
    ranks: Ranks
    quiet: bool

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Whatever changes the moments, be it in the last digit."""
        versions = made_with()["versions"]
        return {
            **self._sums_for(),
            "checkpoint": self.loaded.sha256,
            "architecture": self.loaded.arch,
            "code": _code_sha256(self.inputs.arch),
            "dtype": self.inputs.dtype,
            "images": self.pictures.sample_sha256(),
            "preprocessing": str(self.pictures.preprocessing),
            "layers": self.layers,
            "channel_dim": self.inputs.channel_dim,
            "device": self.device.type,
            "amp": self.amp,
            "memory_format": self.memory_format,
            "batch_size": self.batch_size,
            "normstats": versions["normstats"],
            "torch": versions["torch"],
        }

    def _sums_for(self) -> dict[str, Any]:
        """What sums depend on besides: the groups that are pooled, and the blocks."""
        if self.summed is None:
            return {}
        pooled = {
            f"{method.groups} groups" if method.groups else f"groups of {method.group_channels}"
            for method in self.summed
            if method.batch is not None
        }
        batches = {method.batch for method in self.summed if method.batch is not None}
        sums = {"pooled": sorted(pooled), "batches": sorted(batches), "seed": self.inputs.seed}
        return {"sums": sums}

    def lead(self, run: Path, *, force: bool) -> Moments:
        """Begin or go on, capture this rank's share, wait for the others, complete.

        Args:
            run: its folder, locked.
            force: drop the beginnings of another capture.

        Returns:
            the moments; a layer is read from the folder when it is asked for.

        Raises:
            CaptureError, LayerError, ImagesError: as ``capture``.
            RunFolderError: another capture was begun there, or the disk refuses.
        """
        _ = self._capturer  # what cannot be captured shows before anything is begun
        fresh = CaptureFolder(
            folder=run / run_folder.UNFINISHED,
            identity=self.identity,
            images=len(self.pictures),
            images_a_part=IMAGES_A_PART,
            way={},
            dealt=None if self.summed is None else self.inputs.seed,
        )
        folder = run_folder.go_on(run, fresh, lambda: asdict(self._way()), force=force)
        self.ranks.wait()  # they wait for this one to begin
        self._capture_share(folder)
        parts = folder.whole()
        if not any(part.about["images"] for part in parts.values()):
            raise self.pictures.none_readable(_skipped(parts))
        return folder.finish(parts, self._provenance(folder, parts))

    def follow(self, run: Path) -> None:
        """Capture this rank's share of what the first one has begun.

        Args:
            run: its folder.

        Raises:
            CaptureError, LayerError, ImagesError: as ``capture``.
            RunFolderError: nothing was begun there, or the disk refuses.
        """
        folder = CaptureFolder.read(run / run_folder.UNFINISHED)
        if folder is None or folder.differences(self.identity):
            raise RunFolderError(
                f"{run} is not what rank 0 captures into.",
                "All ranks must see the same folders and be given the same arguments.",
            )
        self._capture_share(folder)

    def _capture_share(self, folder: CaptureFolder) -> None:
        there = folder.whole()
        missing = [n for n in range(len(folder.ranges())) if n not in there]
        self.ranks.wait()  # for all to have looked, before anyone adds a part
        mine = self.ranks.share(missing)
        ranges = folder.ranges()
        images = sum(len(ranges[number]) for number in mine)
        if there:
            before = sum(len(ranges[number]) for number in there)
            text = f"Going on: {before:,} of {folder.images:,} images were captured before."
            note(text, quiet=self.quiet)
        way = Way(**folder.way)
        if mine:
            with (
                progress("Capturing", images, quiet=self.quiet) as tell,
                laid_out(self._capturer.model, way.memory_format),
            ):
                capture_parts(
                    self._capturer,
                    self.pictures,
                    folder,
                    mine,
                    batch_size=way.batch_size,
                    workers=self.workers,
                    progress=tell,
                    summing=None if self.summed is None else partial(Summing, self.summed),
                )
        self.ranks.wait()  # for all parts to be there

    @cached_property
    def _capturer(self) -> Capturer:
        return Capturer(
            self.loaded.model,
            layers=self.layers,
            channel_dim=self.inputs.channel_dim,
            amp=self.amp,
        )

    def _way(self) -> Way:
        """How to run the network: as asked, or as a trial on the first images shows."""
        if self.memory_format and self.batch_size:
            return Way(self.memory_format, self.batch_size)
        count = len(self.pictures)
        first = range(min(count, self.batch_size or images_to_try(count)))
        images = next(iter(next(self.pictures.shares([first], len(first))).batches), None)
        if images is None:  # none can be read, as the capture will say
            return Way()
        trial = fastest(
            self.loaded.model,
            images[0] if isinstance(images, tuple) else images,
            memory_format=self.memory_format,
            batch_size=self.batch_size,
            amp=self.amp,
        )
        if trial.seconds:
            note(f"After a trial on the first images: {trial}.", quiet=self.quiet)
        return trial.way

    def _provenance(self, folder: CaptureFolder, parts: dict[int, StoredPart]) -> dict[str, Any]:
        """Where the moments come from: all that is needed to make them again."""
        skipped = _skipped(parts)
        if skipped:
            named = first_few((f"{name} ({reason})" for name, reason in skipped), 3)
            count = f"{len(skipped)} of {len(self.pictures)} images could not be read"
            note(f"{count}; skipped: {named}.", quiet=self.quiet)
        return {
            "checkpoint": {
                "path": self.inputs.checkpoint,
                "description": self.loaded.description,
                "arch": self.loaded.arch,
                "sha256": self.loaded.sha256,
                "dtype": self.inputs.dtype,
            },
            "images_from": {
                "path": self.inputs.images,
                "sha256": fingerprint_of(
                    digest for part in parts.values() for digest in part.digests
                ),
                "skipped": dict(skipped),
                "input": str(self.pictures.preprocessing),
            },
            "inputs": self.inputs.record(),
            "device": str(self.device),
            "capture": dict(folder.way),
            **made_with(),
        }


def _skipped(parts: Mapping[int, StoredPart]) -> list[tuple[str, str]]:
    """Name and reason of the images that could not be read."""
    return [(name, why) for part in parts.values() for name, why in part.about["skipped"]]


def _code_sha256(arch: str | None) -> str | None:
    """Of the user's file that builds the network, if there is one."""
    file = Path((arch or "").rpartition(":")[0])
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None
