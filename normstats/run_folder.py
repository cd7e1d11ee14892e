"""A run on disk: ``errors.csv``, ``channels.csv``, ``crossovers.csv``, ``study.json``, moments.

A run is written beside its place and then renamed, so that a half-written one is never seen.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from normstats.errors import RunFolderError
from normstats.moments import Moments
from normstats.tables import Tables

SCHEMA = 1
ABOUT = "study.json"
MOMENTS = "moments"
_NAMES = {"layer": str, "method": str}  # also where they look like numbers
_TABLES = ("errors", "layers", "channels", "crossovers")


def check(folder: Path, *, force: bool) -> None:
    """Refuse a folder that must not be written to; the earlier, the less work is lost.

    Raises:
        RunFolderError: it exists, and is no run or ``force`` is not given.
    """
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if not folder.exists():
        parent = next(above for above in folder.absolute().parents if above.exists())
        if not parent.is_dir():
            raise RunFolderError(
                f"{folder} cannot be made: {parent} is not a folder.",
                "Choose another place with --out.",
            )
        return
    if not (folder / ABOUT).is_file():
        raise RunFolderError(
            f"{folder} exists and is not a run of normstats; it is left as it is.",
            "Choose another place with --out.",
        )
    if not force:
        raise RunFolderError(
            f"{folder} already holds a run.",
            "Choose another place with --out, or replace it with --force.",
        )


def write(
    folder: Path, *, tables: Tables, moments: Moments, about: Mapping[str, Any], force: bool
) -> Path:
    """Write a whole run; files in the folder that are not of the run stay.

    Raises:
        RunFolderError: the folder may not be written to, or the disk refuses.
    """
    check(folder, force=force)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as place:
            fresh = Path(place) / "run"
            _write_files(fresh, tables, moments, about)
            folder.mkdir(exist_ok=True)
            for new in sorted(fresh.iterdir()):
                old = folder / new.name
                if old.is_dir():
                    shutil.rmtree(old)
                new.replace(old)
    except OSError as error:
        raise RunFolderError(
            f"The run cannot be written to {folder}: {error}",
            "Choose another place with --out, or make room.",
        ) from error
    return folder


def read(folder: Path) -> tuple[Tables, dict[str, Any]]:
    """The tables of a run, and what ``study.json`` says about them.

    Raises:
        RunFolderError: it is not a run, is damaged, or was written by a newer normstats.
    """
    if not (folder / ABOUT).is_file():
        what = "is not a run of normstats" if folder.exists() else "does not exist"
        raise RunFolderError(
            f"{folder} {what}.", "Give the folder that `normstats analyze --out` wrote."
        )
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if about["schema"] != SCHEMA:
            raise RunFolderError(
                f"{folder} was written in schema {about['schema']}; this normstats reads {SCHEMA}.",
                "Install the normstats that wrote it, or run the analysis again.",
            )
        errors, layers, channels, crossovers = (
            pd.read_csv(folder / f"{name}.csv", float_precision="round_trip", dtype=_NAMES) for name in _TABLES
        )
        tables = Tables(
            errors=errors.astype({"batch": "Int64", "groups": "Int64"}),
            layers=layers,
            channels=channels.astype({"alive": bool}),
            crossovers=crossovers.astype({"batch": str}),
            notes=tuple(about["notes"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"The run in {folder} is damaged: {error}", "Run `normstats analyze` again."
        ) from error
    return tables, about


def _write_files(folder: Path, tables: Tables, moments: Moments, about: Mapping[str, Any]) -> None:
    """All files of a run, into a folder that does not exist yet."""
    moments.save(folder / MOMENTS)
    channels = tables.channels.astype({"alive": int})
    written = (tables.errors, tables.layers, channels, tables.crossovers)
    for name, table in zip(_TABLES, written, strict=True):
        table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    text = json.dumps({"schema": SCHEMA, **about}, indent=1, ensure_ascii=False)
    (folder / ABOUT).write_text(text + "\n", encoding="utf-8")
