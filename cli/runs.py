"""What ``analyze`` and ``demo`` share: a folder for the run, and the way from moments to it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
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


def check_folder(out: Path | None, *, force: bool) -> None:
    """Refuse a folder that must not be written to, before any work is done.

    Raises:
        RunFolderError: it must not.
    """
    from normstats import run_folder

    if out is not None:
        run_folder.check(out, force=force)


def choose_folder(out: Path | None, source: str, identity: Mapping[str, Any] | None = None) -> Path:
    """The folder to write: as asked, or one in ``runs``, named after its source.

    That is a fresh one, or one in which a capture of this identity was begun and not finished.
    """
    from normstats import run_folder

    if out is not None:
        return out
    name = re.sub(r"[^\w.+-]+", "-", Path(source).stem) or "run"
    for number in count(1):
        folder = _RUNS / (name if number == 1 else f"{name}-{number}")
        if not folder.exists():
            break
        begun = run_folder.unfinished(folder)
        if begun and identity is not None and not begun.differences(identity):
            break
    return folder


def finish(
    moments: Moments,
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
    from normstats_reports.page import save_with_page

    return save_with_page(study, folder, force=force)


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


def made_with() -> dict[str, Any]:
    """The command and the versions behind a run."""
    import platform

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
