"""How a network takes its images: one tensor, a keyword, or, where it detects objects, a list."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import Parameter, signature

import torch
from torch import Tensor, nn

from normstats.errors import CaptureError

# A batch (N, C, H, W), or N images (C, H, W) of their own sizes.
Images = Tensor | list[Tensor]

# By name, so that torchvision need not be imported.
_RESIZES_INSIDE = "torchvision.models.detection.transform.GeneralizedRCNNTransform"


def is_detector(model: nn.Module) -> bool:
    """Whether the model takes a list of images, which it normalizes, resizes and pads itself.

    torchvision's detection models do: Faster, Mask and Keypoint R-CNN, RetinaNet, FCOS and SSD.
    They are known by the transform that stands at their beginning.
    """
    return any(
        f"{cls.__module__}.{cls.__qualname__}" == _RESIZES_INSIDE
        for child in model.children()
        for cls in type(child).__mro__
    )


def placed_images(
    model: nn.Module, images: Images, device: torch.device, dtype: torch.dtype
) -> Images:
    """The images on the model's device, in its precision, as one tensor unless it takes a list.

    Raises:
        CaptureError: they are of several sizes, and the model takes only tensors.
    """
    if not isinstance(images, Tensor) and not is_detector(model):
        images = _stacked(images)
    if isinstance(images, Tensor):
        return _moved(images, device, dtype)
    return [_moved(image, device, dtype) for image in images]


def _moved(image: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    if device.type == "cuda" and image.device.type == "cpu":
        image = image.pin_memory()  # or the copy would be waited for
    return image.to(device, dtype, non_blocking=True)


def call(model: nn.Module, images: Images) -> None:
    """Run the model on a batch, in the way in which it takes one; what it returns is dropped."""
    if is_detector(model):
        model(list(images))
    elif keyword := _only_keyword(model):
        model(**{keyword: images})
    else:
        model(images)


def shapes_in_words(images: Images) -> str:
    """``images of shape (2, 3, 64, 64)``, or the sizes in a list."""
    if isinstance(images, Tensor):
        return f"images of shape {tuple(images.shape)}"
    return f"{len(images)} images of shape {_some(_sizes(images))}"


def _stacked(images: Sequence[Tensor]) -> Tensor:
    if len(sizes := _sizes(images)) > 1:
        raise CaptureError(
            f"The images of one batch have several sizes: {_some(sizes)}.",
            "Bring them to one size, or give batches of one image; only detection models take "
            "a list.",
        )
    return torch.stack(tuple(images))


def _only_keyword(model: nn.Module) -> str | None:
    """The name under which the model wants its images, where it takes nothing by position."""
    parameters = signature(model.forward).parameters.values()
    keywords = (Parameter.KEYWORD_ONLY, Parameter.VAR_KEYWORD)
    if any(parameter.kind not in keywords for parameter in parameters):
        return None
    required = [
        parameter.name
        for parameter in parameters
        if parameter.kind is Parameter.KEYWORD_ONLY and parameter.default is Parameter.empty
    ]
    return required[0] if len(required) == 1 else None


def _sizes(images: Sequence[Tensor]) -> list[tuple[int, ...]]:
    return list(dict.fromkeys(tuple(image.shape) for image in images))


def _some(sizes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join(map(str, sizes[:3])) + ", ..." * (len(sizes) > 3)
