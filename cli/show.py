"""``normstats show``: a run's tables in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from normstats_cli import options
from normstats_cli.console import results


def show(
    run: Annotated[
        Path,
        typer.Argument(show_default=False, help="A folder that analyze wrote, or the page of one."),
    ],
    layer: Annotated[
        str | None, typer.Option(metavar="GLOB", help="Every number of these layers.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Print a run's summary again, or every number of some layers.

    Examples:

      normstats show runs/resnet50

      normstats show runs/resnet50 --layer 'layer4.*'

      normstats show report.html
    """
    from normstats.study import open_study
    from normstats_reports import terminal

    if run.is_file():
        from normstats_reports.page import read_page

        study = read_page(run)
    else:
        study = open_study(run)
    if json:
        terminal.print_json(results(), study)
    elif layer is None:
        terminal.print_summary(results(), study)
    else:
        terminal.print_layers(results(), study, layer)
