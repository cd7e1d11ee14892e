"""Checkpoints in several files: a folder, or the index that says which weights are in which."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from normstats.errors import CheckpointError
from normstats.inputs.checkpoints.hints import COPY_AGAIN, GIVE_WEIGHTS
from normstats.printable import first_few, printable

# What Hugging Face's libraries call the weights in a folder, in the order in which they look.
_USUAL = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_OTHERS = (
    (
        "zero_to_fp32.py",
        "a DeepSpeed checkpoint",
        "Join it where it was made: python zero_to_fp32.py . weights.pt",
    ),
    (
        ".metadata",
        "a distributed checkpoint",
        "Join it where it was made: python -m torch.distributed.checkpoint.format_utils "
        "dcp_to_torch FOLDER weights.pt",
    ),
    ("saved_model.pb", "a TensorFlow SavedModel", GIVE_WEIGHTS),
)
_INDICES = (".safetensors.index.json", ".bin.index.json")
_LONGEST_INDEX = 20_000_000
_NAME = re.compile(r"(?!\.\.?$)[^/\\:\0]+")


def file_in(folder: Path) -> Path:
    """The checkpoint or the index of shards in a folder.

    Raises:
        CheckpointError: there is none, or no telling which it is.
    """
    shown = printable(folder)
    names = sorted(_names_in(folder))
    for name, what, hint in _OTHERS:
        if name in names:
            raise CheckpointError(f"The folder {shown} is {what}.", hint)
    usual = [name for name in _USUAL if name in names]
    indices = [name for name in names if name.endswith(_INDICES)]
    if not usual and len(indices) != 1:
        raise CheckpointError(
            f"{shown} is a folder without a checkpoint of a usual name; it holds "
            f"{first_few(names) or 'nothing'}.",
            "Give the checkpoint file inside it.",
        )
    return folder / (usual or indices)[0]


def read_index(path: Path) -> Mapping[Path, frozenset[str]]:
    """The shards that an index names, beside it, and the names of the weights in each.

    Raises:
        CheckpointError: it is not an index, names files elsewhere, or shards are missing.
    """
    shown = printable(path)
    shards: dict[str, set[str]] = {}
    for weight, shard in _weight_map(path, shown).items():
        # A name alone, so that an index reads nothing beyond its own folder.
        if not isinstance(shard, str) or not _NAME.fullmatch(shard):
            raise CheckpointError(
                f"{shown} names a shard outside of its folder: {printable(str(shard)[:200])!r}.",
                "An index names files beside it; do not trust this one.",
            )
        shards.setdefault(shard, set()).add(weight)
    missing = shards.keys() - set(_names_in(path.parent))
    if missing:
        raise CheckpointError(
            f"{shown} names {len(shards)} shards, of which {len(missing)} are missing: "
            f"{first_few(sorted(missing))}.",
            f"Put them into {printable(path.parent)}.",
        )
    return {path.parent / shard: frozenset(shards[shard]) for shard in sorted(shards)}


def _names_in(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError as error:
        raise CheckpointError(
            f"The folder {printable(folder)} cannot be read: {error.strerror}.",
            "Check that you may read it.",
        ) from error


def _weight_map(path: Path, shown: str) -> Mapping[str, object]:
    if path.stat().st_size > _LONGEST_INDEX:
        raise CheckpointError(f"{shown} is too long for an index of shards.", COPY_AGAIN)
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{shown} is not an index of shards: {printable(str(error)[:200])}.", COPY_AGAIN
        ) from error
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(
            f'{shown} is not an index of shards: it has no "weight_map".', GIVE_WEIGHTS
        )
    return weight_map
