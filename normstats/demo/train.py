"""Train the embedded network from nothing, or check the weights that are shipped.

    python -m normstats.demo.train --check
    python -m normstats.demo.train --out weights.safetensors

The number of epochs is fixed: the held-out digits are looked at once, when all is done. Equal seeds
give equal weights on the same machine with the same number of threads; elsewhere, rounding differs.
"""

from __future__ import annotations

import math
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save
from torch import Generator, Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim.swa_utils import update_bn

from normstats.demo import WEIGHTS, demo_model, digits_resnet
from normstats.demo.digits import load_digits_images, split
from normstats.errors import NormstatsError

if TYPE_CHECKING:
    from collections.abc import Sequence

EPOCHS = 30
BATCH = 64
LEARNING_RATE = 0.1
WEIGHT_DECAY = 5e-4
MAX_ROTATION = math.radians(10)
MAX_SHIFT = 0.125  # of half the width: half a pixel


def train(images: Tensor, labels: Tensor, *, epochs: int = EPOCHS, seed: int = 0) -> nn.Module:
    """Train a network with random weights; torch's global random state is left as it was.

    Args:
        images: ``(N, 1, 8, 8)``, as ``load_digits_images`` scales them.
        labels: class of each image, ``(N,)``.
        epochs: passes over the images; the learning rate falls to 0 over them along a cosine.
        seed: of the first weights, the order of the images and their random changes.

    Returns:
        The network after the last epoch, in evaluation mode; its running statistics are those of
        all N images in one batch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = digits_resnet()
    generator = Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        model.parameters(), LEARNING_RATE, momentum=0.9, nesterov=True, weight_decay=WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        for batch in torch.split(order, BATCH):
            logits = model(jitter(images[batch], generator))
            loss = F.cross_entropy(logits, labels[batch])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        schedule.step()
    # Turned images are a little blurred; the stored statistics shall be those of the digits as
    # they are.
    update_bn([images], model)
    return model.eval()


def jitter(images: Tensor, generator: Generator) -> Tensor:
    """Each image ``(N, 1, 8, 8)`` slightly rotated and shifted, both at random."""
    count = len(images)
    angle = MAX_ROTATION * _between_minus_one_and_one(count, generator)
    shift = MAX_SHIFT * _between_minus_one_and_one((count, 2), generator)
    affine = torch.empty(count, 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = angle.cos()
    affine[:, 1, 0] = angle.sin()
    affine[:, 0, 1] = -angle.sin()
    affine[:, :, 2] = shift
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _between_minus_one_and_one(shape: int | tuple[int, int], generator: Generator) -> Tensor:
    return 2 * torch.rand(shape, generator=generator) - 1


@torch.no_grad()
def count_correct(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    """How many of the images ``(N, 1, 8, 8)`` a network in evaluation mode gets right."""
    return int((model(images).argmax(dim=1) == labels).sum())


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; exit status 2 where the user can mend what is wrong."""
    parser = ArgumentParser(
        prog="python -m normstats.demo.train",
        description="Train the embedded network on scikit-learn's digits.",
    )
    parser.add_argument("--check", action="store_true", help="only test the shipped weights")
    parser.add_argument("--out", type=Path, help="where to write the weights (default: shipped)")
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")
    options = parser.parse_args(arguments)
    out = options.out or WEIGHTS

    if options.check and (options.out or options.force):
        parser.error("--check trains nothing: it goes with neither --out nor --force")
    if out.is_dir() or not out.parent.is_dir():
        parser.error(f"{out} must be a file in a folder that exists")
    if not options.check and out.exists() and not options.force:
        parser.error(f"{out} exists already; name another file with --out, or add --force")

    try:
        images, labels = load_digits_images()
        training, held_out = split(labels)
    except NormstatsError as error:
        parser.exit(2, f"{error}\n")
    if options.check:
        model = demo_model()
    else:
        sys.stderr.write(f"Training on {len(training)} digits takes about a minute.\n")
        model = train(images[training], labels[training])
        out.write_bytes(save(model.state_dict()))
        sys.stdout.write(f"Wrote {out}\n")
    correct = count_correct(model, images[held_out], labels[held_out])
    share = correct / len(held_out)
    sys.stdout.write(f"Held-out digits: {correct} of {len(held_out)} correct ({share:.2%})\n")


if __name__ == "__main__":
    main()
