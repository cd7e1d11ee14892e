"""All answers from one pass against a pass for each method and batch size.

    python benchmarks/one_pass.py

Ours is a capture and the analysis of the default methods from it. The other way runs the network
on the shuffled images once for every method: for ``bn@B`` in batches of B, and a hook at every
BatchNorm layer takes the statistics that the layer would have in training mode. A pass gives N/B
batches; over them the error has a standard error, and so has ours, from resampling. Both are of all
layers at once, in eval mode, so that every layer sees the same input as ours does.

What is measured: ours, and one such pass for each batch size above 1. What is extrapolated: passes
for the same Monte-Carlo error, as its square falls with their number, in the median layer. A method
of single images needs one pass, which is exact, and is counted as a forward pass without hooks; so
are the ideal statistics, which every other pass needs first. Batches of a pass are drawn without
replacement, ours with: with few batches in the images, theirs vary a little less for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from measuring import arguments, interleaved, median, network, ratio, show
from numpy.typing import NDArray
from torch import Tensor, nn

import normstats as ns
from normstats.methods import DEFAULT_METHODS, parse_methods
from normstats.population import Population

Array = NDArray[np.float64]


def pictures(count: int, size: int) -> Tensor:
    """Coarse and fine noise, with brightness and contrast of their own: ``(N, 3, H, W)``."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(count, 3, 7, 7, generator=generator)
    images = nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    images += 0.3 * torch.randn(count, 3, size, size, generator=generator)
    brightness, contrast = torch.randn(2, count, 1, 1, 1, generator=generator)
    return brightness / 2 + images * (contrast / 3).exp()


@dataclass
class Passes:
    """The network, run once for every method.

    Attributes:
        model: in eval mode.
        images: all of them.
        found: mean and variance ``(C,)`` of the batches of the last pass, by layer.
    """

    model: nn.Module
    images: Tensor
    found: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)

    def forward(self, batch: int) -> None:
        """All images in whole batches of so many, in a random order."""
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            for some in order[: len(order) // batch * batch].split(batch):
                self.model(self.images[some])

    def watched(self, layers: list[str], batch: int) -> None:
        """The same, and each layer's statistics of every batch."""
        self.found = {name: [] for name in layers}

        def hook(_: nn.Module, inputs: tuple[Tensor], name: str) -> None:
            variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
            self.found[name].append((mean, variance))

        handles = [
            self.model.get_submodule(name).register_forward_pre_hook(partial(hook, name=name))
            for name in layers
        ]
        self.forward(batch)
        for handle in handles:
            handle.remove()

    def standard_errors(self, ideal: Mapping[str, Population]) -> dict[str, float]:
        """Of each layer's error, as the last pass estimates it."""
        errors = {}
        for name, statistics in self.found.items():
            mean, variance = (
                torch.stack(some).double().numpy() for some in zip(*statistics, strict=True)
            )
            layer = ideal[name]
            std = np.sqrt(variance + layer.epsilon)
            squares = ((mean - layer.mean) ** 2 + (std - layer.std) ** 2) / layer.std**2
            of_batches = squares[:, layer.alive].mean(axis=1)
            errors[name] = float(of_batches.std(ddof=1) / np.sqrt(len(of_batches)))
        return errors


def main() -> None:
    """Print the table."""
    parser = arguments(__doc__, repetitions=3)
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--batch-size", type=int, default=16, help="where the method has none")
    options = parser.parse_args()
    methods = parse_methods(DEFAULT_METHODS)
    batches = {str(m): m.batch for m in methods if m.is_batch_norm and m.batch and m.batch > 1}
    if options.images < 2 * max(batches.values()):
        parser.error("A standard error needs two batches of every size: more --images.")

    model, images = network(options.arch, options.size), pictures(options.images, options.size)

    def one_capture() -> tuple[ns.Moments, ns.Study]:
        moments = ns.capture(model, images.split(options.batch_size))
        return moments, ns.analyze(moments, weights="uniform")

    moments, study = one_capture()
    ours = study.errors().pivot(index="layer", columns="method", values="error_standard_error")
    ideal = {name: Population.of(layer) for name, layer in moments.items()}
    passes, theirs = Passes(model, images), {}

    def one_pass(method: str) -> None:
        passes.watched(list(ideal), batches[method])
        theirs[method] = passes.standard_errors(ideal)

    ways: dict[str, Callable[[], object]] = {
        "normstats": one_capture,
        "forward": partial(passes.forward, options.batch_size),
        **{method: partial(one_pass, method) for method in batches},
    }
    taken = interleaved(ways, options.repetitions, warm_up=False)

    rows, once, same = [], np.zeros(options.repetitions), np.zeros(options.repetitions)
    for method in map(str, methods):
        seconds = np.array(taken[method if method in batches else "forward"])
        needed = 1.0
        errors = ["exact", "exact"]
        if method in batches:
            of_pass = np.array([theirs[method][name] for name in ideal])
            of_ours = ours.loc[list(ideal), method].to_numpy()
            needed = max(1.0, float(np.median((of_pass / of_ours) ** 2)))
            errors = [f"{np.median(some):.2g}" for some in (of_pass, of_ours)]
        once += seconds
        same += seconds * needed
        rows.append([method, f"{np.median(seconds):.1f}", *errors, f"{needed:,.0f}"])
    taken |= {"once": list(once), "same": list(same)}
    rows += [
        ["normstats, all", f"{median(taken, 'normstats'):.1f}", "", "", ""],
        ["a pass each, measured", f"{median(taken, 'once'):.1f}", "", "", ""],
        ["the same error, extrapolated", f"{median(taken, 'same'):,.0f}", "", "", ""],
        ["a pass each / normstats", ratio(taken, "once", "normstats"), "", "", ""],
        ["the same error / normstats", ratio(taken, "same", "normstats"), "", "", ""],
    ]
    show(
        f"{options.images} images of {options.size} pixels through {options.arch}; standard errors "
        "are medians over layers",
        ["method", "a pass, s", "its standard error", "ours", "passes for ours"],
        rows,
        markdown=options.markdown,
    )


if __name__ == "__main__":
    main()
