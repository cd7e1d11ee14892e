"""The batch size from which BatchNorm's statistics are better than another method's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Crossover:
    """B*, the batch size at which BatchNorm's curve meets another method's level.

    Attributes:
        batch: B*; zero where BatchNorm is better at every computed size, infinite where it is
            better at none, NaN where it cannot be told.
        smallest: the smallest batch size computed.
        largest: the largest batch size computed.
    """

    batch: float
    smallest: int
    largest: int

    def __str__(self) -> str:
        if np.isnan(self.batch):
            return ""
        if self.batch == 0:
            return f"<{self.smallest}"
        if np.isinf(self.batch):
            return f">{self.largest}"
        return f"{self.batch:.4g}"


def crossover(
    batches: Sequence[int], curve: Sequence[float] | NDArray[np.float64], level: float
) -> Crossover:
    """Where BatchNorm's curve first falls to the level, interpolated in log-log.

    Args:
        batches: batch sizes, ascending, at least two.
        curve: BatchNorm's error (or residual) at each of them.
        level: the other method's.
    """
    x, y = np.asarray(batches, dtype=np.float64), np.asarray(curve, dtype=np.float64)
    smallest, largest = int(x[0]), int(x[-1])
    known = np.isfinite(y)
    x, y = x[known], y[known]
    if not np.isfinite(level) or not y.size:
        return Crossover(np.nan, smallest, largest)
    better = np.flatnonzero(y <= level)
    if not better.size:
        return Crossover(np.inf, smallest, largest)
    first = better[0]
    if first == 0:
        # A curve undefined at its smallest size (1 x 1 maps) cannot be better before that.
        below = known[0] and y[0] < level
        return Crossover(0.0 if below else float(x[0]), smallest, largest)
    before, after = y[first - 1], y[first]
    if after <= 0 or level <= 0:
        return Crossover(float(x[first]), smallest, largest)
    share = np.log(before / level) / np.log(before / after)
    batch = x[first - 1] * (x[first] / x[first - 1]) ** share
    return Crossover(float(batch), smallest, largest)
