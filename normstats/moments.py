"""What was captured: per image, layer and channel, the spatial mean and the spatial variance.

These N x C pairs are all that any question about batch sizes, groupings or batch compositions
needs; the network does not run again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normstats.errors import LayerError, did_you_mean

FloatArray = NDArray[np.floating[Any]]


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


class LazyLayers(Mapping[str, LayerMoments]):
    """Layers that are read when they are asked for, and not kept: one at a time is in memory.

    Args:
        shapes: N and C of each layer.
        read: reads the layer of a name.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, int]], read: Callable[[str], LayerMoments]
    ) -> None:
        self.shapes = shapes
        self.read = read

    def __getitem__(self, name: str) -> LayerMoments:
        if name not in self.shapes:
            raise KeyError(name)
        return self.read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


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
        counts = {images for images, _ in self.shapes.values()}
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
    def shapes(self) -> Mapping[str, tuple[int, int]]:
        """N and C of each layer; no layer is read from disk for it."""
        if isinstance(self.layers, LazyLayers):
            return self.layers.shapes
        return {name: (layer.images, layer.channels) for name, layer in self.layers.items()}

    @property
    def images(self) -> int:
        """The number of images N."""
        return next((images for images, _ in self.shapes.values()), 0)

    def __repr__(self) -> str:
        channels = sum(channels for _, channels in self.shapes.values())
        size = 2 * 4 * self.images * channels / 1e6  # two float32 numbers, as networks have them
        return (
            f"Moments({len(self)} layers, {channels:,} channels, {self.images:,} images, "
            f"{size:,.3g} MB)"
        )

    def _repr_html_(self) -> str:
        from normstats.notebook import moments_html  # pandas, which moments do without

        return moments_html(self)

    def select(self, globs: str | Sequence[str]) -> Moments:
        """Only the layers whose name matches one of the patterns, e.g. ``"layer3.*"``.

        Raises:
            LayerError: a pattern matches no layer.
        """
        chosen = match_layers(list(self.layers), globs)
        if isinstance(self.layers, LazyLayers):
            shapes = {name: self.layers.shapes[name] for name in chosen}
            return replace(self, layers=LazyLayers(shapes, self.layers.read))
        return replace(self, layers={name: self.layers[name] for name in chosen})

    def save(self, folder: str | Path) -> None:
        """Write the moments into ``folder``, which is made where it is missing."""
        from normstats.moments_folder import save  # it is built on this module

        save(self, Path(folder))

    @classmethod
    def open(cls, folder: str | Path) -> Moments:
        """What ``save`` or a capture wrote; a layer is read when it is asked for, and not kept.

        Raises:
            RunFolderError: the folder is missing, damaged, or of another format.
        """
        from normstats.moments_folder import open_moments

        return open_moments(Path(folder))

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
