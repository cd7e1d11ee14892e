"""Small images whose values tell them apart, and what comes out when they are read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from normstats.inputs import Preprocessing
from normstats.inputs.images import Images

PLAIN = Preprocessing(mean=(0.0,), std=(1.0,))


def paint(path: Path, value: int = 0, size: tuple[int, int] = (6, 4)) -> None:
    """A lossless image with that red."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(value, size))


def png(value: int = 0, size: tuple[int, int] = (6, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, 100, 200)).save(buffer, "PNG")
    return buffer.getvalue()


def noise(count: int, height: int = 5, width: int = 7, channels: int = 3, seed: int = 0) -> Any:
    """8-bit pixels (N, H, W, C)."""
    shape = (count, height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def read(
    images: Images, batch_size: int = 3, workers: int = 0
) -> tuple[torch.Tensor, list[int] | None]:
    """All images, and their labels where there are classes."""
    batches = list(images.batches(batch_size, workers))
    if images.labels is None:
        return torch.cat([batch for batch in batches if isinstance(batch, torch.Tensor)]), None
    pairs = [batch for batch in batches if isinstance(batch, tuple)]
    return torch.cat([x for x, _ in pairs]), [int(label) for _, y in pairs for label in y]


def red(images: torch.Tensor) -> list[int]:
    return [round(255 * float(image[0].mean())) for image in images]
