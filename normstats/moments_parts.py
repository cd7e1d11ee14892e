"""A part of the moments on disk: some images, all layers.

It is a safetensors file, ``part-00000.safetensors``, and then ``part-00000.json``, which holds its
SHA-256: a part without, or with another one, is not whole. It may hold sums over its images in
place of their moments.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normstats.files import to_json, write_durably
from normstats.moments import LayerMoments, Moments

# What goes into JSON, and what into a tensor file, is read off the dataclass itself.
PER_IMAGE = ("mean", "variance")
PER_CHANNEL = ("gamma", "beta", "running_mean", "running_variance")
_BOTH = (*PER_IMAGE, *PER_CHANNEL)
_SUMS = "sums"
_SCALARS = tuple(f.name for f in fields(LayerMoments) if f.name not in _BOTH)


@dataclass(frozen=True)
class StoredPart:
    """A part that was written.

    Attributes:
        file: the tensors.
        about: what its JSON file says: SHA-256, images, layers, classes, left_out, skipped.
    """

    file: Path
    about: Mapping[str, Any]

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """The place of each image in the list that was captured ``(n,)``."""
        return self.tensor("places")

    @cached_property
    def digests(self) -> list[bytes]:
        """SHA-256 of each image's name and content."""
        return [row.tobytes() for row in self.tensor("digests")]

    def tensor(self, key: str) -> NDArray[Any]:
        """One tensor, read from the disk; an empty one where there is none."""
        from safetensors import safe_open

        with safe_open(self.file, framework="numpy") as tensors:
            return tensors.get_tensor(key) if key in tensors.keys() else np.empty(0)  # noqa: SIM118

    def sums(self, layer: str) -> dict[str, NDArray[Any]]:
        """The sums of a layer by name, read from the disk; none where moments are kept."""
        from safetensors import safe_open

        prefix = f"{layer}/{_SUMS}/"
        with safe_open(self.file, framework="numpy") as tensors:
            names = [key for key in tensors.keys() if key.startswith(prefix)]  # noqa: SIM118
            return {key.removeprefix(prefix): tensors.get_tensor(key) for key in names}


@dataclass(frozen=True)
class Sums:
    """Sums over images, in place of their moments.

    Attributes:
        images: how many.
        layers: the layers themselves, with moments of no image; labels are left out.
        tensors: by layer and name.
    """

    images: int
    layers: Moments
    tensors: Mapping[str, Mapping[str, NDArray[Any]]]


def part_name(number: int) -> str:
    """``part-00007``."""
    return f"part-{number:05d}"


def write_part(
    folder: Path,
    name: str,
    moments: Moments | Sums,
    *,
    places: Sequence[int] = (),
    digests: Sequence[bytes] = (),
    skipped: Iterable[tuple[str, str]] = (),
) -> None:
    """Write moments, or sums, as one part, which counts only once all of it is on the disk.

    Args:
        folder: exists.
        name: of the part.
        moments: of its images.
        places: of its images in the list that is captured.
        digests: SHA-256 of the name and content of each.
        skipped: images that could not be read, and why.

    Raises:
        OSError: the disk refuses.
    """
    from safetensors.numpy import save

    layers, kept = (moments.layers, PER_CHANNEL) if isinstance(moments, Sums) else (moments, _BOTH)
    tensors: dict[str, NDArray[Any]] = {
        f"{layer}/{what}": np.ascontiguousarray(getattr(values, what))
        for layer, values in layers.items()
        for what in kept
        if getattr(values, what) is not None
    }
    if isinstance(moments, Sums):
        for layer, of_layer in moments.tensors.items():
            for what, values in of_layer.items():
                tensors[f"{layer}/{_SUMS}/{what}"] = np.ascontiguousarray(values)
    elif moments.labels is not None:
        tensors["labels"] = moments.labels
    if digests:
        tensors["places"] = np.asarray(places, np.int64)
        tensors["digests"] = np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), -1)
    # No safetensors metadata: its order, and so the file's bytes, is not fixed.
    content = save(tensors)
    about = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "images": moments.images,
        "layers": {
            layer: {"channels": values.channels, **{k: getattr(values, k) for k in _SCALARS}}
            for layer, values in layers.items()
        },
        "classes": list(layers.classes),
        "left_out": dict(layers.left_out),
        "skipped": [list(one) for one in skipped],
    }
    write_durably(folder / f"{name}.safetensors", content)
    write_durably(folder / f"{name}.json", to_json(about))


def whole_part(folder: Path, name: str) -> StoredPart | None:
    """The part of that name, if all of it is there and its checksum is right."""
    file = folder / f"{name}.safetensors"
    try:
        about = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        whole = hashlib.sha256(file.read_bytes()).hexdigest() == about["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return StoredPart(file, about) if whole else None
