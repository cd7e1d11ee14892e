"""``normstats composition``: what classes have to do with the noise of a batch."""

from __future__ import annotations

from typing import Annotated

import typer

from normstats_cli import options
from normstats_cli.runs import extend


def composition(
    run: options.Run,
    batches: Annotated[
        str | None,
        typer.Option(metavar="B,B", show_default="2,8,32", help="Batch sizes to look at."),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare batches of one class, of all classes alike, and of images drawn at random.

    It needs images in class folders, or with labels.

    Examples:

      normstats composition runs/resnet50 --batches 4,16
    """
    chosen = options.whole_numbers(batches, "--batches")

    from normstats_reports.parts import print_composition

    extend(
        run,
        "Composing batches",
        lambda study, tell: study.composition(chosen, progress=tell),
        print_composition,
        json=json,
        quiet=quiet,
    )
