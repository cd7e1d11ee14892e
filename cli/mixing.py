"""``normstats mixing``: BatchNorm's statistics mixed with stored or GroupNorm's."""

from __future__ import annotations

from typing import Annotated

import typer

from normstats_cli import options
from normstats_cli.runs import extend


def mixing(
    run: options.Run,
    others: Annotated[
        str | None,
        typer.Option(
            "--with",
            metavar="METHODS",
            show_default="running, gn:G of the run",
            help="What to mix in.",
        ),
    ] = None,
    batches: Annotated[
        str | None,
        typer.Option(metavar="B,B", show_default="2,8,32", help="BatchNorm's batch sizes."),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Find the best convex mix of BatchNorm's statistics with another method's.

    Examples:

      normstats mixing runs/resnet50 --with running --batches 4
    """
    chosen = options.whole_numbers(batches, "--batches")

    from normstats_reports.parts import print_mixing

    extend(
        run,
        "Mixing",
        lambda study, tell: study.mixing(others, chosen, progress=tell),
        print_mixing,
        json=json,
        quiet=quiet,
    )
