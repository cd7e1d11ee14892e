"""Batches of images, drawn independently with replacement.

All sizes are cut from one sequence of images: batches of four are made of two batches of two, and
so on, so that the sums over the smaller ones serve the larger. There are fewer of the larger
ones; their statistics are nearer to the expected ones, which makes up for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from normstats import loops
from normstats.control_variates import DRAW_BLOCKS
from normstats.errors import SettingError
from normstats.population import Array

DRAWS = 512
_BATCH = 8  # of which there are ``draws``
_FEWEST = 64  # batches of any size, so that the regression on what is known is stable


def draws_for(images: int) -> int:
    """Batches of eight whose Monte-Carlo error is small beside the intervals over the images.

    Both fall as one over the square root of the images: of those drawn, and of those captured. As
    many are drawn as were captured, and never fewer than 4,096.
    """
    return max(DRAWS, -(-images // (_BATCH * DRAW_BLOCKS)) * DRAW_BLOCKS)


@dataclass(frozen=True)
class Resamples:
    """Batches of any size, drawn independently with replacement; the same for every layer.

    Args:
        images: the number of images N.
        draws: batches of eight images; of other sizes in inverse proportion, but no fewer than 64
            (or ``draws``). Always a multiple of ``DRAW_BLOCKS``.
        seed: of the random numbers.
    """

    images: int
    draws: int = DRAWS
    seed: int = 0
    _averaging: dict[int, csr_array] = field(default_factory=dict, repr=False, compare=False)

    def count(self, batch: int) -> int:
        """The number of batches of ``batch`` images."""
        count = max(self.draws * _BATCH // batch, min(self.draws, _FEWEST), DRAW_BLOCKS)
        return count // DRAW_BLOCKS * DRAW_BLOCKS

    def sequence(self, length: int) -> NDArray[np.int64]:
        """The first images that are drawn, ``(length,)``."""
        return np.random.default_rng(self.seed).integers(self.images, size=length)

    def members(self, batch: int) -> NDArray[np.int64]:
        """The images of each batch of ``batch`` images, ``(n, batch)``."""
        return self.sequence(self.count(batch) * batch).reshape(-1, batch)

    def averages(self, values: Array, batch: int) -> Array:
        """The mean of ``values (N, K)`` over each batch of ``batch`` images, ``(n, K)``."""
        if batch not in self._averaging:
            self._averaging[batch] = averaging(self.members(batch), self.images)
        return np.asarray(self._averaging[batch] @ values)


def averaging(members: NDArray[np.int64], images: int) -> csr_array:
    """The matrix ``(n, N)`` that averages ``(N, C)`` over the images ``(n, B)`` of each batch."""
    ends = np.arange(0, members.size + 1, members.shape[1])
    shares = np.full(members.size, 1 / members.shape[1])
    return csr_array((shares, members.ravel(), ends), shape=(len(members), images))


@dataclass(frozen=True)
class Draws:
    """The batches of some sizes, to be averaged over many times.

    Attributes:
        counts: the number of batches of each size.
        places: where the images drawn are, one after another.
    """

    counts: dict[int, int]
    places: NDArray[np.int64]

    @classmethod
    def of(cls, resamples: Resamples, batches: Sequence[int], order: NDArray[np.int64]) -> Draws:
        """Batches of these sizes of images that lie in this order."""
        counts = {batch: resamples.count(batch) for batch in sorted(set(batches))}
        length = max(batch * count for batch, count in counts.items())
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return cls(counts, place[resamples.sequence(length)])

    def averages(self, values: tuple[Array, Array]) -> Iterator[tuple[int, Array]]:
        """Each batch size, and the means over its batches: two of ``(c, N)`` to ``(2, c, n)``.

        The mean over a batch is that of its halves, as long as these are whole: the same digits,
        whatever other sizes are asked for.
        """
        halved = {1: np.empty((2, len(values[0]), len(self.places)))}
        for which in range(2):
            loops.gathered(values[which], self.places, halved[1][which])
        for batch, count in self.counts.items():
            half = 1
            while batch % (2 * half) == 0:
                if 2 * half not in halved:
                    halved[2 * half] = _averaged(halved[half], 2)
                half *= 2
            found = halved[half] if half == batch else _averaged(halved[half], batch // half)
            # Contiguous, or other machine code with other rounding would take it on.
            yield batch, np.ascontiguousarray(found[..., :count])


def _averaged(values: Array, count: int) -> Array:
    out = np.empty((*values.shape[:2], values.shape[2] // count))
    for which in range(2):
        loops.averaged(values[which], count, out[which])
    return out


def check_batches(batches: Sequence[int]) -> tuple[int, ...]:
    """The batch sizes, each once, ascending.

    Raises:
        SettingError: there is none, or one is below 1.
    """
    sizes = tuple(sorted(set(batches)))
    if not sizes or sizes[0] < 1:
        raise SettingError(
            f"Batch sizes must be at least 1; they are {', '.join(map(str, batches)) or 'none'}.",
            "Give some, e.g. 2,8,32.",
        )
    return sizes
