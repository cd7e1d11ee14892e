"""One layer of a network with statistics that are given to it; all else is as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from normstats.capturing.axes import channel_axis, only_tensor
from normstats.capturing.layers import BATCH_NORMS, INSTANCE_NORMS, Layer
from normstats.errors import CaptureError
from normstats.moments import LayerMoments
from normstats.validation.normalization import Array, Indices, Normalization

# The parts of timm's norm layers with an activation, in the order in which they run.
_AFTERWARDS = ("drop", "act")


@dataclass(frozen=True)
class Intervention:
    """Where a layer is taken hold of, and what is done to its input so that it has a given
    normalization before its own affine.

    A layer that normalizes with stored statistics r, R is given x' = r + √(R + ε)·ŷ, which it
    turns into γ·ŷ + β by itself, and into whatever else it does after that. Another's output is
    replaced by γ·ŷ + β.

    Attributes:
        layer: the module.
        call: which of its calls in a forward pass; 1 for the first.
        moments: what was captured there.
        channel_dim: as in ``capture``.
    """

    layer: Layer
    call: int
    moments: LayerMoments
    channel_dim: int | None = None

    @property
    def _through_input(self) -> bool:
        return self.moments.running_variance is not None

    @property
    def obstacle(self) -> str:
        """Why the layer's statistics cannot be replaced honestly; empty where they can."""
        module, moments = self.layer.module, self.moments
        if self.layer.reads_output:
            return "it is a convolution, which has no statistics to replace"
        if self._through_input:
            stores = (
                isinstance(module, (BATCH_NORMS, INSTANCE_NORMS)) or "BatchNorm" in moments.kind
            )
            return "" if stores else f"what a {moments.kind} does with its statistics is not known"
        if (moments.gamma is None and isinstance(getattr(module, "weight", None), Tensor)) or (
            moments.beta is None and isinstance(getattr(module, "bias", None), Tensor)
        ):
            return "its affine is not one scale and one shift a channel"
        if parts := [name for name, _ in module.named_children() if name not in _AFTERWARDS]:
            return f"it does more than normalize: it has a part {parts[0]!r}"
        return ""

    @contextmanager
    def with_normalization(self, normalization: Normalization, images: Indices) -> Iterator[None]:
        """Inside the block the layer has it, for one forward pass on these images.

        Args:
            normalization: what comes before the layer's own affine.
            images: the numbers ``(n,)`` of the batch's images, in the order in which they were
                dealt.

        Raises:
            CaptureError: at the end of the block, if the layer did not run.
        """
        own_scale, own_shift = self._own_affine()
        scale, shift = normalization.scale_and_shift(images)
        affine = own_scale * scale, own_scale * shift + own_shift
        calls = 0

        def is_mine() -> bool:
            nonlocal calls
            calls += 1
            return calls == self.call

        with self._hook(is_mine, affine):
            yield
        if calls < self.call:
            raise CaptureError(
                f"{self.layer.name} did not run, though it did when it was captured.",
                "Check that the network runs the same layers for every batch.",
            )

    def _hook(self, is_mine: Callable[[], bool], affine: tuple[Array, Array]) -> RemovableHandle:
        module = self.layer.module

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not is_mine():
                return None
            x = only_tensor(self.layer, (*args, *kwargs.values()))
            if all(value is not x for value in (*args, *kwargs.values())):
                raise CaptureError(
                    f"{self.layer.name} ({self.layer.kind}) is given its tensor inside a list.",
                    "Leave it out by naming the other layers with --layers (`layers=` in Python).",
                )
            changed = self._applied(x, affine)
            return (
                tuple(changed if value is x else value for value in args),
                {name: changed if value is x else value for name, value in kwargs.items()},
            )

        def after(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], __: Any) -> Any:
            if not is_mine():
                return None
            output = self._applied(only_tensor(self.layer, (*args, *kwargs.values())), affine)
            for name in _AFTERWARDS:
                if isinstance(part := getattr(module, name, None), nn.Module):
                    output = part(output)
            return output

        if self._through_input:
            return module.register_forward_pre_hook(before, with_kwargs=True)
        return module.register_forward_hook(after, with_kwargs=True)

    def _own_affine(self) -> tuple[Array, Array]:
        """What follows the normalization: the inverse of the layer's own, or its γ and β."""
        channels = self.moments.channels
        if self._through_input:
            assert self.moments.running_mean is not None
            assert self.moments.running_variance is not None
            variance = self.moments.running_variance.astype(np.float64) + self.moments.epsilon
            return np.sqrt(variance), self.moments.running_mean.astype(np.float64)
        gamma, beta = self.moments.gamma, self.moments.beta
        return (
            np.ones(channels) if gamma is None else gamma.astype(np.float64),
            np.zeros(channels) if beta is None else beta.astype(np.float64),
        )

    def _applied(self, x: Tensor, affine: tuple[Array, Array]) -> Tensor:
        shape = [1] * x.ndim
        axis = channel_axis(self.layer, x.shape, self.channel_dim)
        shape[0], shape[axis] = x.shape[0], x.shape[axis]
        exact = torch.float64 if x.dtype == torch.float64 else torch.float32
        scale, shift = (
            torch.from_numpy(part).to(x.device, exact).reshape(shape) for part in affine
        )
        return torch.addcmul(shift, x.to(exact), scale).to(x.dtype)


def find_interventions(
    layers: Sequence[Layer], moments: Mapping[str, LayerMoments], channel_dim: int | None
) -> dict[str, Intervention]:
    """Where each of the captured layers is in the network, by the name it was captured under.

    Raises:
        CaptureError: the network has no such layer.
    """
    modules = {layer.name: layer for layer in layers}

    def find(name: str) -> Intervention:
        home, _, call = name.rpartition("#")
        first = name in modules
        if not first and (home not in modules or not call.isdigit()):
            raise CaptureError(
                f"The network has no layer {name}.",
                "Give the network that the moments were captured from.",
            )
        layer = modules[name if first else home]
        return Intervention(layer, 1 if first else int(call), moments[name], channel_dim)

    return {name: find(name) for name in moments}
