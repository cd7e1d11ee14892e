"""The images on which outputs are compared: kept in memory, and checked against the moments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from normstats.capturing import capture
from normstats.capturing.batches import read_batches
from normstats.errors import CaptureError
from normstats.moments import LayerMoments
from normstats.population import Population
from normstats.validation.normalization import Indices

# In units of s, the mean over channels by which an image's mean may differ when it is captured
# again: another device or half precision stays below; another image or network does not.
_SAME = 0.05

_GIVE_THE_SAME = (
    "Give the network and all the images of the analysis, prepared alike and in the same order."
)


def choose_images(images: Iterable[Any], order: Indices, count: int) -> Tensor:
    """The images numbered ``order[:count]``, in that order ``(n, C, H, W)``.

    Args:
        images: batches of all N images, as ``capture`` takes them.
        order: all N numbers, each once.
        count: n.

    Raises:
        CaptureError: there are not N images, or they differ in size.
    """
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    kept: Tensor | None = None
    done = 0
    for batch, _ in read_batches(images):
        pictures = batch if isinstance(batch, Tensor) else torch.stack(batch)
        places = place[done : done + len(pictures)]
        done += len(pictures)
        if done > len(order):
            break
        if kept is None:
            kept = torch.empty((count, *pictures.shape[1:]), dtype=pictures.dtype)
        if pictures.shape[1:] != kept.shape[1:]:
            raise CaptureError(
                f"The images differ in size: {tuple(kept.shape[1:])}, {tuple(pictures.shape[1:])}.",
                "Bring them to one size before the analysis.",
            )
        wanted = places < count
        kept[torch.from_numpy(places[wanted])] = pictures[torch.from_numpy(wanted)].cpu()
    if kept is None or done != len(order):
        more = "more than that" if done > len(order) else f"{done:,}"
        raise CaptureError(
            f"The moments are of {len(order):,} images, and {more} were given.", _GIVE_THE_SAME
        )
    return kept


def check_belonging(
    model: nn.Module,
    batches: Sequence[Tensor],
    layers: Mapping[str, LayerMoments],
    chosen: Indices,
    *,
    device: str | torch.device | None,
    channel_dim: int | None,
) -> None:
    """Capture the chosen images again and compare.

    Raises:
        CaptureError: the moments are not those of this network on these images.
    """
    modules = list(dict.fromkeys(name.partition("#")[0] for name in layers))
    again = capture(model, batches, layers=modules, device=device, channel_dim=channel_dim)
    for name, layer in layers.items():
        if name not in again:
            reason = again.left_out.get(name, "it did not run")
            raise CaptureError(
                f"{name} was captured, but cannot be on these images: {reason}.", _GIVE_THE_SAME
            )
        distance = np.abs(again[name].mean - layer.mean[chosen]) / Population.of(layer).std
        furthest = float(distance.mean(axis=1).max())
        if not furthest <= _SAME:
            raise CaptureError(
                "These are not the network and the images of the moments: at "
                f"{name} an image's means differ by {furthest:.2g} standard deviations.",
                _GIVE_THE_SAME,
            )
