"""The planes of every layer as a table, and the best of their cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from normstats.errors import SettingError
from normstats.layerwise import Progress, map_layers
from normstats.moments import LayerMoments, Moments
from normstats.plane.cells import Cell, plane_of
from normstats.population import Population, Weighting, channel_weights
from normstats.resampling import Resamples

DEFAULT_BATCHES = (1, 2, 4, 8, 16, 32, 64)
DRAWS = 64
QUANTITIES = ("error", "residual")
COLUMNS = (
    "layer",
    "channels",
    "batch",
    "groups",
    "group_channels",
    "pooled",
    "named",
    "weights",
    "bias_sq",
    "variance",
    "error",
    "residual",
    *(f"{quantity}_best_of_{what}" for quantity in QUANTITIES for what in ("pooled", "batch")),
)
Quantity = Literal["error", "residual"]


def plane_table(
    moments: Moments,
    batches: Sequence[int] = DEFAULT_BATCHES,
    *,
    weights: Weighting = "gamma",
    draws: int = DRAWS,
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """The planes of all layers: a row per layer, batch size and group size.

    ``pooled`` is B·C/G, the values pooled at each position; ``named`` says which method a cell is:
    ``bn@B``, ``in``, ``ln``, ``gn:32``, or nothing. ``*_best_of_pooled`` and ``*_best_of_batch``:
    whether it is the layer's best of as many pooled values, or of that batch size (the frontier).
    NaN where one image of one position has no variance.

    Args:
        moments: the captured layers.
        batches: batch sizes B.
        weights: how channels count in their layer's average.
        draws: batches of each size.
        seed: of the random numbers.
        progress: told the number of layers done.

    Raises:
        SettingError: no batch size, or one below 1.
    """
    resamples = Resamples(moments.images, draws=draws, seed=seed)

    def of_layer(name: str, layer: LayerMoments) -> list[dict[str, Any]]:
        population = Population.of(layer)
        by_channel = channel_weights(population, layer.gamma, weights)
        return [
            _row(name, layer, cell, weights)
            for cell in plane_of(population, by_channel, batches, resamples)
        ]

    rows = [row for rows in map_layers(of_layer, moments, progress) for row in rows]
    table = pd.DataFrame(rows)
    for quantity in QUANTITIES:
        for what in ("pooled", "batch"):
            least = table.groupby(["layer", what])[quantity].transform("min")
            table[f"{quantity}_best_of_{what}"] = table[quantity] == least
    return table[list(COLUMNS)]


def _row(name: str, layer: LayerMoments, cell: Cell, weights: Weighting) -> dict[str, Any]:
    undefined = layer.positions == cell.batch == cell.group_channels == 1
    values = {term: getattr(cell, term) for term in ("bias_sq", "variance", *QUANTITIES)}
    return {
        "layer": name,
        "channels": layer.channels,
        "batch": cell.batch,
        "groups": layer.channels // cell.group_channels,
        "group_channels": cell.group_channels,
        "pooled": cell.batch * cell.group_channels,
        "named": _named(layer.channels, cell),
        "weights": weights,
        **(dict.fromkeys(values, np.nan) if undefined else values),
    }


def _named(channels: int, cell: Cell) -> str:
    if cell.group_channels == 1:
        return "in" if cell.batch == 1 else f"bn@{cell.batch}"
    if cell.batch > 1:
        return ""
    if cell.group_channels == channels:
        return "ln"
    return "gn:32" if cell.group_channels * 32 == channels else ""


def frontier(
    plane: pd.DataFrame, quantity: Quantity = "error", by: Literal["pooled", "batch"] = "pooled"
) -> pd.DataFrame:
    """The best cell of each layer for each number of pooled values, or for each batch size.

    Args:
        plane: what ``plane_table`` gives.
        quantity: what is to be small.
        by: what is given: ``"pooled"`` values, or the ``"batch"``.

    Returns:
        Those rows of the plane, by layer and ascending.
    """
    return _least(plane, quantity, ["layer", by])


def best_at(plane: pd.DataFrame, batch: int) -> pd.DataFrame:
    """The best cell of each layer for a user with ``batch`` images, for error and for residual.

    Fewer images may be pooled than there are: every cell up to that batch size is open.

    Args:
        plane: what ``plane_table`` gives.
        batch: the user's batch.

    Returns:
        A row of the plane per layer and ``quantity``, with ``batch_norm``: what BatchNorm would
        have at the largest batch of the plane that the user has.

    Raises:
        SettingError: the plane has no batch size as small as that.
    """
    open_to_user = plane[plane["batch"] <= batch]
    if open_to_user.empty:
        raise SettingError(
            f"The plane has no cell for a batch of {batch}.",
            f"Its smallest batch is {plane['batch'].min()}; compute it with smaller ones.",
        )
    largest = open_to_user["batch"].max()
    is_batch_norm = (open_to_user["group_channels"] == 1) & (open_to_user["batch"] == largest)
    batch_norm = open_to_user[is_batch_norm].set_index("layer")
    found = []
    for quantity in QUANTITIES:
        best = _least(open_to_user, quantity, ["layer"])
        best.insert(1, "quantity", quantity)
        best["batch_norm"] = best["layer"].map(batch_norm[quantity])
        found.append(best)
    return pd.concat(found, ignore_index=True)


def _least(plane: pd.DataFrame, quantity: str, keys: list[str]) -> pd.DataFrame:
    """The row with the least of a quantity for each key, in the layers' order."""
    rows = plane.loc[plane[quantity].dropna().groupby([plane[key] for key in keys]).idxmin()]
    order = {name: i for i, name in enumerate(plane["layer"].unique())}
    return rows.sort_values(
        keys, key=lambda column: column.map(order) if column.name == "layer" else column
    ).reset_index(drop=True)
