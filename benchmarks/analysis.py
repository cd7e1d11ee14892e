"""How long the analysis takes against the capture, and how both grow with the images.

    python benchmarks/analysis.py --arch resnet50 --images 256

Random weights and random images: no file is needed, and the work is the same. Times are of one
run, so read the ratios.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import normstats as ns
from normstats.inputs import build_architecture


def batches(images: int, size: int, batch: int = 16) -> Iterator[Tensor]:
    """The same random images every time."""
    generator = torch.Generator().manual_seed(0)
    for start in range(0, images, batch):
        yield torch.randn(min(batch, images - start), 3, size, size, generator=generator)


def timed_forward(model: torch.nn.Module, images: int, size: int) -> float:
    """Seconds of the network alone."""
    start = time.perf_counter()
    with torch.inference_mode():
        for some in batches(images, size):
            model(some)
    return time.perf_counter() - start


def main() -> None:
    """Print a table with a row for each number of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()

    torch.manual_seed(0)
    model = build_architecture(options.arch).eval()
    timed_forward(model, 16, options.size)  # warm up
    table = Table("images", "forward s", "capture s", "/ forward", "analysis s", "/ capture")
    for images in (options.images // 4, options.images // 2, options.images):
        forward = timed_forward(model, images, options.size)
        start = time.perf_counter()
        moments = ns.capture(model, batches(images, options.size))
        captured = time.perf_counter()
        ns.analyze(moments)
        capture, analysis = captured - start, time.perf_counter() - captured
        table.add_row(
            str(images),
            f"{forward:.1f}",
            f"{capture:.1f}",
            f"{capture / forward:.2f}",
            f"{analysis:.1f}",
            f"{analysis / capture:.2f}",
        )
    Console().print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{moments}; {torch.get_num_threads()} threads; peak memory {peak:,.0f} MB")


if __name__ == "__main__":
    main()
