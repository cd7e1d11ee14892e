"""What ``analyze`` and ``demo`` share: a folder for the run, and the way from moments to it."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normstats._version import __version__
from normstats.errors import NormstatsError
from normstats.methods import Method
from normstats_cli.console import note, progress, results, working

if TYPE_CHECKING:
    from rich.console import Console

    from normstats.layerwise import Progress
    from normstats.moments import Moments
    from normstats.population import Weighting
    from normstats.study import Study

_RUNS = Path("runs")


def choose_folder(out: Path | None, source: str, *, force: bool) -> Path:
    """The folder to write: as asked, or a fresh one in ``runs``, named after its source.

    Raises:
        RunFolderError: the folder asked for must not be written to.
    """
    from normstats import run_folder

    if out is None:
        name = re.sub(r"[^\w.+-]+", "-", Path(source).stem) or "run"
        names = (name if number == 1 else f"{name}-{number}" for number in count(1))
        return next(_RUNS / free for free in names if not (_RUNS / free).exists())
    run_folder.check(out, force=force)
    return out


def finish(
    moments: Moments,
    source: Mapping[str, Any],
    *,
    methods: Sequence[Method],
    weights: Weighting,
    seed: int,
    folder: Path,
    force: bool,
    json: bool,
    quiet: bool,
    full: bool = False,
) -> None:
    """Analyze the moments, write the run, print the summary."""
    from normstats.study import analyze
    from normstats_reports.terminal import print_json, print_summary

    moments = replace(moments, provenance={**source, **_made_with()})
    with progress("Analyzing", len(moments), quiet=quiet) as tell:
        study = analyze(moments, methods, weights=weights, seed=seed, progress=tell)
    if full:
        for part in study.askable():
            with progress(f"Asking about {part}", len(moments), quiet=quiet) as tell:
                try:
                    study.ask(part, progress=tell)
                except NormstatsError as error:  # the rest of the run is none the worse for it
                    note(f"No {part}: {error.message}", quiet=quiet)
    with working("Drawing the page", quiet=quiet):
        page = keep(study, folder, force=force)
    if json:
        print_json(results(), study)
    else:
        print_summary(results(), study)
    note(f"Written to {folder}; the page is {page}", quiet=quiet)


def keep(study: Study, folder: Path, *, force: bool = True) -> Path:
    """Write a study into its run folder, and its page beside it."""
    from normstats_reports.page import write_report

    study.save(folder, force=force)
    return write_report(study, folder)


def extend(
    run: Path,
    what: str,
    answer: Callable[[Study, Progress], object],
    show: Callable[[Console, Study], None],
    *,
    json: bool,
    quiet: bool,
) -> None:
    """Ask a run a further question, keep the answer in its folder, print it.

    Args:
        run: a run folder.
        what: for the progress bar.
        answer: asks the study, telling its progress.
        show: prints the answer.
        json: print the run's JSON instead.
        quiet: no progress and no notes.
    """
    from normstats.study import open_study
    from normstats_reports.terminal import print_json

    study = open_study(run)
    with progress(what, len(study.layers()), quiet=quiet) as tell:
        answer(study, tell)
    keep(study, run)
    if json:
        print_json(results(), study)
    else:
        show(results(), study)
    note(f"Kept in {run}.", quiet=quiet)


def _made_with() -> dict[str, Any]:
    """The command and the versions behind a run."""
    import numpy
    import torch

    return {
        "command": ["normstats", *sys.argv[1:]],
        "versions": {
            "normstats": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
        },
    }
