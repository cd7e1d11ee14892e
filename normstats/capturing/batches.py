"""Reading batches: images alone, or images with class labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from normstats.capturing.calling import Images
from normstats.errors import CaptureError

Labels = NDArray[np.int64]

_EXPECTED = (
    "Give an iterable of tensors (N, C, H, W), or of pairs (images, labels), such as a "
    "torch.utils.data.DataLoader. In a pair the images may also be a list of tensors (C, H, W)."
)


def read_batches(
    images: Iterable[Any], classes: Sequence[str] = ()
) -> Iterator[tuple[Images, Labels | None]]:
    """The images of each batch, and their class indices ``(N,)`` where the batch has them.

    In a pair the images may be a tensor ``(N, C, H, W)`` or, as detection data sets give them, a
    list or tuple of tensors ``(C, H, W)``.
    What stands second in a pair counts as labels only where it is one whole number per image;
    masks and regression targets are passed over.

    Raises:
        CaptureError: a batch is something else, empty, or not of floating-point numbers; or a
            label is the index of no class, where ``classes`` are named.
    """
    if isinstance(images, Tensor) or not isinstance(images, Iterable):
        one = "is one tensor" if isinstance(images, Tensor) else f"is a {type(images).__name__}"
        raise CaptureError(
            f"The images must come in batches, but what was given {one}.",
            "Wrap a tensor of images as `images.split(32)`. " + _EXPECTED,
        )
    for index, batch in enumerate(images):
        pair = batch if isinstance(batch, (list, tuple)) else (batch,)
        if not 1 <= len(pair) <= 2 or not _are_images(pair[0]):
            raise CaptureError(f"Batch {index} is {_words(batch)}, not a tensor.", _EXPECTED)
        pictures = pair[0] if isinstance(pair[0], Tensor) else list(pair[0])
        _check(pictures, index)
        labels = _class_indices(pair[1], len(pictures)) if len(pair) == 2 else None
        if classes and labels is not None:
            _check_labels(labels, classes, index)
        yield pictures, labels


def _are_images(value: Any) -> bool:
    if isinstance(value, Tensor):
        return True
    return isinstance(value, (list, tuple)) and all(
        isinstance(image, Tensor) and image.ndim == 3 for image in value
    )


def _check(pictures: Images, index: int) -> None:
    tensors = [pictures] if isinstance(pictures, Tensor) else pictures
    if not tensors:
        raise CaptureError(f"Batch {index} holds no images: its list is empty.", _EXPECTED)
    for tensor in tensors:
        if tensor.ndim < 2 or len(tensor) == 0:
            raise CaptureError(
                f"Batch {index} holds no images: its shape is {tuple(tensor.shape)}.", _EXPECTED
            )
        if not tensor.is_floating_point():
            raise CaptureError(
                f"The images of batch {index} are of type {tensor.dtype}, not floating-point.",
                "Divide them by 255 and apply the network's own mean and standard deviation.",
            )


def _check_labels(labels: Labels, classes: Sequence[str], index: int) -> None:
    if not 0 <= labels.min() <= labels.max() < len(classes):
        raise CaptureError(
            f"The labels of batch {index} run from {labels.min()} to {labels.max()}, but there "
            f"are {len(classes)} class names.",
            "Name every class, in the order of the indices, or none.",
        )


def _words(batch: Any) -> str:
    if isinstance(batch, (list, tuple)):
        parts = ", ".join(type(part).__name__ for part in batch[:4])
        return f"a {type(batch).__name__} of {len(batch)} ({parts}{', ...' * (len(batch) > 4)})"
    return f"a {type(batch).__name__}"


def _class_indices(labels: Any, images: int) -> Labels | None:
    if isinstance(labels, Tensor):
        if labels.is_floating_point() or labels.is_complex():
            return None
        labels = labels.detach().cpu()
    try:
        values = np.asarray(labels)
    except ValueError:  # lists of unequal length, such as boxes
        return None
    whole = np.issubdtype(values.dtype, np.integer)
    return values.astype(np.int64) if whole and values.shape == (images,) else None
