"""What a capture would read, layer by layer, before any image is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from normstats.capturing.axes import channel_axis, only_tensor, positions, why_left_out
from normstats.capturing.devices import model_device, model_dtype
from normstats.capturing.functional import FunctionalNorm, functional_norms
from normstats.capturing.hooks import forward, observed
from normstats.capturing.layers import NEVER_RAN, Layer, find_layers, select_layers
from normstats.capturing.wrappers import eager_module
from normstats.errors import LayerError


@dataclass(frozen=True)
class LayerDescription:
    """One layer, and whether it would be captured.

    Attributes:
        name: where it stands in the network; ``name#2`` for the second call of a module.
        kind: its class, or the function's name.
        input_shape: of the tensor that is read (a convolution's output); None if it did not run.
        channels: how many it has, or None where that is not known.
        spatial: its map's size for this input; empty where there is none.
        captured: whether it would be.
        reason: why not; empty where it is captured.
        aliases: other names of the same module.
        groups: of a GroupNorm layer.
        over: for LayerNorm, which of its two meanings: ``"(C, H, W)"`` or ``"C at each position"``.
    """

    name: str
    kind: str
    input_shape: tuple[int, ...] | None = None
    channels: int | None = None
    spatial: tuple[int, ...] = ()
    captured: bool = False
    reason: str = ""
    aliases: tuple[str, ...] = ()
    groups: int | None = None
    over: str = ""


def describe_layers(
    model: nn.Module,
    example: Tensor,
    *,
    layers: str | Sequence[str] | None = None,
    channel_dim: int | None = None,
) -> list[LayerDescription]:
    """Every normalization layer in the order in which it runs, by one forward pass.

    Layers that did not run come next, then the functional norms (unless ``layers`` is given).

    Args:
        model: the network, where it is.
        example: a batch as ``capture`` would see it ``(N, C, H, W)``, from ``example_input`` or
            of its own images; values do not matter.
        layers: patterns of names to keep.
        channel_dim: the channels' axis where a layer's class does not settle it.

    Raises:
        LayerError: a pattern matches nothing, or there is no layer at all.
        CaptureError: the model failed on the example, or cannot be observed.
    """
    model = eager_module(model)
    every = find_layers(model)
    found = select_layers(every, layers)
    rows: dict[str, LayerDescription] = {}

    def read(layer: Layer, key: str, values: Sequence[Any]) -> None:
        rows[key] = _describe(layer, key, values, len(example), channel_dim)

    images = example.to(model_device(model), model_dtype(model))
    with functional_norms(model, every) as functional, observed(model, found, read):
        forward(model, images)
    rows |= {
        layer.name: _silent_row(layer, functional.get(layer.name))
        for layer in found
        if layer.name not in rows
    }
    if layers is None:
        rows |= {
            name: LayerDescription(name, norm.function, norm.input_shape, reason=norm.reason)
            for name, norm in functional.items()
            if name not in rows
        }
    return list(rows.values())


def _describe(
    layer: Layer, key: str, values: Sequence[Any], images: int, channel_dim: int | None
) -> LayerDescription:
    shape: tuple[int, ...] | None = None
    try:
        shape = tuple(only_tensor(layer, values).shape)
        reason = layer.reason or why_left_out(layer, shape, images, channel_dim)
        if reason:
            return _row(layer, key, input_shape=shape, reason=reason, channels=layer.width)
        axis = channel_axis(layer, shape, channel_dim)
    except LayerError as error:
        return _row(layer, key, input_shape=shape, reason=error.message, channels=layer.width)
    return _row(
        layer,
        key,
        input_shape=shape,
        channels=shape[axis],
        spatial=positions(shape, axis),
        captured=True,
    )


def _silent_row(layer: Layer, function: FunctionalNorm | None) -> LayerDescription:
    """A layer whose hook did not run; perhaps a function did its work."""
    return _row(
        layer,
        layer.name,
        input_shape=function.input_shape if function else None,
        reason=layer.reason or (function.reason if function else NEVER_RAN),
        channels=layer.width,
    )


def _row(layer: Layer, name: str, **fields: Any) -> LayerDescription:
    return LayerDescription(
        name,
        layer.kind,
        aliases=layer.aliases,
        groups=layer.groups,
        over=layer.over,
        **fields,
    )
