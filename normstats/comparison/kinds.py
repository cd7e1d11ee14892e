"""What the runs of a comparison are to each other, told from where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from normstats.layerwise import some_names
from normstats.printable import printable
from normstats.study import Study

Kind = Literal["checkpoints", "models", "image sets", "repeats"]
KINDS: tuple[Kind, ...] = ("checkpoints", "models", "image sets", "repeats")


@dataclass(frozen=True)
class Relation:
    """How the runs of a comparison hang together.

    Attributes:
        kind: ``"checkpoints"`` (the layers are the same, the weights are not), ``"models"`` (the
            layers differ), ``"image sets"`` (the same weights, other images) or ``"repeats"``
            (the same weights and images).
        reason: what told so; a sentence.
        image_sets: for each run the first run that is known to have the same images.
        layers: those that can be compared channel by channel, in the order of the first run.
        unmatched: the other layers of any run, with the reason.
    """

    kind: Kind
    reason: str
    image_sets: tuple[str, ...]
    layers: tuple[str, ...]
    unmatched: Mapping[str, str]

    @classmethod
    def of(cls, studies: Mapping[str, Study], kind: Kind | None = None) -> Relation:
        """Tell the kind; ``kind`` overrules what was told."""
        image_sets = _image_sets(studies)
        unmatched = _unmatched(studies)
        told, reason = _tell(studies, image_sets, unmatched)
        if kind is not None and kind != told:
            told, reason = kind, f"That they are {kind} was said by the caller."
        first = next(iter(studies.values()))
        named = [str(name) for name in first.layers()["layer"] if name not in unmatched]
        layers = tuple(named) if told != "models" else ()
        return cls(told, reason, tuple(image_sets), layers, unmatched)


def _tell(
    studies: Mapping[str, Study], image_sets: Sequence[str], unmatched: Mapping[str, str]
) -> tuple[Kind, str]:
    checkpoints = [_checkpoint(study) for study in studies.values()]
    left_out = {name for study in studies.values() for name in study.left_out}
    differ = [name for name in unmatched if name not in left_out]
    if None not in checkpoints and len(set(checkpoints)) == 1:
        if len(set(image_sets)) == 1:
            return "repeats", "All have the same checkpoint (SHA-256) and the same images."
        return "image sets", "All have the same checkpoint (SHA-256), and their images differ."
    if differ:
        names = some_names([printable(name) for name in differ])
        return "models", f"Their layers differ in name or channels: {names}."
    weights = "is not known" if None in checkpoints else "differs"
    return (
        "checkpoints",
        f"All layers agree in name and channels, and the checkpoint (SHA-256) {weights}. Channels "
        "of networks that were trained apart do not correspond, and then what is said to move "
        "means nothing.",
    )


def _checkpoint(study: Study) -> str | None:
    """What tells one checkpoint from another; None where nothing does."""
    source: Mapping[str, str | None] = study.provenance.get("checkpoint", {})
    return source.get("sha256")


def _images(study: Study) -> str | None:
    """The same: of the images as the network saw them, in their order."""
    source: Mapping[str, Any] = study.provenance.get("images_from", {})
    digest, path = source.get("sha256"), source.get("path")
    if digest is None and path is None:
        return None
    # A path alone tells where nobody took a digest, as of a library's own data.
    told = [digest or path, source.get("input"), study.provenance["images"]]
    return json.dumps(told, sort_keys=True)


def _image_sets(studies: Mapping[str, Study]) -> list[str]:
    """For each run the first with the same images; itself where that is not known."""
    firsts: dict[str, str] = {}
    return [
        name if (images := _images(study)) is None else firsts.setdefault(images, name)
        for name, study in studies.items()
    ]


def _unmatched(studies: Mapping[str, Study]) -> dict[str, str]:
    """Layers that are not in every run with the same number of channels, and why."""
    channels = {
        run: dict(zip(study.layers()["layer"], study.layers()["channels"], strict=True))
        for run, study in studies.items()
    }
    reasons: dict[str, str] = {}
    for layer in dict.fromkeys(name for of_run in channels.values() for name in of_run):
        counts = {run: of_run.get(layer) for run, of_run in channels.items()}
        missing = [run for run, count in counts.items() if count is None]
        if missing:
            why = studies[missing[0]].left_out.get(layer, "there is no such layer")
            reasons[str(layer)] = f"not in {', '.join(map(printable, missing))}: {why}"
        elif len(set(counts.values())) > 1:
            told = ", ".join(f"{count} in {printable(run)}" for run, count in counts.items())
            reasons[str(layer)] = f"other numbers of channels: {told}"
    return reasons
