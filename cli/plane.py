"""``normstats plane``: the best batch and group size for the batch at hand."""

from __future__ import annotations

from typing import Annotated

import typer

from normstats_cli import options
from normstats_cli.runs import extend


def plane(
    run: options.Run,
    batch: Annotated[
        int, typer.Option(metavar="B", help="The batch you have; smaller ones may be pooled too.")
    ] = 4,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Find the best cell of the (images, channels) plane for your batch, layer by layer.

    Every cell's error and residual go to plane.csv in the run's folder.

    Examples:

      normstats plane runs/resnet50 --batch 4
    """
    options.at_least(1, batch, "--batch")

    from normstats_reports.parts import print_plane

    extend(
        run,
        "Filling the plane",
        lambda study, tell: study.plane(progress=tell),
        lambda console, study: print_plane(console, study, batch),
        json=json,
        quiet=quiet,
    )
