"""Images dealt at random into blocks; leaving out one block at a time shows what chance does.

Positions of one image are not independent, images are. So every confidence interval comes from
images: a statistic is computed K times, each time without the images of one block (the
delete-a-group jackknife), and how much it changes says how much another sample of images would
have changed it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

COUNT = 20


@dataclass(frozen=True)
class Blocks:
    """N images in K blocks of nearly equal size.

    Attributes:
        order: the images, block after block, ``(N,)``.
        ends: where in ``order`` each block ends, ``(K,)``.
    """

    order: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, images: int, *, count: int = COUNT, seed: int = 0) -> Blocks:
        """Deal ``images`` images into ``count`` blocks; at most one block an image."""
        count = min(count, images)
        block = np.arange(images) % count
        np.random.default_rng([seed, images]).shuffle(block)
        order = np.argsort(block, kind="stable")
        return cls(order, np.cumsum(np.bincount(block, minlength=count)))

    @property
    def share(self) -> Array:
        """Each block's share of the images, ``(K,)``."""
        return np.diff(self.ends, prepend=0) / len(self.order)

    def members(self, block: int) -> NDArray[np.int64]:
        """The images of one block."""
        start = self.ends[block - 1] if block else 0
        return self.order[start : self.ends[block]]

    def means(self, values: Array) -> Array:
        """Mean over the images of each block: ``(N, ...)`` to ``(K, ...)``."""
        return np.stack([values[self.members(k)].mean(axis=0) for k in range(len(self.ends))])

    def total(self, means: Array) -> Array:
        """The mean over all images, from the blocks' means ``(..., K, C)``: ``(..., C)``."""
        return np.asarray(np.einsum("k,...kc->...c", self.share, means))

    def without_one(self, means: Array) -> Array:
        """The mean over all other images, for each block in turn: ``(..., K, C)`` again."""
        share = self.share[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):  # a single block leaves nothing
            return np.asarray((self.total(means)[..., None, :] - share * means) / (1 - share))
