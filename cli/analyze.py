"""``normstats analyze``: from a checkpoint and images to a run folder and a summary."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from normstats.printable import first_few
from normstats_cli import options
from normstats_cli.console import note, progress
from normstats_cli.runs import choose_folder, finish

if TYPE_CHECKING:
    from normstats.inputs import ImageFolder

from normstats.methods import DEFAULT_METHODS, parse_methods


def analyze(
    checkpoint: options.Checkpoint,
    images: Annotated[
        Path,
        typer.Option(
            show_default=False, help="A folder of images, in subfolders by class or flat."
        ),
    ],
    arch: options.Arch = None,
    out: options.Out = None,
    methods: Annotated[
        str,
        typer.Option(help="bn@B, in, ln, gn:G, gn:Nch, bgn@B:G and running, with commas between."),
    ] = DEFAULT_METHODS,
    layers: options.Layers = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="A random sample of N of the images.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(metavar="N", help="Images a forward pass; changes no result.")
    ] = 64,
    workers: Annotated[
        int, typer.Option(metavar="N", help="Processes that decode images; change no result.")
    ] = 2,
    device: Annotated[
        str, typer.Option(metavar="D", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    weights: options.WeightsOption = options.Weights.gamma,
    seed: Annotated[int, typer.Option(metavar="S", help="Of the sample and the resampling.")] = 0,
    resize: Annotated[
        int | None, typer.Option(metavar="N", help="Scale the shorter side to N pixels.")
    ] = None,
    crop: Annotated[
        int | None, typer.Option(metavar="N", help="Then cut out the middle N x N pixels.")
    ] = None,
    mean: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="Subtracted; ImageNet's by default.")
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="Divided by; ImageNet's by default.")
    ] = None,
    channel_dim: options.ChannelDim = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    force: options.Force = False,
) -> None:
    """Measure how far each method's statistics are from the ideal ones, layer by layer.

    Examples:

      normstats analyze resnet50.pth --arch resnet50 --images photos --resize 256 --crop 224

      normstats analyze net.safetensors --arch models.py:net --images photos --methods bn@4,gn:32,ln
    """
    chosen = parse_methods(methods)
    options.at_least(1, batch_size, "--batch-size")
    options.at_least(0, workers, "--workers")
    folder = choose_folder(out, Path(checkpoint).stem, force=force)

    from normstats.capturing import capture, resolve_device
    from normstats.inputs import Preprocessing, input_channels, load, open_images

    usual = Preprocessing()
    preprocessing = Preprocessing(
        resize=resize,
        crop=crop,
        mean=options.numbers(mean, "--mean") or usual.mean,
        std=options.numbers(std, "--std") or usual.std,
    )
    target = resolve_device(device)
    loaded = load(checkpoint, arch)
    pictures = open_images(
        images,
        preprocessing=preprocessing,
        limit=limit,
        seed=seed,
        input_channels=input_channels(loaded.model),
    )
    for text in loaded.notes:
        note(text, quiet=quiet)
    with progress("Capturing", len(pictures), quiet=quiet) as tell:
        moments = capture(
            loaded.model,
            pictures.batches(batch_size, workers),
            layers=layers,
            device=target,
            channel_dim=channel_dim,
            classes=pictures.classes,
            progress=tell,
        )
    if pictures.skipped:
        note(_skipped(pictures), quiet=quiet)
    source = {
        "checkpoint": {"path": str(checkpoint), "sha256": loaded.sha256, "arch": loaded.arch},
        "images_from": {
            "path": str(images),
            "sha256": pictures.fingerprint,
            "skipped": dict(pictures.skipped),
            "preprocessing": asdict(pictures.preprocessing),
        },
        "device": str(target),
    }
    finish(
        moments,
        source,
        methods=chosen,
        weights=weights.value,
        seed=seed,
        folder=folder,
        force=force,
        json=json,
        quiet=quiet,
    )


def _skipped(images: ImageFolder) -> str:
    """The images that could not be read: how many, and the first few with the reason."""
    names = first_few((f"{name} ({reason})" for name, reason in images.skipped), 3)
    return f"{len(images.skipped)} of {len(images)} images could not be read; skipped: {names}."
