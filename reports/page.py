"""The page: a whole study as one HTML file that needs nothing else and asks nothing of anyone.

The same study gives the same bytes: no dates, no random names.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from normstats.errors import RunFolderError
from normstats.findings import Finding, with_interval
from normstats.printable import printable
from normstats.study import Study
from normstats_reports import page_figures, page_results, page_tables
from normstats_reports.page_help import HELP
from normstats_reports.terminal import LIMITS

FILE = "report.html"
_HERE = Path(__file__).parent


def render(study: Study) -> str:
    """The page.

    Args:
        study: its parts so far are shown; none is computed for the page.
    """
    script = _asset("page.js")
    chosen, which = page_figures.chosen_layers(study)
    columns, rows = page_tables.summary(study)
    names = page_tables.anchors([str(layer) for layer in study.layers()["layer"]])
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=_title(study),
            subtitle=_subtitle(study),
            style=Markup(_asset("page.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            help=HELP,
            findings=[(finding, _number(finding)) for finding in study.findings],
            columns=columns,
            rows=rows,
            figures=list(page_figures.overall(study)),
            which_layers=which,
            term_titles=page_tables.term_titles(),
            layers=page_tables.details(study),
            layer_figures={
                names[name]: list(page_figures.of_layer(study, name)) for name in chosen
            },
            unasked=[part for part in ("grouping", "validation") if part not in study.parts],
            provenance=_provenance(study),
            notes=study.notes,
            limits=LIMITS,
            results=Markup(page_results.pack(study)),
        )
    )


def write_page(study: Study, file: str | Path) -> Path:
    """Write the page into a file; an earlier one is replaced whole or not at all.

    Raises:
        RunFolderError: something else is there, or the disk refuses.
    """
    file = Path(file)
    if file.exists() and not page_results.is_page(file):
        raise RunFolderError(
            f"{file} exists and is not a page of normstats; it is left as it is.",
            "Choose another place with --out.",
        )
    text = render(study)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{file.name}-", dir=file.parent) as place:
            fresh = Path(place) / file.name
            fresh.write_text(text, encoding="utf-8", newline="\n")
            fresh.replace(file)
    except OSError as error:
        raise RunFolderError(
            f"The page cannot be written to {file}: {error}", "Choose another place with --out."
        ) from error
    return file


def write_report(study: Study, folder: str | Path) -> Path:
    """Write the page of a run into its folder, as ``report.html``.

    Raises:
        RunFolderError: the disk refuses.
    """
    return write_page(study, Path(folder) / FILE)


def read_page(path: str | Path) -> Study:
    """The study whose page this is; numbers to nine digits, channels to four, no moments.

    Raises:
        RunFolderError: there is no such file, it is no page, or it is damaged.
    """
    return page_results.unpack(Path(path))


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"printable": printable, "sortable": _sortable}
    return environment


def _asset(name: str) -> str:
    return (_HERE / "assets" / name).read_text(encoding="utf-8").strip()


def _sortable(value: float) -> str:
    """A number as the script reads it."""
    return "Infinity" if np.isinf(value) else f"{value:.6g}"


def _number(finding: Finding) -> str:
    """The finding's number and its interval; empty where it has none."""
    if not np.isfinite(finding.value) or np.isnan(finding.low) or finding.low == finding.high:
        return ""
    return with_interval(finding.value, finding.low, finding.high)


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


def _provenance(study: Study) -> list[tuple[str, str]]:
    """All that is needed to make the run again, by name."""
    provenance, settings = study.provenance, study.settings
    command = provenance.get("command", [])
    rows: list[tuple[str, Any]] = [
        ("command", " ".join(map(_quoted, command))),
        *_flat("checkpoint", provenance.get("checkpoint", {})),
        ("images", f"{provenance['images']:,}"),
        *_flat("images", provenance.get("images_from", {})),
        ("device", provenance.get("device", "")),
        *((name, version) for name, version in provenance.get("versions", {}).items()),
        *settings.items(),
        *(row for name, part in study.parts.items() for row in _flat(name, part.settings)),
    ]
    return [(name, printable(_words(value))) for name, value in rows if value not in ("", None, {})]


def _flat(name: str, content: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(f"{name} {_TITLES.get(key, key)}", value) for key, value in content.items()]


_TITLES = {"sha256": "SHA-256", "path": "from"}


def _quoted(word: str) -> str:
    return f"'{word}'" if any(c in word for c in " *?[]$&|;<>()") else word


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} ({reason})" for key, reason in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
