"""What capturing adds to a forward pass, and what other tools add.

    python benchmarks/capture.py
    python benchmarks/capture.py --arch mobilenet_v2 --layout channels_last

Every tool is given the same batches and the same network of random weights, in eval mode, weights
and images in the same layout. A call takes a few batches, as what a tool does once a call is
shared by more in use: normstats calls for 128 images. What they do with the input of every
BatchNorm layer:

- normstats: mean and variance of each image and channel (``Capturer.moments``)
- fvcore: mean and variance of each channel over the batch (``update_bn_stats``)
- timm: two numbers a layer (``ActivationStatsHook``; of the outputs, as it does)
- a plain hook: ``torch.var_mean`` of each image and channel
- torchlens: keeps the outputs of the layers (``record``), and computes nothing
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from copy import deepcopy
from importlib.util import find_spec

import torch
from fvcore.nn.precise_bn import update_bn_stats
from measuring import arguments, interleaved, median, network, ratio, show
from timm.utils.model import ActivationStatsHook, avg_ch_var, avg_sq_ch_mean
from torch import Tensor, nn

from normstats.capturing import Capturer
from normstats.capturing.layout import FORMATS

ARCHITECTURES = ("resnet50", "mobilenet_v2", "densenet121")
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

Way = Callable[[], object]


def norms_of(model: nn.Module) -> dict[str, nn.Module]:
    """The BatchNorm layers by name."""
    return {n: module for n, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}


def bare(model: nn.Module, batches: list[Tensor]) -> Way:
    """The forward passes."""

    def way() -> None:
        with torch.no_grad():
            for images in batches:
                model(images)

    return way


def normstats(model: nn.Module, batches: list[Tensor]) -> Way:
    """This project."""
    capturer = Capturer(model)
    return lambda: capturer.moments(batches)


def fvcore(model: nn.Module, batches: list[Tensor]) -> Way:
    """Its layers must be in training mode."""
    for norm in norms_of(model).values():
        norm.train()
    return lambda: update_bn_stats(model, batches, num_iters=len(batches))


def timm(model: nn.Module, batches: list[Tensor]) -> Way:
    """Its hooks stay for good."""
    names = list(norms_of(model))
    hooks = [avg_sq_ch_mean] * len(names) + [avg_ch_var] * len(names)
    ActivationStatsHook(model, names * 2, hooks)
    return bare(model, batches)


def plain_hook(model: nn.Module, batches: list[Tensor]) -> Way:
    """What one would write."""
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, norm in norms_of(model).items():

        def hook(_: nn.Module, inputs: tuple[Tensor], name: str = name) -> None:
            found[name] = torch.var_mean(inputs[0], dim=(2, 3), correction=0)

        norm.register_forward_pre_hook(hook)
    return bare(model, batches)


def torchlens(model: nn.Module, batches: list[Tensor]) -> Way:
    """Keeps the outputs of the layers."""
    import torchlens

    layers = torchlens.func("batchnorm")

    def way() -> None:
        with torch.no_grad():
            for images in batches:
                torchlens.record(model, images, save=layers)

    return way


TOOLS = {
    "forward": bare,
    "normstats": normstats,
    "fvcore": fvcore,
    "timm": timm,
    "plain hook": plain_hook,
    "torchlens": torchlens,
}


def row(arch: str, layout: str, tools: list[str], options: Namespace) -> list[str]:
    """A row of the table: milliseconds of the forward pass, and each tool's ratio to it."""
    size, count = options.size, options.batches
    model = network(arch, size).to(memory_format=LAYOUTS[layout])
    images = torch.randn(options.batch_size, 3, size, size).to(memory_format=LAYOUTS[layout])
    # A copy for each, so that no one's hooks and modes are another's.
    ways = {tool: TOOLS[tool](deepcopy(model), [images] * count) for tool in tools}
    taken = interleaved(ways, options.repetitions)
    ratios = [ratio(taken, tool, "forward") for tool in tools[1:]]
    return [arch, layout, f"{median(taken, 'forward') / count * 1e3:,.0f}", *ratios]


def main() -> None:
    """Print the table."""
    parser = arguments(__doc__, repetitions=5)
    parser.add_argument("--arch", nargs="+", default=ARCHITECTURES)
    parser.add_argument("--layout", nargs="+", default=FORMATS, choices=FORMATS)
    parser.add_argument("--tools", nargs="+", default=list(TOOLS)[1:], choices=list(TOOLS)[1:])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--batches", type=int, default=4, help="of a call")
    options = parser.parse_args()
    tools = [tool for tool in options.tools if tool != "torchlens" or find_spec(tool)]
    show(
        f"Time of a forward pass with a tool over that without, batches of {options.batch_size} "
        f"images of {options.size} pixels",
        ["network", "layout", "forward, ms", *tools],
        [
            row(arch, layout, ["forward", *tools], options)
            for arch in options.arch
            for layout in options.layout
        ],
        markdown=options.markdown,
    )


if __name__ == "__main__":
    main()
