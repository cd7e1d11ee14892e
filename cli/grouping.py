"""``normstats grouping``: are index groups better than random ones, and would others be better?"""

from __future__ import annotations

from typing import Annotated

import typer

from normstats_cli import options
from normstats_cli.runs import extend


def grouping(
    run: options.Run,
    groups: Annotated[
        str | None,
        typer.Option(
            metavar="G,G",
            show_default="the GroupNorm of the run",
            help="Numbers of groups to look at.",
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Audit GroupNorm's groups: by index, at random, by similarity, and the best found.

    The best order of each layer's channels goes to orders.csv in the run's folder.

    Examples:

      normstats grouping runs/resnet50

      normstats grouping runs/resnet20 --groups 4,8
    """
    chosen = options.whole_numbers(groups, "--groups")

    from normstats_reports.parts import print_grouping

    extend(
        run,
        "Trying groups",
        lambda study, tell: study.grouping(chosen, progress=tell),
        print_grouping,
        json=json,
        quiet=quiet,
    )
