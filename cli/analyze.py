"""``normstats analyze``: from a checkpoint and images to a run folder and a summary."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from normstats.errors import NormstatsError
from normstats.methods import DEFAULT_METHODS
from normstats_cli import options
from normstats_cli.console import note, working
from normstats_cli.runs import check_folder, choose_folder, finish

_IMAGES = "The images"


class MemoryFormats(str, Enum):
    """The layout of convolutions' weights, and with them of their maps."""

    auto = "auto"
    contiguous = "contiguous"
    channels_last = "channels_last"


def analyze(
    checkpoint: options.Checkpoint,
    images: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            show_default=False,
            rich_help_panel=_IMAGES,
            help="A folder (by class or flat), a .tar, an .npy, .npz or .safetensors array, "
            "cifar10:FOLDER and other torchvision datasets, or hf:NAME[:SPLIT].",
        ),
    ],
    arch: options.Arch = None,
    dtype: options.Dtype = options.Dtypes.float32,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            rich_help_panel=_IMAGES,
            help="A random sample of N, with every class in its share.",
        ),
    ] = None,
    resize: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            rich_help_panel=_IMAGES,
            help="Scale the shorter side to N pixels; 0: as it is. The zoo's own by default.",
        ),
    ] = None,
    crop: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            rich_help_panel=_IMAGES,
            help="Then cut out the middle N x N pixels; 0: all. The zoo's own by default.",
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B", rich_help_panel=_IMAGES, help="Subtracted; the zoo's or ImageNet's."
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B", rich_help_panel=_IMAGES, help="Divided by; the zoo's or ImageNet's."
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="nchw|nhwc",
            rich_help_panel=_IMAGES,
            help="Of an array whose shape does not tell.",
        ),
    ] = None,
    allow_bad: Annotated[
        bool,
        typer.Option(
            "--allow-bad",
            rich_help_panel=_IMAGES,
            help="Go on where more than 5 % of the images cannot be read.",
        ),
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            rich_help_panel=_IMAGES,
            help="Images a forward pass, up to 128; what is fastest by default. It changes no "
            "result but in the last digits.",
        ),
    ] = None,
    memory_format: Annotated[
        MemoryFormats,
        typer.Option(
            rich_help_panel=_IMAGES,
            help="Layout of the convolutions in memory; auto: what is fastest. It changes no "
            "result but in the last digits.",
        ),
    ] = MemoryFormats.auto,
    amp: Annotated[
        bool,
        typer.Option(
            "--amp",
            rich_help_panel=_IMAGES,
            help="Run in mixed precision: faster on a GPU, less exact.",
        ),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            metavar="N",
            rich_help_panel=_IMAGES,
            help="Processes that decode images; changes no result.",
        ),
    ] = 2,
    methods: options.Methods = DEFAULT_METHODS,
    layers: options.Layers = None,
    weights: options.Weighting = options.Weights.gamma,
    seed: options.Seed = 0,
    full: options.Full = False,
    channel_dim: options.ChannelDim = None,
    keep: options.Keep = options.Keeps.layers,
    device: Annotated[
        str,
        typer.Option(
            metavar="D", rich_help_panel=options.ANALYSIS, help="auto, cpu, cuda, cuda:1 or mps."
        ),
    ] = "auto",
    out: options.Out = None,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure how far each method's statistics are from the ideal ones, layer by layer.

    Examples:

      normstats analyze resnet50.pth --images photos

      normstats analyze resnet50 --images photos --limit 2000

      normstats analyze net.safetensors --arch models.py:net --images photos --methods bn@4,gn:32,ln
    """
    chosen = options.methods(methods)
    sums_only = keep is options.Keeps.none
    if sums_only:
        options.answered_by_sums(chosen, full=full)
    if batch_size is not None:
        options.at_least(1, batch_size, "--batch-size")
    options.at_least(0, workers, "--workers")
    means, stds = options.numbers(mean, "--mean"), options.numbers(std, "--std")
    check_folder(out, force=force)

    from normstats.capture_folder import locked
    from normstats.capturing import resolve_device
    from normstats.capturing.devices import placed
    from normstats.run_folder import UNFINISHED
    from normstats_cli.capturing import Capturing
    from normstats_cli.inputs import Inputs
    from normstats_cli.ranks import Ranks

    ranks = Ranks.from_environment()
    quiet = quiet or not ranks.leads
    target = resolve_device(ranks.device(device))
    inputs = Inputs(
        checkpoint=checkpoint,
        arch=arch,
        dtype=dtype.value,
        images=images,
        limit=limit,
        seed=seed,
        resize=resize,
        crop=crop,
        mean=means,
        std=stds,
        layout=layout,
        allow_bad=allow_bad,
        channel_dim=channel_dim,
    )
    with working("Loading the network", quiet=quiet):
        loaded = inputs.load()
    for text in loaded.notes:
        note(text, quiet=quiet)
    pictures = inputs.open_images(loaded)
    for text in pictures.notes:
        note(text, quiet=quiet)
    capturing = Capturing(
        inputs=inputs,
        loaded=loaded,
        pictures=pictures,
        layers=layers,
        amp=amp,
        device=target,
        memory_format=None if memory_format is MemoryFormats.auto else memory_format.value,
        batch_size=batch_size,
        workers=workers,
        summed=chosen if sums_only else None,
        ranks=ranks,
        quiet=quiet,
    )
    with ranks.together(), placed(loaded.model, target):
        if not ranks.leads:
            ranks.wait()  # for the first one to begin
            capturing.follow(choose_folder(out, checkpoint, capturing.identity))
            return
        folder = choose_folder(out, checkpoint, capturing.identity)
        with locked(folder, folder / UNFINISHED):
            moments = capturing.lead(folder, force=force)
            try:
                finish(
                    moments,
                    methods=chosen,
                    weights=weights.value,
                    seed=seed,
                    folder=folder,
                    force=force,
                    json=json,
                    quiet=quiet,
                    full=full,
                )
            except NormstatsError as error:
                stays = f"What was captured stays in {folder}: the next try need not do it again."
                raise type(error)(error.message, f"{error.hint} {stays}") from error
