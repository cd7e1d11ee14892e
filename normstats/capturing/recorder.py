"""What the hooks of a capture have read so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from normstats.capturing.axes import channel_axis, only_tensor, positions, why_left_out
from normstats.capturing.functional import FunctionalNorm
from normstats.capturing.kernels import spatial_moments
from normstats.capturing.layers import NEVER_RAN, Layer, layer_fields
from normstats.moments import LayerMoments


@dataclass
class _Record:
    """One call of one layer: the moments of each batch, and the smallest map.

    ``axis`` is that of the channels in an input of ``shape``, the last one that was looked at.
    """

    layer: Layer
    shape: tuple[int, ...]
    axis: int
    spatial: tuple[int, ...]
    batches: list[Tensor] = field(default_factory=list)


class Recorder:
    """Moments batch by batch. ``(2, n, C)`` tensors are all it keeps of any activation.

    Args:
        layers: the layers that were asked for.
        channel_dim: as in ``capture``.

    Attributes:
        layers: those of them that can be captured at all.
        left_out: the reason for each layer that is not captured.
        batches: how many have been recorded.
        fired: whether any layer has run yet.
        records: what was read, by key, in the order in which the layers ran.
    """

    def __init__(self, layers: Sequence[Layer], channel_dim: int | None) -> None:
        self.layers = [layer for layer in layers if not layer.reason]
        self.left_out = {layer.name: layer.reason for layer in layers if layer.reason}
        self.batches = 0
        self.fired = False
        self.records: dict[str, _Record] = {}
        self._channel_dim = channel_dim
        self._images = 0

    def begin_batch(self, images: int) -> None:
        """A forward pass on so many images follows."""
        self._images = images

    def read(self, layer: Layer, key: str, values: Sequence[Any]) -> None:
        """Take the moments of what a layer was called with; this runs inside its hook.

        Raises:
            LayerError: there is not exactly one tensor, or its channel axis cannot be told.
        """
        self.fired = True
        if key in self.left_out:
            return
        tensor = only_tensor(layer, values)
        record = self.records.get(key)
        # What was found out of a shape holds for the next batch of it: a network waits for this.
        if record is None or tensor.shape != record.shape or self._images != tensor.shape[0]:
            record = self._looked_at(layer, key, tuple(tensor.shape))
        if record is not None:
            record.batches.append(spatial_moments(tensor, record.axis))

    def _looked_at(self, layer: Layer, key: str, shape: tuple[int, ...]) -> _Record | None:
        """The record that an input of this shape belongs to; None where it is left out."""
        reason = why_left_out(layer, shape, self._images, self._channel_dim)
        if reason:
            self._leave_out(key, reason)
            return None
        axis = channel_axis(layer, shape, self._channel_dim)
        spatial = positions(shape, axis)
        record = self.records.setdefault(key, _Record(layer, shape, axis, spatial))
        before, now = record.shape[record.axis], shape[axis]
        if now != before:
            self._leave_out(key, f"its channels changed from {before} to {now}")
            return None
        record.shape, record.axis = shape, axis
        record.spatial = min(record.spatial, spatial, key=prod)
        return record

    def end_batch(self) -> None:
        """Bring the batch's moments to the CPU, all at once, so that hooks wait for no device."""
        self.batches += 1
        for record in self.records.values():
            record.batches[-1] = record.batches[-1].cpu()

    def leave_out_functions(
        self, functions: Mapping[str, FunctionalNorm], *, named_only: bool
    ) -> None:
        """Note the normalization that no hook has seen, by name.

        Args:
            functions: normalization functions that were called.
            named_only: pass over those that are of none of the layers that were asked for.
        """
        asked = {layer.name for layer in self.layers}
        for name, function in functions.items():
            wanted = name in asked or not named_only
            if wanted and not function.of_weights and name not in self.records:
                self.left_out.setdefault(name, function.reason)

    def finish(self) -> dict[str, LayerMoments]:
        """The moments of every layer, in the order in which they ran; nothing is left here.

        Layers that missed a batch, or hold values that are not finite, join ``left_out``.
        """
        ran = {record.layer.name for record in self.records.values()}
        for layer in self.layers:
            if layer.name not in ran:
                self.left_out.setdefault(layer.name, NEVER_RAN)
        finished: dict[str, LayerMoments] = {}
        for key in list(self.records):
            record = self.records.pop(key)  # a layer's parts go as soon as they are joined
            if len(record.batches) != self.batches:
                self._leave_out(key, f"it ran in {len(record.batches)} of {self.batches} batches")
                continue
            mean, variance = torch.cat(record.batches, dim=1).numpy()
            reason = _why_not_finite(np.isfinite(mean) & np.isfinite(variance))
            if reason:
                self._leave_out(key, reason)
                continue
            finished[key] = LayerMoments(
                mean=mean,
                variance=variance,
                spatial=record.spatial,
                **layer_fields(record.layer, mean.shape[1]),
            )
        return finished

    def _leave_out(self, key: str, reason: str) -> None:
        self.records.pop(key, None)
        self.left_out[key] = reason


def _why_not_finite(finite: NDArray[np.bool_]) -> str | None:
    if finite.all():
        return None
    images = int((~finite).any(axis=1).sum())
    channels = np.flatnonzero((~finite).any(axis=0))
    named = ", ".join(map(str, channels[:8])) + ", ..." * (len(channels) > 8)
    return (
        f"its values are NaN or infinite in {images:,} of {len(finite):,} images, "
        f"{len(channels):,} of {finite.shape[1]:,} channels ({named})"
    )
