"""What of a study a figure shows; unknown names are told, with near ones."""

from __future__ import annotations

import pandas as pd

from normstats.errors import LayerError, MethodError, SettingError, did_you_mean
from normstats.layer_values import HEADLINES
from normstats.printable import printable
from normstats.study import Study

UNITS = {"error": "error [σ²]", "residual": "residual [share]"}


def rows_of_layer(study: Study, layer: str, table: pd.DataFrame | None = None) -> pd.DataFrame:
    """The rows of one layer in ``table``, or in the study's errors.

    Raises:
        LayerError: it is not there.
    """
    table = study.tables.errors if table is None else table
    rows = table[table["layer"] == layer]
    if rows.empty:
        names = layer_names(table)
        raise LayerError(
            f"There is no layer {printable(layer)!r} to draw.",
            did_you_mean(layer, names) or f"The first layer is {printable(names[0])}.",
        )
    return rows


def rows_of_method(study: Study, method: str) -> pd.DataFrame:
    """A row a layer in depth order, by name; NaN in layers that cannot have the method.

    Raises:
        MethodError: the study does not have it.
    """
    errors = study.tables.errors
    rows = errors[errors["method"] == method]
    if rows.empty:
        names = [str(name) for name in errors["method"].unique()]
        raise MethodError(
            f"The study has no method {printable(method)!r}.",
            did_you_mean(method, names) or f"It has {', '.join(names)}.",
        )
    return rows.set_index("layer").reindex(layer_names(errors))


def layer_names(table: pd.DataFrame) -> list[str]:
    """In depth order."""
    return [str(name) for name in table["layer"].unique()]


def check_quantity(quantity: str) -> str:
    """``"error"`` or ``"residual"``.

    Raises:
        SettingError: it is neither.
    """
    if quantity not in HEADLINES:
        raise SettingError(
            f"{printable(quantity)!r} cannot be drawn.", f"Choose {' or '.join(HEADLINES)}."
        )
    return quantity
