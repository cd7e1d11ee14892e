"""Which axis of a layer's input holds the channels, and whether it can be read image by image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from torch import Tensor, nn

from normstats.capturing.layers import (
    CONVOLUTIONS,
    INSTANCE_NORMS,
    Layer,
    is_layer_norm_alike,
)
from normstats.errors import LayerError

# By the class that defines `forward`, as subclasses may change how it reads its input. Names, so
# that neither torchvision nor timm has to be imported.
_CHANNELS_FIRST = {
    "timm.layers.norm.LayerNorm2d",
    "timm.layers.norm.LayerNorm2dFp32",
    "timm.layers.norm.LayerNormExp2d",
    "timm.layers.norm.RmsNorm2d",
    "timm.layers.norm.RmsNorm2dFp32",
    "timm.layers.norm_act.LayerNormAct2d",
    "timm.layers.norm_act.LayerNormAct2dFp32",
    "timm.layers.norm_act.RmsNormAct2d",
    "timm.layers.norm_act.RmsNormAct2dFp32",
    "torchvision.models.convnext.LayerNorm2d",
}
_LAST_AXES = {
    "torch.nn.modules.normalization.LayerNorm",
    "torch.nn.modules.normalization.RMSNorm",
    "timm.layers.norm.LayerNorm",
    "timm.layers.norm.LayerNormFp32",
    "timm.layers.norm.RmsNorm",
    "timm.layers.norm.RmsNormFp32",
    "timm.layers.norm_act.LayerNormAct",
    "timm.layers.norm_act.LayerNormActFp32",
    "timm.layers.norm_act.RmsNormAct",
    "timm.layers.norm_act.RmsNormActFp32",
}


def only_tensor(layer: Layer, values: Sequence[Any]) -> Tensor:
    """The one tensor among what a layer was called with, or what it returned.

    Raises:
        LayerError: there is none, or there are several.
    """
    tensors = [v for value in values for v in _flat(value) if isinstance(v, Tensor)]
    if len(tensors) != 1:
        what = "returned" if layer.reads_output else "was called with"
        raise LayerError(
            f"{layer.name} ({layer.kind}) {what} {len(tensors)} tensors; only one can be read.",
            "Leave it out by naming the other layers with --layers (`layers=` in Python).",
        )
    return tensors[0]


def why_left_out(
    layer: Layer, shape: Sequence[int], images: int, channel_dim: int | None
) -> str | None:
    """Why an input of this shape gives no moments per image and channel; None where it does."""
    if len(shape) < 2:
        return f"its input of shape {tuple(shape)} has no channel axis"
    if 0 in shape:
        return f"its input of shape {tuple(shape)} is empty"
    if shape[0] != images:
        return (
            f"its input holds {shape[0]:,} rows for {images:,} images, as where windows, tokens or "
            "frames are taken as images, so that its values cannot be told apart by image"
        )
    entries = len(getattr(layer.module, "normalized_shape", "C"))
    tokens = len(shape) == 3 and entries == 1 and is_layer_norm_alike(layer.module)
    if tokens and channel_dim is None and not _is_channels_first(layer.module):
        return (
            f"its input of shape {tuple(shape)} looks like tokens (N, T, C), not like a map; "
            "--channel-dim -1 takes the tokens as positions"
        )
    return None


def channel_axis(layer: Layer, shape: Sequence[int], channel_dim: int | None = None) -> int:
    """The axis of the channels in an input of this shape.

    What the class settles (BatchNorm, GroupNorm, InstanceNorm, LayerNorm2d, convolutions) comes
    first, then ``channel_dim``, then what the shapes allow.

    Raises:
        LayerError: it cannot be told, or ``channel_dim`` is no such axis.
    """
    module = layer.module
    if isinstance(module, (INSTANCE_NORMS, CONVOLUTIONS)) or _is_channels_first(module):
        return 1
    # Subclasses and copies of BatchNorm may take (N, H, W, C): then axis 1 has another size.
    if not is_layer_norm_alike(module) and layer.width in (shape[1], None):
        return 1
    if channel_dim is not None:
        return _given_axis(layer, shape, channel_dim)
    axes = len(getattr(module, "normalized_shape", "C"))
    if axes > 1:
        if len(shape) > 3 and axes == len(shape) - 1:
            return 1  # LayerNorm over (C, H, W)
        _ambiguous(layer, shape)
    last = len(shape) - 1
    if _forward_home(module) in _LAST_AXES or _data_format(module) == "channels_last":
        return last
    fitting = [axis for axis in sorted({1, last}) if shape[axis] == layer.width]
    if len(fitting) != 1:
        _ambiguous(layer, shape)
    return fitting[0]


def positions(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    """The spatial size: all axes but the images' and the channels'."""
    return tuple(size for i, size in enumerate(shape) if i not in (0, axis))


def _given_axis(layer: Layer, shape: Sequence[int], channel_dim: int) -> int:
    axis = channel_dim + len(shape) if channel_dim < 0 else channel_dim
    if not 1 <= axis < len(shape):
        why = "holds the images" if axis == 0 else "does not exist"
        raise LayerError(
            f"Axis {channel_dim} of the input of {layer.name}, of shape {tuple(shape)}, {why}.",
            "--channel-dim must name the axis of the channels: 1, or -1 for the last.",
        )
    return axis


def _is_channels_first(module: nn.Module) -> bool:
    return _forward_home(module) in _CHANNELS_FIRST or _data_format(module) == "channels_first"


def _forward_home(module: nn.Module) -> str:
    home = next(cls for cls in type(module).__mro__ if "forward" in vars(cls))
    return f"{home.__module__}.{home.__qualname__}"


def _data_format(module: nn.Module) -> Any:
    return getattr(module, "data_format", None)  # ConvNeXt's own code has one LayerNorm for both


def _flat(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)


def _ambiguous(layer: Layer, shape: Sequence[int]) -> NoReturn:
    raise LayerError(
        f"Which axis of {layer.name} ({layer.kind}) holds the channels cannot be told from its "
        f"input of shape {tuple(shape)}.",
        "Name the axis with --channel-dim (`channel_dim=` in Python): 1, or -1 for the last.",
    )
