"""The results inside a page: the files of a run, compressed, and how they are read back.

They are the files that a run folder has, so that ``open_study`` reads them with all its checks; the
captured moments are not among them. Numbers are kept to five significant digits: what follows is
noise that does not compress. The channels, which are most of the numbers, are kept more tersely: by
column, to four digits, and without the columns that follow from others; the best order of channels
as the group of each.
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
_KIND = "bz2"
_NUMBER = "%.5g"
_CHANNEL_NUMBER = "%.4g"
_CHANNELS = "channels.json"
_ORDERS = "orders.json"
_DERIVED = ("within_variance", "effective_samples_mean")
COMPARISON = '<meta name="generator" content="normstats comparison">'  # in a page of several runs
_START = '<script type="application/json" id="results">'
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError)
_FILE_NAME = re.compile(r"[a-z_]+\.csv|study\.json|(channels|orders)\.json")
_HINT = "Give a page that `normstats report RUN` wrote, or the run folder itself."


def pack(study: Study) -> str:
    """The study as JSON to put between ``<script>`` tags: base64 of compressed files.

    Args:
        study: whose tables and parts so far are kept.
    """
    frames = study.frames()
    about = {key: value for key, value in study.to_dict().items() if key not in frames}
    files = {run_folder.ABOUT: run_folder.to_json({"schema": run_folder.SCHEMA, **about})}
    files |= {
        f"{name}.csv": csv_of(table, _NUMBER)
        for name, table in frames.items()
        if name not in ("channels", "orders")
    }
    files[_CHANNELS] = _columns_of(study.channels())
    if "orders" in frames:
        files[_ORDERS] = _groups_of(frames["orders"])
    content = json.dumps(files, ensure_ascii=False).encode()
    packed = bz2.compress(content)  # as good at digits as xz, and three times as fast
    return json.dumps({_KIND: base64.b64encode(packed).decode("ascii")})


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


def _groups_of(orders: pd.DataFrame) -> str:
    """Orders of channels, ascending within groups, as JSON: the group of each channel."""
    by_layer = orders.sort_values("channel", kind="stable").groupby(["layer", "groups"], sort=False)
    found = {key: rows["group"].to_list() for key, rows in by_layer}
    cells = orders[["layer", "groups"]].drop_duplicates().itertuples(index=False, name=None)
    rows = [[layer, int(groups), found[layer, groups]] for layer, groups in cells]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False)


def _orders_of(groups: str) -> pd.DataFrame:
    """What ``_groups_of`` was given."""
    parts = []
    for layer, count, of_channel in json.loads(groups):
        order = np.argsort(of_channel, kind="stable")
        parts.append(
            pd.DataFrame(
                {
                    "layer": layer,
                    "groups": count,
                    "group": np.asarray(of_channel)[order],
                    "channel": order,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


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
                if _ORDERS in files:
                    files["orders.csv"] = csv_of(_orders_of(files.pop(_ORDERS)))
                for name, text in files.items():
                    (folder / name).write_text(text, encoding="utf-8", newline="\n")
            study = open_study(folder)
        except (RunFolderError, AttributeError) as error:
            reason = getattr(error, "message", f"The results in {path} are damaged: {error}")
            raise RunFolderError(reason.replace(place, str(path)), _HINT) from error
    return replace(study, _moments=path / run_folder.MOMENTS)


def is_page(path: Path) -> bool:
    """Whether a file is a page of a run, or of several."""
    try:
        text = path.read_text(encoding="utf-8")
        return _START in text or COMPARISON in text
    except (OSError, UnicodeDecodeError):
        return False


def _files(path: Path) -> dict[str, str]:
    """What ``pack`` packed: texts by file name."""
    try:
        page = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path} cannot be read: {error}", _HINT) from error
    _, start, rest = page.rpartition(_START)
    if COMPARISON in page.partition("</head>")[0]:
        raise RunFolderError(f"{path} is the page of several runs; it holds none of them.", _HINT)
    if not start:
        raise RunFolderError(f"{path} is not a page of normstats: no results are in it.", _HINT)
    try:
        ((kind, text),) = json.loads(rest.partition("</script>")[0]).items()
        if kind != _KIND:
            raise ValueError(f"they are packed as {kind!r}")
        decompressor = bz2.BZ2Decompressor()
        content = decompressor.decompress(base64.b64decode(text, validate=True), _MOST_BYTES)
        if not decompressor.eof:
            raise ValueError("the results are cut off, or larger than any study")
        files = json.loads(content)
        wrong = [name for name in files if not _FILE_NAME.fullmatch(name)]
        if wrong:
            raise ValueError(f"a file in it is called {wrong[0]!r}")
        return {str(name): str(text) for name, text in files.items()}
    except _UNREADABLE as error:
        raise RunFolderError(f"The results in {path} are damaged: {error}", _HINT) from error
