"""The embedded images: scikit-learn's handwritten digits, and how they are split.

Alpaydin & Kaynak (1998), "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository; scikit-learn brings 1,797 of them with it, so that nothing is downloaded.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from normstats.errors import ImagesError
from normstats.inputs.images.source import Listing, numbered

_INK = 16.0  # each pixel counts the inked ones among 4x4 pixels of the scan
_HELD_OUT_SHARE = 0.2
_SPLIT_SEED = 0


class Digits(TensorDataset):
    """Images ``(1, 8, 8)`` and labels of all the digits, with the names of the classes.

    Also a source, as ``normstats.inputs.Images`` reads it.
    """

    classes = tuple("0123456789")

    @property
    def listing(self) -> Listing:
        """Which images there are: as in an array of them."""
        labels = self.tensors[1].numpy()
        shown = "scikit-learn's digits"
        return Listing(shown, numbered(len(self)), self.classes, labels, ready=True)

    def content(self, index: int) -> Tensor:
        """The values of one image, ``(1, 8, 8)``."""
        return self.tensors[0][index]


def load_digits_images() -> tuple[Tensor, Tensor]:
    """All the digits, in scikit-learn's order.

    Returns:
        Images ``(1797, 1, 8, 8)``, float32, from 0 (paper) to 1 (all ink), and labels ``(1797,)``,
        int64. Nothing else is done to the pixels.

    Raises:
        ImagesError: scikit-learn cannot be imported.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise _without_scikit_learn(error) from error

    digits = load_digits()
    images = torch.as_tensor(digits.images, dtype=torch.float32).unsqueeze(1) / _INK
    return images, torch.as_tensor(digits.target, dtype=torch.int64)


def split(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which images the network is trained on, and which are held out: always the same ones.

    Args:
        labels: class of each image, ``(N,)``.

    Returns:
        Indices of the training images and of the held-out ones, a fifth, every class in proportion.

    Raises:
        ImagesError: scikit-learn cannot be imported.
    """
    try:
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise _without_scikit_learn(error) from error

    training, held_out = train_test_split(
        torch.arange(len(labels)).numpy(),
        test_size=_HELD_OUT_SHARE,
        stratify=labels.numpy(),
        random_state=_SPLIT_SEED,
    )
    return torch.as_tensor(training), torch.as_tensor(held_out)


def _without_scikit_learn(error: ImportError) -> ImagesError:
    return ImagesError(
        f"The demo's digits come with scikit-learn, which cannot be imported: {error}.",
        "pip install 'normstats[demo]'",
    )
