"""The page of a comparison: several runs as one HTML file that asks nothing of anyone.

The same runs give the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from normstats.comparison import Comparison
from normstats.printable import printable
from normstats_reports import comparison_figures, comparison_tables
from normstats_reports.comparison_help import HELP
from normstats_reports.page_frame import check_place, fill, write
from normstats_reports.page_provenance import provenance
from normstats_reports.page_results import COMPARISON
from normstats_reports.terminal import LIMITS

FILE = "comparison.html"
_KINDS = {
    "checkpoints": "checkpoints of one training",
    "models": "different models",
    "image sets": "image sets of one model",
    "repeats": "runs of one checkpoint on the same images",
}
_NOTHING_MOVED = {
    "models": (
        "Nothing can be said: the layers of the models do not correspond channel by channel. Side "
        "by side below compares them by relative depth."
    ),
    "repeats": "Nothing can have moved: checkpoint and images are the same in every run.",
}
_NO_OVERLAP = "Nothing can be said: no layer is in every run with the same number of channels."
_NO_SHIFT = (
    "This needs runs of the same checkpoint on other images, with their moments (run folders, not "
    "pages). Here the first run's statistics would be those of other weights."
)
_NO_MOMENTS = (
    "This needs the captured moments of the runs, which pages do not have: give the run folders."
)


def render(comparison: Comparison) -> str:
    """The page."""
    kind = comparison.kind
    has_drift = kind != "repeats" and len(comparison.tables["drift"]) > 0
    has_shift = len(comparison.tables["shift"]) > 0
    return fill(
        "comparison.html.j2",
        comparison.findings,
        generator=Markup(COMPARISON),
        title=f"{len(comparison.names)} runs compared",
        subtitle=f"{_KINDS[kind].capitalize()}: {', '.join(map(printable, comparison.names))}",
        help=HELP,
        limits=LIMITS,
        kind=_KINDS[kind],
        reason=comparison.relation.reason,
        notes=comparison.notes,
        runs=comparison_tables.runs(comparison),
        moved=comparison_tables.moved(comparison) if has_drift else None,
        moved_figures=list(comparison_figures.moved(comparison)) if has_drift else [],
        why_not_moved=_NOTHING_MOVED.get(kind, _NO_OVERLAP),
        shift=comparison_tables.shift(comparison) if has_shift else None,
        shift_figures=list(comparison_figures.shift(comparison)) if has_shift else [],
        why_no_shift=_NO_MOMENTS if kind == "image sets" else _NO_SHIFT,
        sides=comparison_tables.sides(comparison),
        side_figures=list(comparison_figures.sides(comparison)),
        provenance=[
            (printable(name), provenance(study)) for name, study in comparison.studies.items()
        ],
        code=comparison_figures.opening(comparison) + _TABLES,
    )


_TABLES = """comparison.drift()     # a row a layer and pair of runs
comparison.channels()  # a row a channel
comparison.shift()
comparison.sides()
comparison.errors()    # of all runs, with their relative depth
"""


def write_comparison(comparison: Comparison, file: str | Path) -> Path:
    """Write the page into a file; an earlier one is replaced whole or not at all.

    Raises:
        RunFolderError: something else is there, or the disk refuses.
    """
    file = Path(file)
    check_place(file)
    return write(render(comparison), file)
