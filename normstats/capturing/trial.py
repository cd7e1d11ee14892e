"""Which memory layout and batch size is fastest here, found on the first images."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from math import inf

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
_SHARE = 1 / 128
# Every way is run so often: twice, as the first run also warms up; layouts more often, in turn,
# before the usual one is given up, as a neighbour on the machine may slow down any run.
_RUNS = 2
_MOST_RUNS = 4
_CLEARLY = 1.2
# Seconds that a run takes at least: quick networks are called again and again.
_ENOUGH = 0.1
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
        way: what was chosen.
        seconds: an image, for every way that was tried.
    """

    way: Way
    seconds: dict[Way, float]

    def __str__(self) -> str:
        text = f"{self.way.memory_format}, batches of {self.way.batch_size}"
        times = []
        for name in FORMATS:
            seconds = [s for way, s in self.seconds.items() if way.memory_format == name]
            if seconds:
                times.append(f"{name} {min(seconds) * 1e3:.3g} ms an image")
        return f"{text} ({', '.join(times)})" if times else text


def images_to_try(images: int) -> int:
    """How many of the images a trial needs: as many as the largest batch that it tries."""
    largest = min(_LARGEST_BATCH, int(images * _SHARE))
    return min(images, largest if largest >= Way.batch_size else _FEW)


def fastest(
    model: nn.Module,
    images: Tensor,
    *,
    memory_format: MemoryFormat | None = None,
    batch_size: int | None = None,
    amp: bool = False,
) -> Trial:
    """Run the model on a few images in each layout, then in the better one in growing batches.

    Args:
        model: in its place.
        images: ``(N, C, H, W)``, the first ones; the largest batch tried is N. Of fewer than 16,
            no batch sizes are tried, and what is usual is taken for images of this size.
        memory_format, batch_size: None to choose it.
        amp: as in ``capture``.

    Raises:
        CaptureError: the model failed on these images.
    """
    placed = placed_images(model, images, model_device(model), model_dtype(model))
    clock = _Clock(model, placed, amp)
    few = min(_FEW, len(images), batch_size or _FEW)
    if memory_format is None:
        memory_format = "contiguous" if is_detector(model) else _best_layout(clock, few)
    if batch_size is None and len(images) >= Way.batch_size:
        way = _best_batch(clock, Way(memory_format, few), len(images))
    else:
        way = Way(memory_format, batch_size or _usual_batch(placed, few))
    return Trial(way, clock.seconds)


@dataclass(frozen=True)
class _Clock:
    """Runs a model, and keeps the best time an image of every way."""

    model: nn.Module
    images: Images
    amp: bool
    seconds: dict[Way, float] = field(default_factory=dict)

    def run(self, way: Way) -> float:
        """Once more; the best time so far."""
        images = self.images[: way.batch_size]
        taken: list[float] = []
        with eval_mode(self.model), laid_out(self.model, way.memory_format):
            while sum(taken) < _ENOUGH:
                begin = time.perf_counter()
                forward(self.model, images, amp=self.amp)
                _wait_for(images[0].device)
                taken.append(time.perf_counter() - begin)
        self.seconds[way] = min(min(taken) / len(images), self.seconds.get(way, inf))
        return self.seconds[way]


def _best_layout(clock: _Clock, few: int) -> MemoryFormat:
    """channels_last, which gains more the larger the batch, unless the other is clearly faster."""
    for run in range(1, _MOST_RUNS + 1):
        contiguous, channels_last = (clock.run(Way(name, few)) for name in FORMATS)
        if run >= _RUNS and channels_last <= contiguous:
            break
    return "contiguous" if channels_last > _CLEARLY * contiguous else "channels_last"


def _best_batch(clock: _Clock, way: Way, most: int) -> Way:
    """Twice as many images, as long as it pays."""
    best = min(clock.run(way) for _ in range(_RUNS))
    while 2 * way.batch_size <= most:
        larger = Way(way.memory_format, 2 * way.batch_size)
        seconds = min(clock.run(larger) for _ in range(_RUNS))
        if seconds > _WORTH * best:
            break
        way, best = larger, seconds
    return way


def _usual_batch(images: Images, few: int) -> int:
    """As many as have the pixels of 16 images of 224 x 224."""
    pixels = images[0][0].numel()
    return max(few, min(_LARGEST_BATCH, 16 * 224**2 // pixels))


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
