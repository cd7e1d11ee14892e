"""One image, read: its bytes counted in, decoded and preprocessed, or the reason why not."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional

from normstats.errors import ImagesError
from normstats.inputs.images.decoding import decode
from normstats.inputs.images.source import Source
from normstats.inputs.preprocessing import Preprocessing
from normstats.printable import printable

# Of the network's input. What is larger was meant to be resized, and could fill the memory.
LARGEST_INPUT = 4096 * 4096


@dataclass(frozen=True)
class Reading:
    """One image, or the reason why there is none.

    A reason that the user must mend is an error; it travels as data, so that all that was read
    before it counts, whichever process reads.

    Attributes:
        index: of the image in its source.
        digest: SHA-256 of the file, or of the pixels or values.
        image: float32 ``(C, H, W)``. An array, since tensors travel between processes through
            shared memory, which containers are short of.
        problem: why there is none.
    """

    index: int
    digest: bytes = b""
    image: NDArray[np.float32] | None = None
    problem: str | ImagesError | None = None


@dataclass(frozen=True)
class Reader:
    """Reads images by index; all that a process needs for it."""

    source: Source
    preprocessing: Preprocessing
    channels: int

    def __call__(self, index: int) -> Reading:
        """The image of that index; never raises."""
        try:
            digest, decoded = self._decoded(index)
            _check_size(decoded, self.preprocessing)
            image = self.preprocessing(decoded).expand(self.channels, -1, -1)  # grey of 16 bits
            return Reading(index, digest, image.numpy())
        except ImagesError as error:
            named = f"{printable(self.source.listing.names[index])}: {error.message}"
            return Reading(index, problem=ImagesError(named, error.hint))
        except Exception as error:  # Pillow's decoders fail in many ways
            return Reading(index, problem=_reason(error))

    def _decoded(self, index: int) -> tuple[bytes, Image.Image | Tensor]:
        content = self.source.content(index)
        if isinstance(content, Tensor):
            _check_range(content, self.preprocessing)
            values: NDArray[Any] = content.numpy()
            return _digest(values.shape, values.tobytes()), content
        if isinstance(content, Image.Image):
            digest = _digest((content.mode, content.size), content.tobytes())
            return digest, content.convert("RGB" if self.channels == 3 else "L")
        with content:
            digest = _digest_of_file(content)
            return digest, decode(content, self.channels)


def _digest(form: object, values: bytes) -> bytes:
    return hashlib.sha256(repr(form).encode() + values).digest()


def _digest_of_file(file: BinaryIO) -> bytes:
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    file.seek(0)
    return digest.digest()


def _check_range(values: Tensor, preprocessing: Preprocessing) -> None:
    if preprocessing.resize is not None and not 0 <= values.min() <= values.max() <= 1:
        raise ImagesError(
            f"values from {values.min():.4g} to {values.max():.4g} cannot be resized; only pixels "
            "can, from 0 to 1.",
            "Leave --resize out, or resize the images before they are normalized and saved.",
        )


def _check_size(image: Image.Image | Tensor, preprocessing: Preprocessing) -> None:
    if preprocessing.crop is not None:
        return
    height, width = functional.get_size(image)
    if preprocessing.resize is not None:
        scale = preprocessing.resize / min(height, width)
        height, width = math.ceil(height * scale), math.ceil(width * scale)
    if height * width > LARGEST_INPUT:
        raise ImagesError(
            f"the network would be given {width}x{height} pixels, more than "
            f"{LARGEST_INPUT / 1e6:.1f} million.",
            "Make them smaller: --resize 256 --crop 224, say.",
        )


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels, a possible decompression bomb"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return printable(error) or type(error).__name__
