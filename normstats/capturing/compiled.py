"""One pass over an activation on the CPU.

Values are shifted by the mean of a few of them, so that squares stay small, and summed in their
own precision over a short block, then in float64. Where the shift is more than a standard deviation
from the mean, that would lose digits: there a second pass is shifted by the mean itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from normstats.compiling import compiled

_Array = NDArray[Any]

# Sums in the values' own precision: long enough to be fast, short enough to lose nothing.
_ROW_BLOCK = 1024
_COLUMN_BLOCK = 32
# Channels taken together: their sums stay in the fastest memory.
_SLAB = 1024
# How many values the shift is the mean of.
_SAMPLE = 16
# Values below which a second thread costs more than it brings.
_SMALL = 1 << 16


def moments_of_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over the last axis of a contiguous ``(N, C, P)``: each ``(N, C)``."""
    images, channels, positions = x.shape
    values = x.numpy().reshape(images * channels, positions)
    mean, variance = np.empty((2, images * channels), values.dtype)
    _in_threads(_rows, values, mean, variance, units=len(values))
    return _tensors(mean, variance, images)


def moments_of_columns(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over the middle axis of a contiguous ``(N, P, C)``: each ``(N, C)``."""
    values = x.numpy()
    images, _, channels = values.shape
    mean, variance = np.empty((2, images, channels), values.dtype)
    slabs = -(-channels // _SLAB)
    _in_threads(_columns, values, mean, variance, units=images * slabs)
    return _tensors(mean, variance, images)


def _tensors(mean: _Array, variance: _Array, images: int) -> tuple[Tensor, Tensor]:
    one, other = (torch.from_numpy(moment.reshape(images, -1)) for moment in (mean, variance))
    return one, other


@compiled
def _rows(x: _Array, mean: _Array, variance: _Array, start: int, stop: int) -> None:
    positions = x.shape[1]
    step = -(-positions // _SAMPLE)
    for row in range(start, stop):
        sample = 0.0
        for position in range(0, positions, step):
            sample += x[row, position]
        shift = x.dtype.type(sample / -(-positions // step))
        centre, spread = 0.0, 0.0
        for second in range(2):
            if second:
                shift = x.dtype.type(shift + centre)
            total, squares = 0.0, 0.0
            for first in range(0, positions, _ROW_BLOCK):
                block = x[row, first : first + _ROW_BLOCK]
                some = some_squares = shift - shift  # zero, of the values' type
                for position in range(block.size):
                    value = block[position] - shift
                    some += value
                    some_squares += value * value
                total += some
                squares += some_squares
            centre = total / positions
            spread = squares / positions - centre * centre
            if not centre * centre > spread:
                break
        mean[row] = shift + centre
        variance[row] = 0.0 if spread < 0 else spread  # not max(), which would lose NaN


@compiled
def _columns(x: _Array, mean: _Array, variance: _Array, start: int, stop: int) -> None:
    positions, channels = x.shape[1:]
    slabs = -(-channels // _SLAB)
    step = -(-positions // _SAMPLE)
    for unit in range(start, stop):
        image, first = unit // slabs, unit % slabs * _SLAB
        size = min(channels - first, _SLAB)
        shift = np.zeros(size, x.dtype)
        for position in range(0, positions, step):
            shift += x[image, position, first : first + size]
        shift /= -(-positions // step)
        total, squares = np.zeros(size), np.zeros(size)
        some, some_squares = np.empty_like(shift), np.empty_like(shift)
        for begin in range(0, positions, _COLUMN_BLOCK):
            some[:] = 0
            some_squares[:] = 0
            for position in range(begin, min(positions, begin + _COLUMN_BLOCK)):
                # A slice of a row is known to lie side by side, one of the image is not.
                values = x[image, position][first : first + size]
                for channel in range(size):
                    value = values[channel] - shift[channel]
                    some[channel] += value
                    some_squares[channel] += value * value
            for channel in range(size):
                total[channel] += some[channel]
                squares[channel] += some_squares[channel]
        for channel in range(size):
            near = np.float64(shift[channel])
            centre = total[channel] / positions
            spread = squares[channel] / positions - centre * centre
            if centre * centre > spread:
                near += centre
                again, again_squares = 0.0, 0.0
                for position in range(positions):
                    value = np.float64(x[image, position, first + channel]) - near
                    again += value
                    again_squares += value * value
                centre = again / positions
                spread = again_squares / positions - centre * centre
            mean[image, first + channel] = near + centre
            variance[image, first + channel] = 0.0 if spread < 0 else spread


def _in_threads(
    function: Callable[..., None], x: _Array, mean: _Array, variance: _Array, *, units: int
) -> None:
    """Share the units, images or rows, among as many threads as PyTorch uses."""
    threads = min(torch.get_num_threads(), units, 1 + x.size // _SMALL)
    bounds = [units * thread // threads for thread in range(threads + 1)]
    others = [
        _threads(threads - 1).submit(function, x, mean, variance, start, stop)
        for start, stop in pairwise(bounds[1:])
    ]
    function(x, mean, variance, 0, bounds[1])
    for other in others:
        other.result()


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="normstats")


os.register_at_fork(after_in_child=_threads.cache_clear)  # threads do not come along
