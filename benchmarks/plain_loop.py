"""The loop a user would write: a folder of images through a network, nothing kept.

python benchmarks/plain_loop.py weights.pth images --arch resnet50
"""

from __future__ import annotations

import argparse

import torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.models import get_model


def main() -> None:
    """Run all images through."""
    parser = argparse.ArgumentParser()
    parser.add_argument("weights")
    parser.add_argument("images")
    parser.add_argument("--arch", required=True)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--channels-last", action="store_true")
    options = parser.parse_args()

    model = get_model(options.arch, weights=None)
    model.load_state_dict(torch.load(options.weights, weights_only=True))
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    model.eval().to(memory_format=layout)
    prepare = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    images = ImageFolder(options.images, prepare)
    loader = DataLoader(images, batch_size=options.batch_size, num_workers=options.workers)
    with torch.inference_mode():
        for batch, _ in loader:
            model(batch.to(memory_format=layout))


if __name__ == "__main__":
    main()
