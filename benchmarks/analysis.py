"""How long the analysis takes and how much memory, and how both grow.

    python benchmarks/analysis.py                       # with images and with layers
    python benchmarks/analysis.py --layer 50000 2048    # one layer of so many images and channels
    python benchmarks/analysis.py --arch resnet50 --images 256    # beside the capture

Moments are made up, with the layers of a ResNet-50 (53 layers, 26,560 channels), and analyzed as
``analyze`` does by default: fourteen methods, crossovers, intervals, effective samples. Each is
measured in a process of its own, after a small analysis that loads what is compiled. *Growth* is
the exponent of the time in the number of images or layers. *Peak* is what the analysis takes
beyond the moments and the program. Beside the capture, networks have random weights and images,
and *everything* adds grouping, plane, mixing and composition; times are of one run, so read the
ratios.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from measuring import in_a_process, show

import normstats as ns
from normstats.moments import LayerMoments, Moments

if TYPE_CHECKING:
    from torch import Tensor, nn

IMAGES = (500, 1000, 2000, 4000)
COPIES = (1, 2, 4)  # of a quarter of the layers
CLASSES = 20


def resnet50() -> list[int]:
    """The channels of its 53 BatchNorm layers."""
    widths = [64]
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            widths += [width, width, 4 * width] + ([4 * width] if block == 0 else [])
    return widths


def made_up(images: int, channels: int, seed: int) -> LayerMoments:
    """Moments whose channels share brightness and contrast, with skewed variances."""
    rng = np.random.default_rng([seed, images])
    scale = np.exp(0.4 * rng.standard_normal(channels, np.float32))
    offset = 0.5 * rng.standard_normal(channels, np.float32)
    mean, variance = np.empty((2, images, channels), np.float32)
    for start in range(0, images, 1000):
        shape = (min(1000, images - start), channels)
        shared = 0.4 * rng.standard_normal((shape[0], 1), np.float32)
        own, contrast = rng.standard_normal((2, *shape), np.float32)
        mean[start : start + 1000] = offset + scale * (0.3 * own + 0.2 * shared)
        variance[start : start + 1000] = scale**2 * np.exp(0.4 * contrast + shared)
    return LayerMoments(
        mean,
        variance,
        spatial=(14, 14),
        gamma=rng.uniform(0.1, 1.0, channels),
        running_mean=offset,
        running_variance=1.2 * scale**2,
    )


def network(images: int, widths: Sequence[int]) -> Moments:
    """Layers of these widths."""
    layers = {f"norm{i}": made_up(images, width, seed=i) for i, width in enumerate(widths)}
    return Moments(layers)


def megabytes(entry: str) -> float:
    """Of this process: ``VmRSS`` now, ``VmHWM`` at most so far."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(entry)) / 1024


def measure(images: int, widths: Sequence[int]) -> dict[str, float]:
    """Seconds and megabytes of one analysis, in this process."""
    ns.analyze(network(64, [64, 128]))
    moments = network(images, widths)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts from here
    before, start, cpu = megabytes("VmRSS"), time.perf_counter(), time.process_time()
    ns.analyze(moments)
    return {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "peak": megabytes("VmHWM") - before,
        "moments": images * sum(widths) * 8 / 1e6,
    }


def show_growth(
    size: str, cases: Sequence[tuple[int, int, Sequence[int]]], *, markdown: bool
) -> None:
    """A row for each (size, images, widths), and how the time grows with the size."""
    rows: list[list[str]] = []
    before: tuple[int, float] | None = None
    for number, images, widths in cases:
        asked = json.dumps([images, list(widths)])
        found = in_a_process(__file__, "--measure", asked)
        growth = ""
        if before is not None:
            growth = f"{np.log(found['cpu'] / before[1]) / np.log(number / before[0]):.2f}"
        before = (number, found["cpu"])
        rows.append(
            [
                *(f"{number:,}", f"{sum(widths):,}"),
                *(f"{found['seconds']:.1f}", f"{found['cpu']:.1f}", growth),
                *(f"{found['moments']:,.0f}", f"{found['peak']:,.0f}"),
            ]
        )
    columns = [size, "channels", "seconds", "CPU s", "growth", "moments, MB", "peak, MB"]
    show(f"The analysis of more {size}", columns, rows, markdown=markdown)


def batches(images: int, size: int, batch: int = 16) -> Iterator[tuple[Tensor, Tensor]]:
    """The same random images every time."""
    import torch

    generator = torch.Generator().manual_seed(0)
    for start in range(0, images, batch):
        some = torch.arange(start, min(start + batch, images))
        yield torch.randn(len(some), 3, size, size, generator=generator), some % CLASSES


def timed_forward(model: nn.Module, images: int, size: int) -> float:
    """Seconds of the network alone."""
    import torch

    start = time.perf_counter()
    with torch.inference_mode():
        for some, _ in batches(images, size):
            model(some)
    return time.perf_counter() - start


def show_beside_capture(arch: str, images: int, size: int, *, markdown: bool) -> None:
    """The analysis beside the capture of a real network."""
    import torch

    from normstats.inputs import build_architecture

    torch.manual_seed(0)
    model = build_architecture(arch).eval()
    timed_forward(model, 16, size)  # warm up
    ns.analyze(network(64, [64, 128]))
    forward = timed_forward(model, images, size)
    start = time.perf_counter()
    moments = ns.capture(model, batches(images, size), classes=[str(i) for i in range(CLASSES)])
    captured = time.perf_counter()
    study = ns.analyze(moments)
    analyzed = time.perf_counter()
    for part in study.askable():
        study.ask(part)
    asked = time.perf_counter()
    capture, default, everything = captured - start, analyzed - captured, asked - captured
    columns = ["images", "forward, s", "capture, s", "/ forward", "default, s", "/ capture"]
    row = [
        *(f"{images:,}", f"{forward:.1f}", f"{capture:.1f}", f"{capture / forward:.2f}"),
        *(f"{default:.1f}", f"{default / capture:.2f}"),
        *(f"{everything:.1f}", f"{everything / capture:.2f}"),
    ]
    show(
        f"The analysis beside a capture, {arch}, images of {size} pixels",
        [*columns, "everything, s", "/ capture"],
        [row],
        markdown=markdown,
    )


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layer", nargs=2, type=int, metavar=("N", "C"))
    parser.add_argument("--arch", help="measure beside the capture of this network")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--markdown", action="store_true", help="for docs/benchmarks.md")
    options = parser.parse_args()
    growth = partial(show_growth, markdown=options.markdown)

    widths = resnet50()
    if options.measure:
        print(json.dumps(measure(*json.loads(options.measure))))
    elif options.layer:
        images, channels = options.layer
        growth("images", [(images, images, [channels])])
    elif options.arch:
        show_beside_capture(options.arch, options.images, options.size, markdown=options.markdown)
    else:
        growth("images", [(n, n, widths) for n in IMAGES])
        some = widths[::4]
        cases = [(len(some) * copies, IMAGES[0], some * copies) for copies in COPIES]
        growth("layers", cases)


if __name__ == "__main__":
    main()
