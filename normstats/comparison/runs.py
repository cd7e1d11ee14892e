"""The runs of a comparison: opened, and named by their folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from normstats.errors import SettingError
from normstats.printable import printable
from normstats.study import Study, open_study

Run = Study | str | Path


def named(runs: Mapping[str, Run] | Sequence[Run]) -> dict[str, Run]:
    """Each run under a name of its own: the end of its path that is unlike the others'.

    Raises:
        SettingError: a run is given twice.
    """
    if isinstance(runs, Mapping):
        return dict(runs)
    paths = [None if isinstance(run, Study) else _folder(Path(run)) for run in runs]
    known = [path for path in paths if path is not None]
    real = [path.resolve() for path in known]
    twice = next((path for path in known if real.count(path.resolve()) > 1), None)
    if twice is not None:
        raise SettingError(
            f"{printable(twice)} is given twice.", "Give each run once; the first is the reference."
        )
    names = [
        f"run {place}" if path is None else _name(path, known)
        for place, path in enumerate(paths, start=1)
    ]
    return dict(zip(names, runs, strict=True))


def opened(run: Run) -> Study:
    """A study as it is, a run folder, or the study inside a page.

    Raises:
        RunFolderError: it is neither.
    """
    if isinstance(run, Study):
        return run
    path = Path(run)
    if path.is_file():
        from normstats_reports.page import read_page  # what reads a page is built on studies

        return read_page(path)
    return open_study(path)


def _folder(path: Path) -> Path:
    """The run's folder, of its page as well; any other page is its own."""
    absolute = path.absolute()
    return absolute.parent if absolute.name == "report.html" else absolute


def _name(path: Path, others: Sequence[Path]) -> str:
    parts = path.parts
    for length in range(1, len(parts) + 1):
        end = parts[-length:]
        if sum(other.parts[-length:] == end for other in others) == 1:
            break
    return "/".join(end).removesuffix(".html")
