"""A run on disk: a CSV file a table, ``study.json`` and the captured moments.

``study.json`` comes last: a folder without it is no run, or not yet one. Moments that are still
being captured lie beside those of an earlier run, which stays whole until it can be replaced.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from normstats.capture_folder import LOCK, CaptureFolder
from normstats.errors import RunFolderError
from normstats.moments import Moments
from normstats.moments_folder import home, move

SCHEMA = 1
ABOUT = "study.json"
MOMENTS = "moments"
UNFINISHED = "moments.unfinished"
NEW = ".new"  # what is written, until it is complete
# What pandas would guess otherwise: layers may be called 1 or NA, and BatchNorm's batch may be <1.
_TEXTS = ("layer", "method", "kind", "named", "note", "other")
_NUMBERS = {"batch": "Int64", "groups": "Int64", "alive": "bool"}
_TEXTS_OF = {"crossovers": (*_TEXTS, "batch")}


def check(folder: Path, *, force: bool) -> None:
    """Refuse a folder that must not be written to; the earlier, the less work is lost.

    Raises:
        RunFolderError: it exists, and is no run or ``force`` is not given.
    """
    try:
        empty = folder.is_dir() and all(file.name in (LOCK, NEW) for file in folder.iterdir())
        exists = folder.exists()
    except OSError as error:  # a name too long, a folder that may not be looked into
        raise RunFolderError(
            f"A run cannot be written to {folder}: {error.strerror}.",
            "Choose another place with --out.",
        ) from error
    if empty:
        return
    if not exists:
        parent = next(above for above in folder.absolute().parents if above.exists())
        if not parent.is_dir():
            raise RunFolderError(
                f"{folder} cannot be made: {parent} is not a folder.",
                "Choose another place with --out.",
            )
        return
    if not (folder / ABOUT).is_file():
        if unfinished(folder):
            return
        raise RunFolderError(
            f"{folder} exists and is not a run of normstats; it is left as it is.",
            "Choose another place with --out.",
        )
    if not force:
        raise RunFolderError(
            f"{folder} already holds a run.",
            "Choose another place with --out, or replace it with --force.",
        )


def unfinished(folder: Path) -> CaptureFolder | None:
    """The capture in a folder that is not yet a run, if one was begun there."""
    if (folder / ABOUT).exists():
        return None
    return CaptureFolder.read(folder / UNFINISHED) or CaptureFolder.read(folder / MOMENTS)


def go_on(
    folder: Path,
    capture: CaptureFolder,
    way: Callable[[], Mapping[str, Any]],
    *,
    force: bool,
) -> CaptureFolder:
    """The capture that was begun in the folder if it is of the same identity, else this new one.

    Args:
        folder: of the run, locked.
        capture: in ``folder / UNFINISHED``.
        way: how a new one is run; asked only then.
        force: drop the beginnings of another one.

    Raises:
        RunFolderError: another one was begun there, or the disk refuses.
    """
    if (cut_off := unfinished(folder)) and cut_off.folder == folder / MOMENTS:
        # Killed when all was captured, and before the tables stood.
        capture.folder.rmdir()
        cut_off.folder.rename(capture.folder)
    begun = CaptureFolder.read(capture.folder)
    if begun is not None:
        differing = begun.differences(capture.identity)
        if not differing:
            return begun
        if not force:
            raise RunFolderError(
                f"{folder} holds an unfinished run that differs in: {', '.join(differing)}.",
                "Choose another place with --out, or start anew with --force.",
            )
    capture = replace(capture, way=way())
    capture.begin()
    return capture


def write(
    folder: Path,
    *,
    tables: Mapping[str, pd.DataFrame],
    about: Mapping[str, Any],
    moments: Moments | None = None,
    pages: Mapping[str, str] | None = None,
    force: bool,
) -> Path:
    """Write a whole run; files in the folder that are not of the run stay.

    Args:
        folder: of the run.
        tables: by name.
        about: what ``study.json`` says besides the schema.
        moments: None to keep those that are there.
        pages: further files, by name.
        force: replace an earlier run.

    Raises:
        RunFolderError: the folder may not be written to, or the disk refuses.
    """
    check(folder, force=force)
    fresh = folder / NEW
    try:
        shutil.rmtree(fresh, ignore_errors=True)  # where a process died
        fresh.mkdir(parents=True)
        here = moments and home(moments)
        if moments is not None and here not in (folder / UNFINISHED, folder / MOMENTS):
            moments.save(fresh / MOMENTS)
        for name, table in tables.items():
            _with_numbers(table).to_csv(fresh / f"{name}.csv", index=False, lineterminator="\n")
        for name, text in {**(pages or {}), ABOUT: to_json({"schema": SCHEMA, **about})}.items():
            (fresh / name).write_text(text, encoding="utf-8", newline="\n")
        old_tables = _tables_of_parts(folder) - set(tables)
        # From here on an earlier run in the folder counts no more.
        if here == folder / UNFINISHED or (fresh / MOMENTS).exists():
            (folder / ABOUT).unlink(missing_ok=True)
            if (folder / MOMENTS).exists():
                shutil.rmtree(folder / MOMENTS)
        if moments is not None and here == folder / UNFINISHED:
            move(moments, folder / MOMENTS)
        for old in old_tables:
            (folder / f"{old}.csv").unlink(missing_ok=True)
        for new in sorted(fresh.iterdir(), key=lambda file: (file.name == ABOUT, file.name)):
            new.replace(folder / new.name)
    except OSError as error:
        raise RunFolderError(
            f"The run cannot be written to {folder}: {error}",
            "Choose another place with --out, or make room.",
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return folder


def _tables_of_parts(folder: Path) -> set[str]:
    """What an earlier run in the folder has besides its main tables."""
    try:
        parts = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["parts"]
        return {str(name) for part in parts.values() for name in part["tables"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()  # none, or so damaged that nobody will read it


def read(folder: Path) -> dict[str, Any]:
    """What ``study.json`` says.

    Raises:
        RunFolderError: it is not a run, is damaged, or was written by a newer normstats.
    """
    if not (folder / ABOUT).is_file():
        what = "is not a run of normstats" if folder.exists() else "does not exist"
        raise RunFolderError(
            f"{folder} {what}.", "Give the folder that `normstats analyze --out` wrote."
        )
    with damage(folder):
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if about["schema"] != SCHEMA:
            raise RunFolderError(
                f"{folder} was written in schema {about['schema']}; this normstats reads {SCHEMA}.",
                "Install the normstats that wrote it, or run the analysis again.",
            )
    return dict(about)


def read_table(folder: Path, name: str, columns: Sequence[str] = ("layer",)) -> pd.DataFrame:
    """A table of a run, as it was written.

    Args:
        folder: of the run.
        name: of the table.
        columns: that it must have.

    Raises:
        RunFolderError: it is damaged.
    """
    texts = _TEXTS_OF.get(name, _TEXTS)
    with damage(folder):
        table = pd.read_csv(
            folder / f"{name}.csv",
            float_precision="round_trip",
            dtype=dict.fromkeys(texts, str),
            keep_default_na=False,
            na_values=[""],
        )
        missing = [column for column in columns if column not in table]
        if missing:
            raise ValueError(f"{name}.csv has no column {missing[0]!r}")
        empty = {column: "" for column in texts if column in table}
        types = {c: t for c, t in _NUMBERS.items() if c in table and c not in texts}
        types |= {column: "bool" for column in map(str, table) if "_best_of_" in column}
        return table.fillna(empty).astype(types)


@contextmanager
def damage(folder: Path) -> Iterator[None]:
    """Tell what cannot be read, or is not what it should be, as damage to the run.

    Raises:
        RunFolderError: anything of the kind happened inside the block.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"The run in {folder} is damaged: {error}", "Run `normstats analyze` again."
        ) from error


def to_json(content: Mapping[str, Any]) -> str:
    """JSON with a line for each row of each table, and None for what is no finite number."""
    parts = []
    for key, value in content.items():
        if isinstance(value, pd.DataFrame):
            rows = (json.dumps(_plain(row), ensure_ascii=False) for row in value.to_dict("records"))
            text = "[\n  " + ",\n  ".join(rows) + "\n ]"
        else:
            text = json.dumps(_plain(value), indent=1, ensure_ascii=False).replace("\n", "\n ")
        parts.append(f"{json.dumps(key)}: {text}")
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def _plain(value: Any) -> Any:
    """As JSON has it: no numpy, no NaN."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def _with_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """True and false as 1 and 0."""
    return table.astype(dict.fromkeys(table.select_dtypes("bool"), int))
