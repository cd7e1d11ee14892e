"""The page: a whole study as one HTML file that needs nothing else and asks nothing of anyone.

The same study gives the same bytes: no dates, no random names.
"""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from normstats.printable import printable
from normstats.study import Study
from normstats_reports import page_parts, page_results, page_tables
from normstats_reports.page_figures_layers import chosen_layers, of_layers
from normstats_reports.page_figures_overall import overall
from normstats_reports.page_frame import check_place, fill, write
from normstats_reports.page_help import HELP
from normstats_reports.page_provenance import provenance
from normstats_reports.terminal import LIMITS

FILE = "report.html"


def render(study: Study) -> str:
    """The page.

    Args:
        study: its parts so far are shown; none is computed for the page.
    """
    columns, rows = page_tables.summary(study)
    return fill(
        "page.html.j2",
        study.findings,
        title=_title(study),
        subtitle=_subtitle(study),
        help=HELP,
        columns=columns,
        rows=rows,
        figures=list(overall(study)),
        parts=list(page_parts.sections(study)),
        unasked=page_parts.unasked(study),
        which_layers=chosen_layers(study)[1],
        term_titles=page_tables.term_titles(),
        layers=page_tables.details(study),
        layer_figures=of_layers(study),
        provenance=provenance(study),
        notes=study.notes,
        limits=LIMITS,
        results=Markup(page_results.pack(study)),
    )


def write_page(study: Study, file: str | Path) -> Path:
    """Write the page into a file; an earlier one is replaced whole or not at all.

    Raises:
        RunFolderError: something else is there, or the disk refuses.
    """
    file = Path(file)
    check_place(file)
    return write(render(study), file)


def write_report(study: Study, folder: str | Path) -> Path:
    """Write the page of a run into its folder, as ``report.html``.

    Raises:
        RunFolderError: the disk refuses.
    """
    return write_page(study, Path(folder) / FILE)


def save_with_page(study: Study, folder: Path, *, force: bool) -> Path:
    """Write a study into its run folder with its page, all or nothing.

    Raises:
        RunFolderError: the folder may not be written to, or the disk refuses.
    """
    check_place(folder / FILE)
    study.save(folder, force=force, pages={FILE: render(study)})
    return folder / FILE


def read_page(path: str | Path) -> Study:
    """The study whose page this is; numbers to five digits, channels to four, no moments.

    Raises:
        RunFolderError: there is no such file, it is no page, or it is damaged.
    """
    return page_results.unpack(Path(path))


def _title(study: Study) -> str:
    source = study.provenance.get("checkpoint", {}).get("path", "")
    return printable(Path(str(source)).name) or "a study"


def _subtitle(study: Study) -> str:
    errors = study.errors()
    images = study.provenance.get("images_from", {}).get("path", "")
    of = f" of {printable(images)}" if images else ""
    return (
        f"{errors['layer'].nunique()} layers, {len(study.channels()):,} channels, "
        f"{errors['method'].nunique()} methods, {study.provenance['images']:,} images{of}"
    )
