"""Images in one array: pixels as integers, or floating-point values ready for the network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from normstats.errors import ImagesError, did_you_mean
from normstats.inputs.images.arrayfiles import Array, StoredArray, arrays_in
from normstats.inputs.images.classes import by_value
from normstats.inputs.images.source import Labels, Listing, numbered
from normstats.printable import first_few, printable

PIXELS = ("uint8", "uint16")
FLOATS = ("float16", "bfloat16", "float32", "float64")
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16")
_CHANNEL_AXES = {"nchw": 1, "nhwc": 3}

_IMAGE_NAMES = ("images", "x", "data")
_LABEL_NAMES = ("labels", "label", "y", "targets")


@dataclass(frozen=True, eq=False)
class ImageArray:
    """The images of an array, of which one at a time is read.

    8-bit pixels of one or three channels become Pillow images and so go the way of files; others
    are scaled to 0..1. Floating-point values stay as they are.

    Attributes:
        channel_axis: 1 or 3; None where the array has none, being of grey images.
    """

    listing: Listing
    array: Array
    channel_axis: int | None

    def content(self, index: int) -> Image.Image | Tensor:
        """The image, as pixels or as values ``(C, H, W)``."""
        values = self.array.read(index)
        if self.channel_axis is None:
            values = values[None]
        elif self.channel_axis == 3:
            values = values.permute(2, 0, 1)
        if values.dtype is torch.uint8:
            if len(values) == 1:
                return Image.fromarray(values[0].numpy())
            if len(values) == 3:
                return Image.fromarray(values.permute(1, 2, 0).contiguous().numpy())
            return values.to(torch.float32) / 255
        if values.dtype is torch.uint16:
            return values.to(torch.float32) / 65535
        values = values.to(torch.float32).contiguous()
        if not values.isfinite().all():
            raise ValueError("holds NaN or infinity")
        return values


def open_array(path: Path, key: str | None, channels: int, layout: str | None) -> ImageArray:
    """The images in a file of arrays.

    Args:
        path: a ``.npy``, ``.npz`` or ``.safetensors`` file.
        key: which of its arrays; None for the one that is called images, x or data, or the only
            one with four axes.
        channels: of the network's input; tells the channel axis.
        layout: ``nchw`` or ``nhwc``, to tell it where the shape does not.

    Raises:
        ImagesError: the file is damaged, or it is not clear which array or axis is meant.
    """
    arrays = arrays_in(path)
    name = _choose(arrays, key, printable(path))
    stored = arrays[name]
    shown = f"{printable(path)}:{printable(name)}" if name else printable(path)
    _check_type(stored, shown)
    axis = _channel_axis(stored.shape, channels, layout, shown)
    classes, labels, notes = _labels_of(name, arrays)
    names, ready = numbered(stored.shape[0]), stored.dtype in FLOATS
    array = stored.open()
    listing = Listing(shown, names, classes, labels, (*_note(array, stored), *notes), ready)
    return ImageArray(listing, array, axis)


def _note(array: Array, stored: StoredArray) -> tuple[str, ...]:
    """What the values are taken for; those of the first image show whether that is right."""
    if stored.dtype == "uint8":
        return ()
    first = array.read(0).to(torch.float32)
    taken = (
        "are taken as ready for the network, and not normalized but by --mean and --std"
        if stored.dtype in FLOATS
        else "are taken as pixels of 16 bits, and divided by 65535"
    )
    return (
        f"The values of the array, of type {stored.dtype}, {taken}; the first image's run from "
        f"{first.min():.4g} to {first.max():.4g}.",
    )


def _choose(arrays: Mapping[str, StoredArray], key: str | None, shown: str) -> str:
    listed = first_few((f"{name} {array}" for name, array in arrays.items()), 10)
    if key is not None:
        if key in arrays:
            return key
        raise ImagesError(
            f"{shown} holds no array {printable(key)!r}.",
            f"{did_you_mean(key, arrays)} It holds: {listed or 'none'}.".strip(),
        )
    if len(arrays) == 1:
        return next(iter(arrays))
    named = [name for name in arrays if name.lower() in _IMAGE_NAMES]
    candidates = named or [name for name, array in arrays.items() if len(array.shape) == 4]
    if len(candidates) == 1:
        return candidates[0]
    raise ImagesError(
        f"{shown} holds {len(arrays)} arrays: {listed}." if arrays else f"{shown} holds no array.",
        f"Say which holds the images: {shown}:{printable(next(iter(candidates or arrays)))}, say."
        if arrays
        else "Save the images as one array, with numpy.save.",
    )


def _check_type(stored: StoredArray, shown: str) -> None:
    if stored.dtype in PIXELS + FLOATS:
        return
    if stored.dtype == "object":
        raise ImagesError(
            f"{shown} holds pickled Python objects. They were not loaded, since loading a pickle "
            "runs whatever it names.",
            "Where it was written, save the images as one array of uint8 or float32.",
        )
    raise ImagesError(
        f"{shown} is of type {printable(stored.dtype)}, whose range of values is not known.",
        "Save pixels as uint8 (0 to 255) or uint16 (0 to 65535), or values that the network takes "
        "as they are as float32: numpy.save(file, images.astype(numpy.uint8)).",
    )


def _channel_axis(
    shape: tuple[int, ...], channels: int, layout: str | None, shown: str
) -> int | None:
    """The axis of channels; None where the array has none, being of grey images."""
    grey = len(shape) == 3 and channels == 1 and layout is None
    if len(shape) != 4 and not grey:
        raise ImagesError(
            f"{shown} has {len(shape)} axes"
            + (f": its shape is {shape}." if len(shape) < 9 else "."),
            "Images are an array of four: image, channel, row, column (NCHW), or channels last.",
        )
    if 0 in shape:
        raise ImagesError(f"{shown} holds no pixels: its shape is {shape}.", "Give another array.")
    if grey:
        return None
    if layout is not None:
        axis = _CHANNEL_AXES[layout]
        if shape[axis] != channels:
            raise ImagesError(
                f"The network takes {channels} channels; read as {layout}, {shown} with shape "
                f"{shape} has {shape[axis]}.",
                f"The channel axis of {layout} is {axis}, counted from 0.",
            )
        return axis
    fitting = [axis for axis in (1, 3) if shape[axis] == channels]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ImagesError(
            f"{shown} with shape {shape} could have its {channels} channels on axis 1 or on "
            "axis 3.",
            "Say which: --layout nchw (axis 1) or --layout nhwc (axis 3).",
        )
    raise ImagesError(
        f"The network takes {channels} channels, and {shown} with shape {shape} has no axis 1 or "
        "3 of that length.",
        f"Save it as (images, {channels}, height, width).",
    )


def _labels_of(
    name: str, arrays: Mapping[str, StoredArray]
) -> tuple[tuple[str, ...], Labels | None, tuple[str, ...]]:
    """The classes, the class of each image and, where labels cannot be used, why."""
    wanted = _label_names(name)
    found = [other for other in arrays if other != name and other.lower() in wanted]
    if not found:
        return (), None, ()
    images, labels = arrays[name].shape[0], arrays[found[0]]
    # Of shape (N, 1) in some collections.
    if labels.dtype in _INTEGERS and labels.shape in ((images,), (images, 1)):
        values: list[int] = labels.open().read(slice(None)).to(torch.int64).reshape(-1).tolist()
        return (*by_value(values), ())
    return (), None, (
        f"The labels {printable(found[0])} {labels} are not used: classes are one integer an "
        f"image, {(images,)}.",
    )  # fmt: skip


def _label_names(name: str) -> set[str]:
    """What labels beside images of that name are called: test_labels by test_images, y by x."""
    name = name.lower()
    paired = {name.replace("images", "labels"), re.sub(r"(?<![a-z])x(?![a-z])", "y", name)}
    return paired - {name} if paired != {name} and name not in _IMAGE_NAMES else set(_LABEL_NAMES)
