"""Moments on disk: parts of some images each, and ``moments.json``, which makes them complete."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normstats.errors import CaptureError, NormstatsError, RunFolderError
from normstats.files import to_json, write_durably
from normstats.moments import LayerMoments, LazyLayers, Moments
from normstats.moments_parts import (
    PER_CHANNEL,
    PER_IMAGE,
    StoredPart,
    part_name,
    whole_part,
    write_part,
)

FORMAT = 2
INDEX = "moments.json"
NOTHING = "none"  # what an index says is kept, where there are only sums


def write_index(
    folder: Path,
    parts: Sequence[StoredPart],
    provenance: Mapping[str, Any],
    *,
    summed: bool = False,
) -> Moments:
    """Make a folder of parts complete.

    A layer that one of the parts lacks, or has with other channels, is left out.

    Args:
        folder: of the parts.
        parts: all of them.
        provenance: of the whole.
        summed: whether they hold sums in place of moments.

    Raises:
        CaptureError: no layer is in all of them, or there are fewer than two images.
        OSError: the disk refuses.
    """
    parts = [part for part in parts if part.about["images"]]
    images = sum(part.about["images"] for part in parts)
    if images < 2:
        raise too_few(images)
    left_out: dict[str, str] = {}
    for part in parts:
        for name, reason in part.about["left_out"].items():
            left_out.setdefault(name, reason)
    layers = _common_layers(parts, left_out)
    if not layers:
        name, reason = next(iter(left_out.items()))
        raise CaptureError(
            f"No layer could be captured. {name}: {reason}.",
            "`normstats layers` lists every layer with its reason.",
        )
    index = {
        "format": FORMAT,
        "images": images,
        "parts": {part.file.stem: part.about["images"] for part in parts},
        "layers": layers,
        "classes": parts[0].about["classes"],
        "left_out": left_out,
        "provenance": dict(provenance),
    }
    if summed:
        index["keep"] = NOTHING
    write_durably(folder / INDEX, to_json(index))
    return open_moments(folder)


def _common_layers(parts: Sequence[StoredPart], left_out: dict[str, str]) -> dict[str, Any]:
    layers: dict[str, Any] = {}
    for name, first in parts[0].about["layers"].items():
        others = [part.about["layers"].get(name) for part in parts]
        if any(other is None for other in others):
            left_out.setdefault(name, "it did not run with every image")
            continue
        counts = sorted({other["channels"] for other in others})
        if len(counts) > 1:
            left_out[name] = f"its channels changed from {counts[0]} to {counts[-1]}"
            continue
        spatial = min((other["spatial"] for other in others), key=math.prod)
        layers[name] = {**first, "spatial": spatial}
    for part in parts:
        for name in part.about["layers"]:
            if name not in layers:
                left_out.setdefault(name, "it did not run with every image")
    return layers


def too_few(images: int) -> CaptureError:
    """What is wrong with no image, or one."""
    return CaptureError(
        "There is only one image." if images else "There are no images.",
        "Give at least two, better hundreds: how statistics vary between images is the point.",
    )


def save(moments: Moments, folder: Path) -> None:
    """Write moments into a folder, which is made where it is missing.

    Raises:
        OSError: the disk refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if source := home(moments):
        shutil.copytree(source, folder, dirs_exist_ok=True)
        return
    write_part(folder, part_name(0), moments)
    part = whole_part(folder, part_name(0))
    write_index(folder, [part] if part else [], moments.provenance)


def home(moments: Moments) -> Path | None:
    """The folder from which layers are read; None where they are in memory."""
    return moments.layers.folder if isinstance(moments.layers, _StoredLayers) else None


def move(moments: Moments, folder: Path) -> None:
    """Give the folder from which layers are read another name, on the same disk.

    Raises:
        OSError: the disk refuses.
    """
    if isinstance(moments.layers, _StoredLayers):
        moments.layers.folder.rename(folder)
        moments.layers.folder = folder


