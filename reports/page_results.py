"""The results inside a page: the files of a run, compressed, and how they are read back.

They are the files that a run folder has, so that ``open_study`` reads them with all its checks; the
captured moments are not among them. Numbers are kept to nine significant digits: what follows is
noise that does not compress. The channels, which are most of the numbers, are kept more tersely: by
column, to four digits, and without the columns that follow from others.
"""

from __future__ import annotations

import base64
import bz2
import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from normstats import run_folder
from normstats.errors import RunFolderError
from normstats.study import Study, open_study

_MOST_BYTES = 256 * 2**20  # a page says little about how large its contents are
_NUMBER = "%.9g"
_CHANNEL_NUMBER = "%.4g"
_CHANNELS = "channels.json"
_DERIVED = ("within_variance", "effective_samples_mean")
_START = '<script type="application/json" id="results">'
_FILE_NAME = re.compile(r"[a-z_]+\.csv|study\.json|channels\.json")
_HINT = "Give a page that `normstats report` wrote, or the run folder itself."


def pack(study: Study) -> str:
    """The study as JSON to put between ``<script>`` tags: base64 of compressed files.

    Args:
        study: whose tables and parts so far are kept.
    """
    frames = study.frames()
    about = {key: value for key, value in study.to_dict().items() if key not in frames}
    files = {run_folder.ABOUT: run_folder.to_json({"schema": run_folder.SCHEMA, **about})}
    files |= {f"{name}.csv": csv_of(frames[name], _NUMBER) for name in frames if name != "channels"}
    files[_CHANNELS] = _columns_of(study.channels())
    content = json.dumps(files, ensure_ascii=False).encode()
    packed = bz2.compress(content)  # of digits it leaves a seventh less than gzip does
    return json.dumps({"bz2": base64.b64encode(packed).decode("ascii")})


def csv_of(table: pd.DataFrame, number: str | None = None) -> str:
    """A table as CSV, true and false as 1 and 0.

    Args:
        table: any of a study.
        number: how numbers are written, e.g. ``%.5g``; as they are by default.
    """
    flags = dict.fromkeys(table.select_dtypes("bool"), int)
    return str(table.astype(flags).to_csv(index=False, lineterminator="\n", float_format=number))


def _columns_of(channels: pd.DataFrame) -> str:
    """The channels' columns as JSON."""
    kept = channels.drop(columns=list(_DERIVED), errors="ignore")
    kept["alive"] = kept["alive"].astype(int)
    counts = kept.groupby("layer", sort=False).size()
    columns: dict[str, list[Any]] = {
        name: [None if pd.isna(value) else float(_CHANNEL_NUMBER % value) for value in kept[name]]
        for name in kept.columns.drop(["layer", "channel", "alive"])
    }
    columns["alive"] = kept["alive"].to_list()
    columns["order"] = channels.columns.to_list()
    columns["layer"], columns["count"] = counts.index.to_list(), counts.to_list()
    return json.dumps(columns, separators=(",", ":"), ensure_ascii=False)


def _channels_of(columns: str) -> pd.DataFrame:
    """What ``_columns_of`` was given, rounded."""
    content = json.loads(columns)
    layers, counts, order = (content.pop(key) for key in ("layer", "count", "order"))
    table = pd.DataFrame(
        {
            "layer": np.repeat(np.array(layers, dtype=object), counts),
            "channel": np.concatenate([np.arange(count) for count in counts]),
            **{name: pd.Series(values, dtype=float) for name, values in content.items()},
        }
    )
    table["alive"] = table["alive"].astype(bool)
    table["within_variance"] = table["variance"] - table["between_variance"]
    with np.errstate(divide="ignore", invalid="ignore"):
        table["effective_samples_mean"] = table["variance"] / table["between_variance"]
    return table[list(map(str, order))]


def unpack(path: Path) -> Study:
    """The study inside a page. It has no moments.

    Args:
        path: of the page.

    Raises:
        RunFolderError: there is no such file, it is no page, or it is damaged.
    """
    files = _files(path)
    with tempfile.TemporaryDirectory(prefix="normstats-page-") as place:
        folder = Path(place)
        try:
            with run_folder.damage(path):
                files["channels.csv"] = csv_of(_channels_of(files.pop(_CHANNELS)))
                for name, text in files.items():
                    (folder / name).write_text(text, encoding="utf-8", newline="\n")
            study = open_study(folder)
        except (RunFolderError, AttributeError) as error:
            reason = getattr(error, "message", f"The results in {path} are damaged: {error}")
            raise RunFolderError(reason.replace(place, str(path)), _HINT) from error
    return replace(study, _moments=path / run_folder.MOMENTS)


def is_page(path: Path) -> bool:
    """Whether a file is a page with results in it."""
    try:
        return _START in path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _files(path: Path) -> dict[str, str]:
    """What ``pack`` packed: texts by file name."""
    try:
        page = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path} cannot be read: {error}", _HINT) from error
    _, start, rest = page.rpartition(_START)
    if not start:
        raise RunFolderError(f"{path} is not a page of normstats: no results are in it.", _HINT)
    try:
        packed = base64.b64decode(json.loads(rest.partition("</script>")[0])["bz2"], validate=True)
        decompressor = bz2.BZ2Decompressor()
        content = decompressor.decompress(packed, _MOST_BYTES)
        if not decompressor.eof:
            raise ValueError("the results are cut off, or larger than any study")
        files = json.loads(content)
        wrong = [name for name in files if not _FILE_NAME.fullmatch(name)]
        if wrong:
            raise ValueError(f"a file in it is called {wrong[0]!r}")
        return {str(name): str(text) for name, text in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise RunFolderError(f"The results in {path} are damaged: {error}", _HINT) from error
