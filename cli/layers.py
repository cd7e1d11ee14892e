"""``normstats layers``: what would be captured, before running anything."""

from __future__ import annotations

from typing import Annotated

import typer

from normstats_cli import options
from normstats_cli.console import note, results, working


def layers(
    checkpoint: options.Checkpoint,
    arch: options.Arch = None,
    layers: options.Layers = None,
    size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            rich_help_panel="The network",
            show_default="what the network says, or the first usual size that it takes",
            help="Height and width of the trial input.",
        ),
    ] = None,
    channel_dim: options.ChannelDim = None,
    quiet: options.Quiet = False,
) -> None:
    """List every normalization layer: type, input shape, and whether it would be captured.

    Examples:

      normstats layers resnet50.pth

      normstats layers net.safetensors --arch models.py:net --size 64
    """
    if size is not None:
        options.at_least(1, size, "--size")

    from normstats.capturing import describe_layers, example_input
    from normstats.inputs import load
    from normstats_reports.terminal import print_descriptions

    with working("Loading the network", quiet=quiet):
        loaded = load(checkpoint, arch)
    for text in loaded.notes:
        note(text, quiet=quiet)
    with working("Trying the network", quiet=quiet):
        example = example_input(loaded.model, size)
        found = describe_layers(loaded.model, example, layers=layers, channel_dim=channel_dim)
    print_descriptions(results(), found)
