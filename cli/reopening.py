"""The network and the images of a run again, wherever they are now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normstats.errors import CheckpointError, ImagesError, NormstatsError, RunFolderError
from normstats_cli.inputs import DEMO, Inputs, absolute, absolute_architecture

if TYPE_CHECKING:
    from torch import nn

    from normstats.study import Study

_AT_ONCE = 64  # images read


@dataclass(frozen=True)
class Source:
    """The network of a run, and its images again."""

    model: nn.Module
    channel_dim: int | None
    batches: Callable[[int], Iterable[Any]]
    notes: tuple[str, ...]


def reopen(
    study: Study, run: Path, *, checkpoint: str | None, arch: str | None, images: str | None
) -> Source:
    """Load what the run was made from; what has moved is where the options say.

    Raises:
        RunFolderError: the run does not say what it was made from.
        CheckpointError: the checkpoint is another one, or missing.
        ImagesError: the images are missing.
    """
    record = study.provenance.get("inputs")
    if record == DEMO:
        return _demo(study)
    if record is None:
        raise RunFolderError(
            f"{run} does not say where its network and images are: it was not written by "
            "`normstats analyze`, or by an earlier one.",
            "Analyze again; or use normstats.validate in Python, with the network and the images.",
        )
    inputs = Inputs.from_record(record)
    if checkpoint is not None:
        inputs = replace(inputs, checkpoint=absolute(checkpoint))
    if arch is not None:
        inputs = replace(inputs, arch=absolute_architecture(arch), directory=str(Path.cwd()))
    if images is not None:
        inputs = replace(inputs, images=absolute(images))
    with _hint("If it has moved, say where it is now with --checkpoint and --arch."):
        loaded = inputs.load()
    _check_checkpoint(study, loaded.sha256)
    with _hint("If they have moved, say where they are now with --images."):
        pictures = inputs.open_images(loaded)

    def batches(workers: int) -> Iterator[Any]:
        yield from pictures.batches(_AT_ONCE, workers)
        if pictures.fingerprint != study.provenance["images_from"]["sha256"]:
            raise ImagesError(
                f"{pictures!r} are not the images of the run: their names or contents differ.",
                "Say where the images of the run are with --images, or analyze these.",
            )

    return Source(loaded.model, inputs.channel_dim, batches, (*loaded.notes, *pictures.notes))


def _demo(study: Study) -> Source:
    from normstats.demo import WEIGHTS, demo_images, demo_model
    from normstats.inputs import read_checkpoint

    _check_checkpoint(study, read_checkpoint(WEIGHTS).sha256)
    return Source(demo_model(), None, lambda _: demo_images(), ())


def _check_checkpoint(study: Study, sha256: str) -> None:
    expected = study.provenance["checkpoint"]["sha256"]
    if sha256 != expected:
        raise CheckpointError(
            f"The checkpoint is not that of the run: its SHA-256 is {sha256[:12]}..., that of the "
            f"run's {expected[:12]}....",
            "Say where the checkpoint of the run is with --checkpoint, or analyze this one.",
        )


@contextmanager
def _hint(more: str) -> Iterator[None]:
    """Errors inside the block get one more hint."""
    try:
        yield
    except NormstatsError as error:
        raise type(error)(error.message, f"{error.hint} {more}") from error
