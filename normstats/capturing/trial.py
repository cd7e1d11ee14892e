"""Which memory layout and batch size is fastest here, found on the first images."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from normstats.capturing.calling import Images, is_detector, placed_images
from normstats.capturing.devices import model_device, model_dtype
from normstats.capturing.hooks import eval_mode, forward
from normstats.capturing.layout import FORMATS, MemoryFormat, laid_out

_LARGEST_BATCH = 64
# The layouts are compared on so many images.
_FEW = 4
# A batch of more than this share of all images would take too long to try.
_SHARE = 1 / 32
# Seconds that the runs of a way take at least; of a slow network, one run.
_ENOUGH = 0.2
# A larger batch must be so much faster to be worth its memory.
_WORTH = 0.97


@dataclass(frozen=True)
class Way:
    """How a network is run. Other ways give other last digits.

    Attributes:
        memory_format: of the weights of its convolutions, and with them of its maps.
        batch_size: the number of images in a forward pass.
    """

    memory_format: MemoryFormat = "contiguous"
    batch_size: int = 16


@dataclass(frozen=True)
class Trial:
    """What a trial measured.

    Attributes:
        way: the fastest.
        seconds: an image, for every way that was tried.
    """

    way: Way
    seconds: dict[Way, float]

    def __str__(self) -> str:
        here = self.seconds[self.way]
        text = f"{self.way.memory_format}, batches of {self.way.batch_size} ({_per_image(here)}"
        others = {way.memory_format: s for way, s in self.seconds.items() if way != self.way}
        for memory_format in FORMATS:
            if memory_format != self.way.memory_format and memory_format in others:
                text += f"; {memory_format} {_per_image(others[memory_format])}"
        return text + ")"


def images_to_try(images: int) -> int:
    """How many of the images a trial of all batch sizes needs: as many as the largest batch."""
    return min(images, max(_FEW, min(_LARGEST_BATCH, int(images * _SHARE))))


def fastest(
    model: nn.Module,
    images: Tensor,
    *,
    memory_formats: Sequence[MemoryFormat] = FORMATS,
    batch_size: int | None = None,
    amp: bool = False,
) -> Trial:
    """Run the model on a few images in each layout, then in the better one in growing batches.

    Args:
        model: in its place.
        images: ``(N, C, H, W)``, the first ones; the largest batch tried is N.
        memory_formats: to choose from.
        batch_size: None to choose it too.
        amp: as in ``capture``.

    Raises:
        CaptureError: the model failed on these images.
    """
    batch = placed_images(model, images, model_device(model), model_dtype(model))
    seconds: dict[Way, float] = {}

    def time_of(way: Way) -> float:
        if way not in seconds:
            seconds[way] = _seconds_an_image(model, batch[: way.batch_size], way, amp=amp)
        return seconds[way]

    few = min(_FEW, len(images), batch_size or _FEW)
    if len(memory_formats) == 1 or is_detector(model):
        memory_format = memory_formats[0]
    else:
        memory_format = min(memory_formats, key=lambda name: time_of(Way(name, few)))
    way = Way(memory_format, batch_size or few)
    time_of(way)
    for larger in _doubled(few, len(images)) if batch_size is None else ():
        bigger = Way(memory_format, larger)
        if time_of(bigger) > _WORTH * time_of(way):
            break
        way = bigger
    return Trial(way, seconds)


def _doubled(few: int, most: int) -> Iterator[int]:
    size = 2 * few
    while size <= most:
        yield size
        size *= 2


def _seconds_an_image(model: nn.Module, images: Images, way: Way, *, amp: bool) -> float:
    """Of the best run, after one that only warms up."""
    taken: list[float] = []
    with eval_mode(model), laid_out(model, way.memory_format):
        forward(model, images, amp=amp)
        _wait_for(images[0].device)
        while sum(taken) < _ENOUGH:
            begin = time.perf_counter()
            forward(model, images, amp=amp)
            _wait_for(images[0].device)
            taken.append(time.perf_counter() - begin)
    return min(taken) / len(images)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _per_image(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms an image"