def open_moments(folder: Path) -> Moments:
    """Moments whose layers are read from the folder when they are asked for.

    Raises:
        RunFolderError: the folder is missing, damaged, or of another format.
    """
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if index["format"] != FORMAT:
            raise RunFolderError(
                f"{folder} holds moments of format {index['format']}; this normstats "
                f"reads format {FORMAT}.",
                "Install the normstats that wrote them, or run the analysis again.",
            )
        kept = index.get("keep") != NOTHING
        layers = _StoredLayers(folder, index) if kept else SummedLayers(folder, index)
        return Moments(
            layers=layers,
            labels=layers.labels(),
            classes=tuple(index["classes"]),
            left_out=index["left_out"],
            provenance=index["provenance"],
        )
    except NormstatsError:
        raise
    except Exception as error:  # safetensors raises its own class for cut-off files
        raise _damaged(folder, error) from error


class _StoredLayers(LazyLayers):
    """The layers of a complete folder of parts."""

    def __init__(self, folder: Path, index: Mapping[str, Any]) -> None:
        self.folder = folder
        self._scalars: dict[str, dict[str, Any]] = {
            name: {k: tuple(v) if isinstance(v, list) else v for k, v in scalars.items()}
            for name, scalars in index["layers"].items()
        }
        self._parts: Mapping[str, int] = index["parts"]
        images = index["images"]
        super().__init__(
            {name: (images, values.pop("channels")) for name, values in self._scalars.items()},
            self._read,
        )

    def labels(self) -> NDArray[np.int64] | None:
        """The class index of each image, if there are classes."""
        found = [part.tensor("labels") for part in self._stored()]
        labels = np.concatenate(found)
        return labels.astype(np.int64) if len(labels) == sum(self._parts.values()) else None

    def _stored(self) -> list[StoredPart]:
        return [StoredPart(self.folder / f"{name}.safetensors", {}) for name in self._parts]

    def _read(self, name: str) -> LayerMoments:
        try:
            first, *_ = parts = self._stored()
            values = self._description(name, first)
            for what in PER_IMAGE:
                values[what] = self._joined(parts, f"{name}/{what}")
            return LayerMoments(**values)
        except Exception as error:  # safetensors raises its own class for cut-off files
            raise _damaged(self.folder, error) from error

    def _description(self, name: str, part: StoredPart) -> dict[str, Any]:
        """All that a layer is but its moments."""
        values: dict[str, Any] = dict(self._scalars[name])
        for what in PER_CHANNEL:
            one_a_channel = part.tensor(f"{name}/{what}")
            values[what] = one_a_channel if len(one_a_channel) else None
        return values

    def _joined(self, parts: Sequence[StoredPart], key: str) -> NDArray[Any]:
        """All images of one tensor, one part in memory at a time."""
        first = parts[0].tensor(key)
        if len(parts) == 1:
            return first
        joined = np.empty((sum(self._parts.values()), first.shape[1]), first.dtype)
        done = 0
        for part in parts:
            values = first if part is parts[0] else part.tensor(key)
            joined[done : done + len(values)] = values
            done += len(values)
        return joined


class SummedLayers(_StoredLayers):
    """The layers of a folder of sums: what they are can be read, their moments cannot."""

    def not_kept(self) -> RunFolderError:
        """Why a question that needs the moments has no answer."""
        return RunFolderError(
            f"The moments of {self.folder.parent} were not kept, only sums over the images.",
            "Run `normstats analyze` again with --keep layers; it answers every further question.",
        )

    def _read(self, name: str) -> LayerMoments:
        raise self.not_kept()

    def description(self, name: str) -> LayerMoments:
        """The layer, with NaN for the moments of each image.

        Raises:
            RunFolderError: the folder is damaged.
        """
        try:
            unknown = np.broadcast_to(np.float64(np.nan), self.shapes[name])  # one number
            return LayerMoments(unknown, unknown, **self._description(name, self._stored()[0]))
        except Exception as error:  # safetensors raises its own class for cut-off files
            raise _damaged(self.folder, error) from error

    def sums(self, name: str) -> list[tuple[int, dict[str, NDArray[Any]]]]:
        """Each part's number, and the layer's sums over its images.

        Raises:
            RunFolderError: the folder is damaged.
        """
        try:
            return [(int(part.file.stem[-5:]), part.sums(name)) for part in self._stored()]
        except Exception as error:  # safetensors raises its own class for cut-off files
            raise _damaged(self.folder, error) from error


def _damaged(folder: Path, error: Exception) -> RunFolderError:
    return RunFolderError(
        f"The moments in {folder} cannot be read: {error}",
        "Run `normstats analyze` again to capture them anew.",
    )
