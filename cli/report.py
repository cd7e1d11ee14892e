"""``normstats report``: a run as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from normstats_cli import options
from normstats_cli.console import note, working


def report(
    run: options.Run,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="The page to write; report.html in the run by default."
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Write a run as one HTML page: findings, tables, figures and the results themselves.

    Examples:

      normstats report runs/resnet50

      normstats report runs/resnet50 --out resnet50.html
    """
    from normstats.study import open_study
    from normstats_reports.page import FILE, write_page

    study = open_study(run)
    with working("Drawing the page", quiet=quiet):
        page = write_page(study, run / FILE if out is None else out)
    size = page.stat().st_size / 1e6
    note(f"Written to {page} ({size:.1f} MB); open it in a browser.", quiet=quiet)
