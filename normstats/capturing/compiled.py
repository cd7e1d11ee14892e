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
# How many values of a row the shift is the mean of: its first, as memory gives them in order.
_ROW_SAMPLE = 256
# How many positions the shift of a column is the mean of.
_COLUMN_SAMPLE = 16
# Channels taken together: their sums stay in the fastest memory.
_SLAB = 1024
# Positions of few channels are taken several abreast, where there are many of them: short loops
# cost more than what they sum.
_WIDTH, _MANY = 256, 256
# Values below which a second thread costs more than it brings.
_SMALL = 1 << 19


def moments_of_values(x: Tensor, channel_dim: int) -> Tensor:
    """Mean and variance of each image and channel, ``(2, N, C)``, as of ``spatial_moments``.

    Few calls, as each of them waits for memory that the network has just displaced.

    Args:
        x: ``(N, ..., C, ...)`` on the CPU, float32 or float64, in any memory layout.
        channel_dim: the axis that holds the channels.
    """
    values = x.numpy(force=True)  # detached
    images, channels = values.shape[0], values.shape[channel_dim]
    moments = np.empty((2, images, channels), values.dtype)
    axes = list(range(values.ndim))
    axes.append(axes.pop(channel_dim))
    columns = values.transpose(axes)
    # Where the channels of a position lie side by side, and only there, they are not copied so.
    if columns.flags.c_contiguous and channels > 1:
        columns = columns.reshape(images, -1, channels)
        _in_threads(_columns, columns, *moments, units=images * -(-channels // _SLAB))
    else:
        axes.insert(1, axes.pop())
        rows = values.transpose(axes).reshape(images * channels, -1)
        _in_threads(_rows, rows, *moments.reshape(2, -1), units=len(rows))
    return torch.from_numpy(moments)


@compiled
def _rows(x: _Array, mean: _Array, variance: _Array, start: int, stop: int) -> None:
    positions = x.shape[1]
    for row in range(start, stop):
        sample = x[row, :_ROW_SAMPLE]
        shift = x.dtype.type(0)
        for position in range(sample.size):
            shift += sample[position]
        shift = x.dtype.type(shift / sample.size)
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
    step = -(-positions // _COLUMN_SAMPLE)
    abreast, twice = 1, 2
    while twice * channels <= _WIDTH and twice * _MANY <= positions and positions % twice == 0:
        abreast, twice = twice, 2 * twice
    for unit in range(start, stop):
        image, first = unit // slabs, unit % slabs * _SLAB
        count = min(channels - first, _SLAB)
        size = abreast * count
        shift = np.zeros(size, x.dtype)
        for position in range(0, positions, step):
            # A slice of a row is known to lie side by side, one of the image is not.
            values = x[image, position][first : first + count]
            for channel in range(count):
                shift[channel] += values[channel]
        shift /= -(-positions // step)
        for place in range(count, size):
            shift[place] = shift[place - count]
        total, squares = np.zeros(size), np.zeros(size)
        some, some_squares = np.empty_like(shift), np.empty_like(shift)
        rows = x[image].reshape(positions // abreast, abreast * channels)
        for begin in range(0, len(rows), _COLUMN_BLOCK):
            some[:] = 0
            some_squares[:] = 0
            for row in range(begin, min(len(rows), begin + _COLUMN_BLOCK)):
                values = rows[row][first : first + size]
                for place in range(size):
                    value = values[place] - shift[place]
                    some[place] += value
                    some_squares[place] += value * value
            for place in range(size):
                total[place] += some[place]
                squares[place] += some_squares[place]
        for place in range(count, size):
            total[place % count] += total[place]
            squares[place % count] += squares[place]
        for channel in range(count):
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
