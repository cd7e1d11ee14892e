"""``normstats report``: a run as one page, or several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from normstats_cli import options
from normstats_cli.console import note, progress, working


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            show_default=False,
            help="A folder that analyze wrote; several, or the pages of some, are compared. The "
            "first is the reference.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="The page to write; by default report.html in the run, or comparison.html here.",
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Write a run as one HTML page, or set several side by side on one.

    A run's page has findings, tables, figures and the results themselves. Several runs are
    checkpoints of one training (what moved), image sets of one model (what re-estimating the
    statistics would gain) or different models; where they come from tells which.

    Examples:

      normstats report runs/resnet50

      normstats report runs/resnet50 --out resnet50.html

      normstats report runs/epoch-1 runs/epoch-10 runs/epoch-90 --out epochs.html

      normstats report runs/photos runs/photos-at-night
    """
    page = _page(runs[0], out, quiet) if len(runs) == 1 else _comparison(runs, out, quiet)
    size = page.stat().st_size / 1e6
    note(f"Written to {page} ({size:.1f} MB); open it in a browser.", quiet=quiet)


def _page(run: Path, out: Path | None, quiet: bool) -> Path:
    from normstats.study import open_study
    from normstats_reports.page import FILE, write_page

    study = open_study(run)
    with working("Drawing the page", quiet=quiet):
        return write_page(study, run / FILE if out is None else out)


def _comparison(runs: list[Path], out: Path | None, quiet: bool) -> Path:
    from normstats.comparison import compare
    from normstats_reports.comparison_page import FILE, write_comparison
    from normstats_reports.page_frame import check_place

    file = Path(FILE) if out is None else out
    check_place(file)
    with progress("Comparing", len(runs), quiet=quiet) as tell:
        comparison = compare(runs, progress=tell)
    with working("Drawing the page", quiet=quiet):
        return write_comparison(comparison, file)
