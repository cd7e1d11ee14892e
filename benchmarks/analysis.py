"""How long the analysis takes against the capture, and how both grow with the images.

    python benchmarks/analysis.py --arch resnet50 --images 2000

Random weights and random images in twenty classes: no file is needed, and the work is the same.
*default* is what ``analyze`` does: errors, crossovers, intervals, effective samples. *everything*
adds grouping, plane, mixing and composition. Times are of one run, so read the ratios.
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

CLASSES = 20


def batches(images: int, size: int, batch: int = 16) -> Iterator[tuple[Tensor, Tensor]]:
    """The same random images every time."""
    generator = torch.Generator().manual_seed(0)
    for start in range(0, images, batch):
        some = torch.arange(start, min(start + batch, images))
        yield torch.randn(len(some), 3, size, size, generator=generator), some % CLASSES


def timed_forward(model: torch.nn.Module, images: int, size: int) -> float:
    """Seconds of the network alone."""
    start = time.perf_counter()
    with torch.inference_mode():
        for some, _ in batches(images, size):
            model(some)
    return time.perf_counter() - start


def peak_megabytes() -> float:
    """The most memory that the process had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print a table with a row for each number of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--once", action="store_true", help="only the largest number of images")
    options = parser.parse_args()

    torch.manual_seed(0)
    model = build_architecture(options.arch).eval()
    timed_forward(model, 16, options.size)  # warm up
    columns = ("images", "forward s", "capture s", "/ forward", "default s", "/ capture")
    table = Table(*columns, "everything s", "/ capture", "peak MB")
    counts = [options.images // 4, options.images // 2, options.images]
    for images in counts[-1:] if options.once else counts:
        forward = timed_forward(model, images, options.size)
        start = time.perf_counter()
        moments = ns.capture(
            model, batches(images, options.size), classes=[str(i) for i in range(CLASSES)]
        )
        captured = time.perf_counter()
        study = ns.analyze(moments)
        analyzed = time.perf_counter()
        for part in study.askable():
            study.ask(part)
        asked = time.perf_counter()
        capture = captured - start
        table.add_row(
            str(images),
            f"{forward:.1f}",
            f"{capture:.1f}",
            f"{capture / forward:.2f}",
            f"{analyzed - captured:.1f}",
            f"{(analyzed - captured) / capture:.2f}",
            f"{asked - captured:.1f}",
            f"{(asked - captured) / capture:.2f}",
            f"{peak_megabytes():,.0f}",
        )
    Console().print(table)
    print(f"{moments}; {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
