"""From an image to the numbers a network takes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from normstats.errors import ImagesError, SettingError
from normstats.printable import printable

INTERPOLATIONS = ("bilinear", "bicubic", "nearest")


@dataclass(frozen=True)
class Preprocessing:
    """What happens to an image before the network sees it.

    Values are scaled to 0..1, then ``(value - mean) / std`` is formed for each channel.

    Attributes:
        resize: pixels of the shorter side after resizing (antialiased); None: unchanged.
        crop: pixels of the side of the square cut from the center; None: uncut.
        mean: subtracted, per channel; ImageNet's by default.
        std: divided by, per channel; ImageNet's by default.
        interpolation: of the resizing: bilinear, bicubic or nearest.
        squash: resize both sides to ``resize`` pixels, whatever the image's aspect.

    Raises:
        SettingError: a size or a standard deviation that is not positive, a crop larger than what
            resizing leaves, or an unknown interpolation.
    """

    resize: int | None = None
    crop: int | None = None
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    squash: bool = False

    def __post_init__(self) -> None:
        for name, size in (("resize", self.resize), ("crop", self.crop)):
            if size is not None and size < 1:
                raise SettingError(f"{name} is {size}.", "Give a positive number of pixels.")
        if self.resize is not None and self.crop is not None and self.crop > self.resize:
            raise SettingError(
                f"The crop of {self.crop} pixels is larger than the {self.resize} that resizing "
                "leaves.",
                "Resize to the crop's size or more, or crop less: --resize and --crop.",
            )
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise SettingError(
                f"mean has {len(self.mean)} values and std {len(self.std)}.",
                "Give both 3 values (red, green, blue), or both 1.",
            )
        if not all(math.isfinite(value) for value in self.mean):
            raise SettingError(f"mean is {self.mean}.", "Give finite numbers.")
        if not all(math.isfinite(value) and value > 0 for value in self.std):
            raise SettingError(f"std is {self.std}.", "Give finite numbers above zero.")
        if self.interpolation not in INTERPOLATIONS:
            raise SettingError(
                f"There is no interpolation {printable(self.interpolation)!r}.",
                f"Give one of {', '.join(INTERPOLATIONS)}.",
            )

    def __str__(self) -> str:
        """``resize 232 (bilinear), crop 224, mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225``"""
        parts = ["native size"]
        if self.resize is not None:
            how = f"squash to {self.resize} x" if self.squash else "resize"
            parts = [f"{how} {self.resize} ({self.interpolation})"]
        if self.crop is not None:
            parts.append(f"crop {self.crop}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            parts.append(f"{name} {', '.join(f'{value:.4g}' for value in values)}")
        return ", ".join(parts)

    def overridden(
        self,
        *,
        resize: int | None = None,
        crop: int | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> Preprocessing:
        """The same with what is given in its place; a size of 0 leaves that step out.

        Raises:
            SettingError: what results makes no sense; see above.
        """
        return replace(
            self,
            resize=self.resize if resize is None else resize or None,
            crop=self.crop if crop is None else crop or None,
            mean=self.mean if mean is None else mean,
            std=self.std if std is None else std,
        )

    def for_channels(self, channels: int) -> Preprocessing:
        """The same for images of ``channels`` channels.

        One mean serves every channel; for grey images, means and standard deviations of three
        channels are averaged.
        """
        if len(self.mean) == channels:
            return self
        if len(self.mean) == 1:
            return replace(self, mean=self.mean * channels, std=self.std * channels)
        return replace(self, mean=(sum(self.mean) / 3,), std=(sum(self.std) / 3,))

    def __call__(self, image: Image.Image | Tensor) -> Tensor:
        """The network's input ``(C, H, W)`` in float32.

        Args:
            image: of mode RGB or L, or float32 in 0..1 ``(C, H, W)``.

        Raises:
            ImagesError: the image is smaller than the crop.
            ValueError: the image is so long that resizing would make it enormous.
        """
        if self.resize is not None:
            image = self._resized(image, self.resize)
        if self.crop is not None:
            height, width = functional.get_size(image)
            if min(height, width) < self.crop:
                raise ImagesError(
                    f"{width}x{height} pixels are less than the crop of {self.crop}.",
                    f"Resize first: --resize {self.crop} or more.",
                )
            image = functional.center_crop(image, [self.crop])
        if isinstance(image, Image.Image):
            image = functional.pil_to_tensor(image)
        values = functional.to_dtype(image, torch.float32, scale=True)
        normalized: Tensor = functional.normalize(values, list(self.mean), list(self.std))
        return normalized

    def _resized(self, image: Image.Image | Tensor, size: int) -> Image.Image | Tensor:
        short, long = sorted(functional.get_size(image))
        if not self.squash and size * size * long / short > (Image.MAX_IMAGE_PIXELS or math.inf):
            raise ValueError(f"too long to be resized: {long}x{short} pixels")
        sizes = [size, size] if self.squash else [size]
        how = InterpolationMode(self.interpolation)
        resized: Image.Image | Tensor = functional.resize(
            image, sizes, interpolation=how, antialias=True
        )
        # Bicubic overshoots; images of 8 bits are clipped anyway.
        return resized.clamp(0, 1) if isinstance(resized, Tensor) else resized
