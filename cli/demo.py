"""``normstats demo``: the embedded network, with nothing to bring."""

from __future__ import annotations

from normstats.methods import parse_methods
from normstats_cli import options
from normstats_cli.console import note, progress
from normstats_cli.inputs import DEMO
from normstats_cli.runs import choose_folder, finish

METHODS = "bn@1,bn@2,bn@4,bn@8,bn@16,bn@32,bn@64,in,gn:16,gn:8,gn:4,gn:2,ln,running"


def demo(
    out: options.Out = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    force: options.Force = False,
) -> None:
    """Analyze the embedded network: a small ResNet on 1,797 handwritten digits.

    It needs scikit-learn for the digits: pip install 'normstats\\[demo]'.
    """
    folder = choose_folder(out, "demo", force=force)

    from normstats.capturing import capture
    from normstats.demo import WEIGHTS, demo_images, demo_model
    from normstats.inputs import read_checkpoint

    images = demo_images()
    note(
        "A residual network with 13 BatchNorm layers, trained on scikit-learn's digits.",
        quiet=quiet,
    )
    with progress("Capturing", len(images.dataset), quiet=quiet) as tell:
        moments = capture(demo_model(), images, classes=images.dataset.classes, progress=tell)
    source = {
        "checkpoint": {"path": WEIGHTS.name, "sha256": read_checkpoint(WEIGHTS).sha256},
        "images_from": {"path": "sklearn.datasets.load_digits"},
        "inputs": DEMO,
        "device": "cpu",
    }
    finish(
        moments,
        source,
        methods=parse_methods(METHODS),
        weights="gamma",
        seed=0,
        folder=folder,
        force=force,
        json=json,
        quiet=quiet,
        full=True,
    )
