"""The classes of the images, and batches that are put together by class."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from normstats.errors import ImagesError
from normstats.moments import Moments
from normstats.population import Array

Composition = Literal["iid", "single-class", "class-balanced"]
COMPOSITIONS: tuple[Composition, ...] = ("iid", "single-class", "class-balanced")


class Classes:
    """The images of each class.

    Args:
        labels: class of each image, ``(N,)``; any integers, not all of which need occur.

    Attributes:
        of_image: class of each image, 0 to K − 1, ``(N,)``.
        counts: images of each class, ``(K,)``.
    """

    def __init__(self, labels: ArrayLike) -> None:
        _, self.of_image, self.counts = np.unique(
            np.asarray(labels), return_inverse=True, return_counts=True
        )
        self._order = np.argsort(self.of_image, kind="stable")
        self._start = np.cumsum(self.counts) - self.counts

    @classmethod
    def of(cls, moments: Moments) -> Classes:
        """The classes of the captured images.

        Raises:
            ImagesError: the moments have no labels.
        """
        if moments.labels is None:
            raise ImagesError(
                "The composition of batches needs the class of each image, and there is none.",
                "Put the images into a folder per class, or capture from (images, labels).",
            )
        return cls(moments.labels)

    @property
    def number(self) -> int:
        """The number of classes K."""
        return len(self.counts)

    def means(self, values: Array) -> Array:
        """The mean over the images of each class: ``(N, C)`` to ``(K, C)``."""
        images = len(self.of_image)
        shares = 1 / self.counts[self.of_image]
        average = csr_array(
            (shares, (self.of_image, np.arange(images))), shape=(self.number, images)
        )
        return np.asarray(average @ values)

    def image_shares(self, composition: Composition) -> Array:
        """How often each image stands in a batch, ``(N,)``, summing to one."""
        images = len(self.of_image)
        if composition == "class-balanced":
            return np.asarray(1 / (self.number * self.counts[self.of_image]))
        return np.full(images, 1 / images)

    def between_factor(self, composition: Composition, batch: int) -> float:
        """How much of the variance between classes a batch's mean keeps.

        1/B of it in iid batches, all of it in single-class ones, r(K − r)/((K − 1)·B²) in balanced
        ones with r = B mod K: a sample of classes without replacement.
        """
        if composition == "iid":
            return 1 / batch
        if composition == "single-class":
            return 1.0
        rest = batch % self.number
        return rest * (self.number - rest) / (max(self.number - 1, 1) * batch**2)

    def draw(
        self, composition: Composition, batch: int, draws: int, generator: np.random.Generator
    ) -> NDArray[np.int64]:
        """The images of some batches, ``(draws, B)``."""
        images = len(self.of_image)
        if composition == "iid":
            return generator.integers(images, size=(draws, batch))
        if composition == "single-class":
            classes = self.of_image[generator.integers(images, size=(draws, 1))]
            classes = np.repeat(classes, batch, axis=1)
        else:
            whole, rest = divmod(batch, self.number)
            every = np.tile(np.arange(self.number), (draws, 1))
            some = generator.permuted(every, axis=1)[:, :rest]
            classes = np.concatenate([np.tile(every, (1, whole)), some], axis=1)
        within = np.floor(generator.random(classes.shape) * self.counts[classes]).astype(np.int64)
        return np.asarray(self._order[self._start[classes] + within])
