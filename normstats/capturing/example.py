"""An input that a network should accept: what to try where no image is at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from normstats.capturing.devices import model_device, model_dtype
from normstats.capturing.hooks import eval_mode, forward
from normstats.capturing.layers import CONVOLUTIONS
from normstats.capturing.wrappers import eager_module
from normstats.errors import CaptureError

# The usual sizes, by the number of position axes; the first that the network accepts is taken.
_SIZES: Mapping[int, tuple[tuple[int, ...], ...]] = {
    1: ((224,), (1024,), (16000,)),
    2: tuple((n, n) for n in (224, 32, 28, 64, 96, 128, 227, 240, 256, 299, 384, 512)),
    3: ((16, 112, 112), (16, 224, 224), (64, 64, 64), (96, 96, 96), (128, 128, 128)),
}
_FRAMES = 16


def example_input(model: nn.Module, size: int | None = None, *, images: int = 2) -> Tensor:
    """A batch of noise that the network accepts, always the same: ``(N, C, H, W)``.

    Its size is ``size``, or what the model's own metadata say (timm's, transformers', the
    ``image_size`` of a vision transformer), or else the first of the usual ones with which a
    forward pass succeeds. Its channels and number of axes follow the first convolution. Networks
    of three-dimensional convolutions get video, ``(N, C, T, H, W)`` with 16 frames, or a cube.

    Args:
        model: the network, where it is.
        size: the length of each spatial axis.
        images: N. Two, so that an axis of images is told from an axis of size one.

    Raises:
        CaptureError: nothing tells the shape of its input, or no usual size is accepted.
    """
    model = eager_module(model)
    shapes = list(dict.fromkeys((images, *shape) for shape in _shapes(model, size)))
    if not shapes:
        raise CaptureError(
            "The network has no convolution, so the shape of its input is not known.",
            "Give a batch of its own images instead.",
        )
    if len(shapes) == 1:
        return _noise(model, shapes[0])
    failures = []
    for shape in shapes:
        example = _noise(model, shape)
        try:
            with eval_mode(model):
                forward(model, example)
        except CaptureError as error:
            failures.append(error)
        else:
            return example
    raise CaptureError(
        f"The network accepts none of the {len(shapes)} shapes of input that were tried, from "
        f"{shapes[0]} to {shapes[-1]}. On the first: {failures[0].message}",
        failures[0].hint,
    ) from failures[0]


def _noise(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return noise.to(model_device(model), model_dtype(model))


def _shapes(model: nn.Module, size: int | None) -> Iterator[tuple[int, ...]]:
    """Shapes (C, H, W) that the network may accept, the likeliest first."""
    first = next((m for m in model.modules() if isinstance(m, CONVOLUTIONS)), None)
    stated = _timm_shape(model)
    if first is None and not stated:
        return
    channels = list(stated[:1])
    if first is not None and first.in_channels not in channels:
        channels.insert(0, first.in_channels)
    if channels[0] not in (1, 3, *stated[:1]):
        # The first convolution may stand behind a rearrangement, such as space to depth.
        channels += [3, 1]
    dims = len(stated) - 1 if stated or first is None else len(first.kernel_size)
    if size is not None:
        spatial = [(size,) * dims] if dims != 3 else [(_FRAMES, size, size), (size,) * 3]
    elif own := list(_own_sizes(model, dims)):
        spatial = own
    else:
        spatial = [stated[1:], *_SIZES[dims]] if stated else list(_SIZES[dims])
    for positions in spatial:
        for count in channels:
            yield (count, *positions)


def _timm_shape(model: nn.Module) -> tuple[int, ...]:
    """(C, H, W) of the images of a timm model, which says it; else empty."""
    config = getattr(model, "pretrained_cfg", None)
    shape = config.get("input_size") if isinstance(config, Mapping) else None
    return tuple(map(int, shape)) if shape else ()


def _own_sizes(model: nn.Module, dims: int) -> Iterator[tuple[int, ...]]:
    """Sizes of images that the model, its patch embedding or its configuration names."""
    for holder in (model, *(getattr(model, name, None) for name in ("patch_embed", "config"))):
        for attribute in ("image_size", "img_size"):
            size = getattr(holder, attribute, None)
            if isinstance(size, int):
                yield (size,) * dims
            elif isinstance(size, (list, tuple)) and len(size) == dims:
                yield tuple(map(int, size))
