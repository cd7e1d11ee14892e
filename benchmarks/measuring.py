"""What the benchmarks share: ways timed in turn, peak memory, random networks and images, tables.

Only ratios within one run say something on a machine that does other things too. So all ways are
run once in every repetition, in random order, and a ratio is formed within a repetition.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from torch import nn

Seconds = Mapping[str, Sequence[float]]


def arguments(description: str | None, *, repetitions: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=repetitions)
    parser.add_argument("--markdown", action="store_true", help="for docs/benchmarks.md")
    return parser


def interleaved(
    ways: Mapping[str, Callable[[], object]], repetitions: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Seconds of each way in each repetition.

    Args:
        ways: what is timed, by name.
        repetitions: how often.
        warm_up: run all of them once before.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    order = random.Random(0)
    if warm_up:
        for way in ways.values():
            way()
    for _ in range(repetitions):
        for name in order.sample(list(ways), len(ways)):
            start = time.perf_counter()
            ways[name]()
            taken[name].append(time.perf_counter() - start)
    return taken


def median(taken: Seconds, way: str) -> float:
    """The median of a way's seconds."""
    return float(np.median(taken[way]))


def ratio(taken: Seconds, way: str, to: str) -> str:
    """``1.05 (1.04 to 1.07)``: the median of the repetitions' ratios, and their quartiles."""
    ratios = np.divide(taken[way], taken[to])
    low, middle, high = (
        f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        for value in np.quantile(ratios, [0.25, 0.5, 0.75])
    )
    return f"{middle} ({low} to {high})"


def run(*command: str | Path) -> None:
    """Run a program, its results thrown away.

    Raises:
        subprocess.CalledProcessError: it failed; what it said is on stderr.
    """
    subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL, check=True)


def in_a_process(*command: str | Path) -> dict[str, float]:
    """What a Python script prints as JSON."""
    words = [sys.executable, *map(str, command)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def peak_memory() -> float:
    """The largest resident set of this process so far, in megabytes. Linux."""
    # Not getrusage: there a child begins with the peak of the parent that started it.
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def network(arch: str, size: int) -> nn.Module:
    """A network of torchvision with random weights, its running statistics of a batch of noise.

    With those that it begins with, values could vanish in deep networks, and run at another speed.
    """
    import torch
    from torch import nn
    from torchvision.models import get_model

    torch.manual_seed(0)
    model: nn.Module = get_model(arch, weights=None)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(8, 3, size, size))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()


def write_jpegs(folder: Path, count: int, side: int, classes: int = 10) -> None:
    """Pictures of noise over colour gradients, in a folder for each class.

    Each side is between ``side`` and a fifth more.
    """
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in range(classes):
        (folder / f"{name}").mkdir(parents=True)
    for index in range(count):
        height, width = rng.integers(side, side + side // 5, 2)
        down, across = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
        colour, slopes = rng.uniform(50, 200, 3), rng.uniform(-60, 60, (2, 3))
        picture = colour + down[:, None, None] * slopes[0] + across[:, None] * slopes[1]
        picture = picture + rng.normal(0, 10, picture.shape)
        pixels = picture.clip(0, 255).astype(np.uint8)
        file = folder / f"{index % classes}" / f"{index:05}.jpg"
        Image.fromarray(pixels).save(file, quality=90)


def show(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, markdown: bool
) -> None:
    """Print a table, and where and when it was measured."""
    if markdown:
        rules = ["---"] + ["--:"] * (len(columns) - 1)
        for row in (columns, rules, *rows):
            print(f"| {' | '.join(row)} |")
        print(f"\n{title}. {machine()}.")
        return
    table = Table(title=title, caption=machine())
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    # Tables are wide; a file takes more than the 80 columns that are assumed of it.
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def machine() -> str:
    """Processor, cores, memory, versions and the date."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_processor()}, {cores} cores, {memory:.0f} GiB; Python {platform.python_version()}, "
        f"PyTorch {version('torch')}; {datetime.date.today()}"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
