"""What every kind of images has in common."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Labels = NDArray[np.int64]

# An image file, to be decoded; 8-bit pixels, decoded; or float32 values (C, H, W).
Content = BinaryIO | Image.Image | Tensor


@dataclass(frozen=True, eq=False)
class Listing:
    """Which images there are.

    Attributes:
        shown: how messages call them; printable.
        names: of the images ``(N,)``; as others chose them, so not printable.
        classes: the names of the classes; empty where there are none.
        labels: the class index of each image ``(N,)``; None where there are no classes.
        notes: what the user should know about how the images were understood; sentences.
        ready: whether they are values that a network takes as they are, rather than pixels.
    """

    shown: str
    names: Sequence[str]
    classes: tuple[str, ...] = ()
    labels: Labels | None = None
    notes: tuple[str, ...] = ()
    ready: bool = False


class Source(Protocol):
    """Images that can be read one by one, in any order and from any process."""

    @property
    def listing(self) -> Listing:
        """Which images there are."""

    def content(self, index: int) -> Content:
        """The image of that index.

        Raises:
            Exception: it cannot be read; the message says why.
        """


def numbered(count: int) -> list[str]:
    """Names for images that have none."""
    return [f"[{index}]" for index in range(count)]


def open_file(path: Path) -> BinaryIO:
    """Open a file; a pipe would be waited for without end, and a device is none of ours.

    Raises:
        OSError, ValueError: there is no such file, or it is of another kind.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("a pipe, socket, device or folder, not a file")
    return path.open("rb")
