"""What was captured: per image, layer and channel, the spatial mean and the spatial variance.

These N x C pairs are all that any question about batch sizes, groupings or batch compositions
needs; the network does not run again. ``Moments`` keeps them in memory, writes them to a folder
(safetensors parts and one JSON file), reads them back and merges what was captured apart.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normstats.errors import LayerError, NormstatsError, RunFolderError, did_you_mean

FloatArray = NDArray[np.floating[Any]]

FORMAT = 1
_INDEX = "moments.json"
_LAYERS = "layers.safetensors"


@dataclass(frozen=True)
class LayerMoments:
    """The moments of one layer's channels over N images, and what the layer itself says.

    Attributes:
        mean: spatial mean of each image and channel, ``(N, C)``.
        variance: biased spatial variance of each image and channel, ``(N, C)``.
        kind: the layer's class, e.g. ``"BatchNorm2d"``.
        spatial: height and width (or length, or depth, height, width) of the smallest map seen.
        epsilon: what the layer adds to the variance before the square root.
        gamma: learned scale ``(C,)``, or None where there is no affine.
        beta: learned shift ``(C,)``, or None.
        running_mean: the checkpoint's stored mean ``(C,)``, or None.
        running_variance: the checkpoint's stored (unbiased) variance ``(C,)``, or None.
        groups: the number of groups of a GroupNorm layer, else None.
        aliases: other names under which the same module stands in the network.
    """

    mean: FloatArray
    variance: FloatArray
    kind: str = "channels"
    spatial: tuple[int, ...] = ()
    epsilon: float = 1e-5
    gamma: FloatArray | None = None
    beta: FloatArray | None = None
    running_mean: FloatArray | None = None
    running_variance: FloatArray | None = None
    groups: int | None = None
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.mean.ndim != 2 or self.mean.shape != self.variance.shape:
            raise LayerError(
                f"Means and variances must both be of shape (N, C); "
                f"they are {self.mean.shape} and {self.variance.shape}.",
                "Reduce maps (N, C, H, W) over H and W.",
            )

    @property
    def images(self) -> int:
        """The number of images N."""
        return int(self.mean.shape[0])

    @property
    def channels(self) -> int:
        """The number of channels C."""
        return int(self.mean.shape[1])

    @property
    def positions(self) -> int:
        """Positions of the smallest map seen: H x W. One where no size is known."""
        return math.prod(self.spatial)


# What goes into JSON, and what into a tensor file, is read off the dataclass itself.
_PER_IMAGE = ("mean", "variance")
_PER_CHANNEL = ("gamma", "beta", "running_mean", "running_variance")
_SCALARS = tuple(f.name for f in fields(LayerMoments) if f.name not in (*_PER_IMAGE, *_PER_CHANNEL))


@dataclass(frozen=True)
class Moments(Mapping[str, LayerMoments]):
    """The moments of several layers over the same N images: a mapping from layer name to layer.

    Attributes:
        layers: the captured layers, in the order in which the network runs them.
        labels: class index of each image ``(N,)``, or None where there are no classes.
        classes: the name of each class index.
        left_out: layers that were asked for and are not here, with the reason.
        provenance: where the moments come from (checkpoint, images, versions); free-form JSON.
    """

    layers: Mapping[str, LayerMoments]
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = {layer.images for layer in self.layers.values()}
        if self.labels is not None:
            counts.add(len(self.labels))
        if len(counts) > 1:
            raise LayerError(
                f"Layers and labels cover different numbers of images: {sorted(counts)}.",
                "Capture all layers in one run.",
            )

    def __getitem__(self, name: str) -> LayerMoments:
        return self.layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def images(self) -> int:
        """The number of images N."""
        return next((layer.images for layer in self.layers.values()), 0)

    def __repr__(self) -> str:
        channels = sum(layer.channels for layer in self.layers.values())
        return f"Moments({len(self)} layers, {channels:,} channels, {self.images:,} images)"

    def select(self, globs: str | Sequence[str]) -> Moments:
        """Only the layers whose name matches one of the patterns, e.g. ``"layer3.*"``.

        Raises:
            LayerError: a pattern matches no layer.
        """
        chosen = match_layers(list(self.layers), globs)
        return replace(self, layers={name: self.layers[name] for name in chosen})

    def save(self, folder: str | Path) -> None:
        """Write the moments into ``folder``, which is made where it is missing."""
        from safetensors.numpy import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        part = {
            f"{name}/{what}": np.ascontiguousarray(getattr(layer, what))
            for name, layer in self.layers.items()
            for what in _PER_IMAGE
        }
        if self.labels is not None:
            part["labels"] = self.labels
        # No safetensors metadata: its order, and so the file's bytes, is not fixed.
        save_file(part, folder / "part-00000.safetensors")
        save_file(
            {
                f"{name}/{what}": np.ascontiguousarray(getattr(layer, what))
                for name, layer in self.layers.items()
                for what in _PER_CHANNEL
                if getattr(layer, what) is not None
            },
            folder / _LAYERS,
        )
        index = {
            "format": FORMAT,
            "parts": ["part-00000.safetensors"],
            "layers": {
                name: {what: getattr(layer, what) for what in _SCALARS}
                for name, layer in self.layers.items()
            },
            "classes": list(self.classes),
            "left_out": dict(self.left_out),
            "provenance": dict(self.provenance),
        }
        (folder / _INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def open(cls, folder: str | Path) -> Moments:
        """Read what ``save`` wrote.

        Raises:
            RunFolderError: the folder is missing, damaged, or of a newer format.
        """
        folder = Path(folder)
        try:
            index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
            if index["format"] != FORMAT:
                raise RunFolderError(
                    f"{folder} holds moments of format {index['format']}; this normstats "
                    f"reads format {FORMAT}.",
                    "Install the normstats that wrote them, or run the analysis again.",
                )
            return cls._from_files(folder, index)
        except NormstatsError:
            raise
        except Exception as error:  # safetensors raises its own class for cut-off files
            raise RunFolderError(
                f"The moments in {folder} cannot be read: {error}",
                "Run `normstats analyze` again to capture them anew.",
            ) from error

    @classmethod
    def _from_files(cls, folder: Path, index: Mapping[str, Any]) -> Moments:
        from safetensors.numpy import load_file

        per_channel = load_file(folder / _LAYERS)
        parts = [load_file(folder / part) for part in index["parts"]]

        def per_image(key: str) -> NDArray[Any]:
            return np.concatenate([part[key] for part in parts])

        def layer(name: str, scalars: Mapping[str, Any]) -> LayerMoments:
            values: dict[str, Any] = {what: per_image(f"{name}/{what}") for what in _PER_IMAGE}
            values |= {what: per_channel.get(f"{name}/{what}") for what in _PER_CHANNEL}
            values |= {k: tuple(v) if isinstance(v, list) else v for k, v in scalars.items()}
            return LayerMoments(**values)

        return cls(
            layers={name: layer(name, scalars) for name, scalars in index["layers"].items()},
            labels=per_image("labels") if "labels" in parts[0] else None,
            classes=tuple(index["classes"]),
            left_out=index["left_out"],
            provenance=index["provenance"],
        )

    @classmethod
    def merge(cls, parts: Sequence[Moments]) -> Moments:
        """Moments of the same network captured on several image sets, as one.

        Raises:
            LayerError: nothing to merge, or the parts hold other layers, channels or classes.
        """
        if not parts:
            raise LayerError("There is nothing to merge.", "Give some moments.")
        first = parts[0]
        for other in parts[1:]:
            if list(other) != list(first) or other.classes != first.classes:
                raise LayerError(
                    "The moments are not of the same layers and classes.",
                    "Capture each part from the same network, with the same layers.",
                )
        layers = {
            name: replace(
                layer,
                spatial=min((part[name].spatial for part in parts), key=math.prod),
                mean=np.concatenate([part[name].mean for part in parts]),
                variance=np.concatenate([part[name].variance for part in parts]),
            )
            for name, layer in first.items()
        }
        labels = [part.labels for part in parts if part.labels is not None]
        return replace(
            first,
            layers=layers,
            labels=np.concatenate(labels) if len(labels) == len(parts) else None,
        )


def match_layers(names: Sequence[str], globs: str | Sequence[str]) -> list[str]:
    """The names that match one of the patterns, in their own order.

    Args:
        names: layer names.
        globs: shell patterns (``*``, ``?``, ``[...]``); a string may hold several, with commas.

    Raises:
        LayerError: a pattern matches nothing; near names are offered.
    """
    patterns = globs.split(",") if isinstance(globs, str) else list(globs)
    patterns = [pattern.strip() for pattern in patterns if pattern.strip()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            known = f"The layers are {', '.join(names[:8])}{', ...' if len(names) > 8 else '.'}"
            raise LayerError(
                f"No layer matches {pattern!r}.", did_you_mean(pattern, names) or known
            )
    return [name for name in names if any(fnmatchcase(name, p) for p in patterns)]
