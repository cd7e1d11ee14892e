"""The memory layout of a network's weights, which is the layout in which its maps are computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn

MemoryFormat = Literal["contiguous", "channels_last"]
FORMATS: tuple[MemoryFormat, ...] = ("contiguous", "channels_last")

_TORCH = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@contextmanager
def laid_out(model: nn.Module, memory_format: MemoryFormat) -> Iterator[None]:
    """Have the weights of two-dimensional convolutions so inside the block, and back afterwards."""
    weights = [
        (weight, weight.data)
        for module in model.modules()
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
        for weight in module.parameters(recurse=False)
        if weight.ndim == 4
    ]
    try:
        for weight, values in weights:
            weight.data = values.contiguous(memory_format=_TORCH[memory_format])
        yield
    finally:
        for weight, values in weights:
            weight.data = values
