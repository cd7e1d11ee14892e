"""From an image file to pixels."""

from __future__ import annotations

import warnings
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

# What files with the accepted suffixes may hold. Pillow's other formats stay shut, whatever a
# file is called: some start programs (PostScript).
_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
_LARGEST_16_BIT = 65535


def decode(file: BinaryIO, channels: int) -> Image.Image | Tensor:
    """The first image in an open file, upright, as RGB or (for one channel) grey.

    Returns:
        A Pillow image of 8 bits; of grey 16-bit files, float32 in 0..1 ``(1, H, W)``, whatever the
        number of channels.

    Raises:
        Exception: whatever Pillow raises for a damaged file, and for one of more pixels than its
            limit against decompression bombs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(file, formats=_FORMATS) as image:
            # Copies are avoided: an image just below the limit takes a third of a gigabyte.
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode == "I" or image.mode.startswith("I;16"):
                return _from_16_bits(image)
            if image.mode == "F":
                raise ValueError("floating-point pixels, whose range is not known")
            # A palette may hold transparency, which RGB cannot take over.
            opaque = image.convert("RGBA") if image.mode == "P" else image
            mode = "RGB" if channels == 3 else "L"
            return opaque if opaque.mode == mode else opaque.convert(mode)


def _from_16_bits(image: Image.Image) -> Tensor:
    # Pillow would clip these to 8 bits instead of scaling them.
    values = np.asarray(image)
    if values.min() < 0 or values.max() > _LARGEST_16_BIT:
        raise ValueError("32-bit pixels, whose range is not known")
    return torch.from_numpy(values.astype(np.float32)).div_(_LARGEST_16_BIT)[None]
