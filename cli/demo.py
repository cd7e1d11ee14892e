"""``normstats demo``: the embedded network, with nothing to bring."""

from __future__ import annotations

from dataclasses import replace

from normstats.methods import parse_methods
from normstats_cli import options
from normstats_cli.console import note, progress
from normstats_cli.runs import check_folder, choose_folder, finish, made_with

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
    check_folder(out, force=force)

    from normstats.capturing import capture
    from normstats.demo import WEIGHTS, demo_images, demo_model
    from normstats.inputs import Images, Preprocessing, read_checkpoint
    from normstats_cli.inputs import DEMO

    digits = demo_images().dataset
    as_they_are = Preprocessing(mean=(0.0,), std=(1.0,))
    images = Images(digits, range(len(digits)), as_they_are, channels=1)
    note(
        "A residual network with 13 BatchNorm layers, trained on scikit-learn's digits.",
        quiet=quiet,
    )
    with progress("Capturing", len(images), quiet=quiet) as tell:
        batches = images.batches(batch_size=256)
        moments = capture(demo_model(), batches, classes=images.classes, progress=tell)
    source = {
        "checkpoint": {"path": WEIGHTS.name, "sha256": read_checkpoint(WEIGHTS).sha256},
        "images_from": {"path": "sklearn.datasets.load_digits", "sha256": images.fingerprint},
        "inputs": DEMO,
        "device": "cpu",
    }
    finish(
        replace(moments, provenance={**source, **made_with()}),
        methods=parse_methods(METHODS),
        weights="gamma",
        seed=0,
        folder=choose_folder(out, "demo"),
        force=force,
        json=json,
        quiet=quiet,
        full=True,
    )
