"""The embedded default: a small trained network and its images, so that nothing is needed to begin.

    import normstats as ns
    from normstats.demo import demo_images, demo_model
    moments = ns.capture(demo_model(), demo_images())

The weights are float32 and come from ``python -m normstats.demo.train``.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from torch import Tensor, nn
from torch.utils.data import DataLoader

from normstats.demo.digits import Digits, load_digits_images
from normstats.demo.network import DigitsResNet, digits_resnet

WEIGHTS = Path(str(files("normstats.demo") / "digits_resnet.safetensors"))

__all__ = ["WEIGHTS", "DigitsResNet", "demo_images", "demo_model", "digits_resnet"]


def demo_model() -> nn.Module:
    """The network with its trained weights, in evaluation mode."""
    from safetensors.torch import load_file

    model = digits_resnet()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()


class DigitsLoader(DataLoader[tuple[Tensor, ...]]):
    """Batches of images ``(N, 1, 8, 8)`` and labels ``(N,)``."""

    dataset: Digits


def demo_images() -> DigitsLoader:
    """All 1,797 digits in a fixed order; ``dataset`` has their number and ``classes``.

    Raises:
        ImagesError: scikit-learn cannot be imported.
    """
    return DigitsLoader(Digits(*load_digits_images()), batch_size=256)
