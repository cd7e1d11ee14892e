"""What every page has: its frame, its style and script, and how it comes into a file."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from normstats.errors import RunFolderError
from normstats.findings import Finding, with_interval
from normstats.printable import printable
from normstats_reports.page_results import csv_of, is_page

_HERE = Path(__file__).parent


def fill(template: str, findings: Sequence[Finding], **content: Any) -> str:
    """A page from its template: what it says inside the frame.

    Args:
        template: its name.
        findings: in the order in which they are shown.
        content: what else the template asks for.
    """
    script = _asset("page.js")
    return (
        _environment()
        .get_template(template)
        .render(
            style=Markup(_asset("page.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            findings=[(finding, _number(finding)) for finding in findings],
            **content,
        )
    )


def write(text: str, file: Path) -> Path:
    """Write a page into a file, replaced whole or not at all.

    Raises:
        RunFolderError: the disk refuses.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".normstats-", dir=file.parent) as place:
            fresh = Path(place) / file.name
            fresh.write_text(text, encoding="utf-8", newline="\n")
            fresh.replace(file)
    except OSError as error:
        raise RunFolderError(
            f"The page cannot be written to {file}: {error}", "Choose another place with --out."
        ) from error
    return file


def check_place(file: Path) -> None:
    """Refuse to replace what is not a page; before the work of making one.

    Raises:
        RunFolderError: something else is there.
    """
    if file.exists() and not is_page(file):
        raise RunFolderError(
            f"{file} exists and is not a page of normstats; it is left as it is.",
            "Choose another place with --out.",
        )


def data_link(table: pd.DataFrame, number: str = "%.5g") -> str:
    """A table as CSV, to be saved by following the link."""
    return "data:text/csv;charset=utf-8," + quote(csv_of(table, number), safe=",:;@+. ")


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
