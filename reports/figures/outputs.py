"""Does what is predicted of a layer's statistics rank what the network's output does?"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from normstats.study import Study
from normstats_reports.figures.scales import decades_axis
from normstats_reports.figures.selection import UNITS, check_quantity
from normstats_reports.figures.style import (
    BESIDE,
    Margins,
    grid,
    legend,
    look,
    new_axes,
    say,
    styled,
    title,
)

_MEASURED = {"error": "kl", "residual": "kl_refit"}
_AXIS = {"kl": "KL divergence [nats]", "kl_refit": "KL, scale and shift re-fitted [nats]"}
_MANY = 300  # points: drawn as an image in SVG
_SHADES = ("full", "none", "left", "right", "top", "bottom")  # within a family


@styled
def damage(study: Study, quantity: str = "error", ax: Axes | None = None) -> Axes:
    """What was predicted against what was measured, a point a layer and method.

    The error against the KL divergence of the network's output, or the residual against that with
    the layer's scale and shift re-fitted.

    Args:
        study: one that was validated.
        quantity: ``"error"`` or ``"residual"``.
        ax: to draw into; new ones by default.

    Raises:
        RunFolderError: it was not validated.
        SettingError: the quantity is neither.
    """
    measured = _MEASURED[check_quantity(quantity)]
    table = study.validation()
    known = table[np.isfinite(table[quantity]) & np.isfinite(table[measured])]
    if ax is None:
        (ax,) = new_axes(3.8, 3.2, Margins(right=1.1))
    title(ax, _title(study, quantity))
    ax.set_xlabel(f"predicted: {UNITS[quantity]}")
    ax.set_ylabel(f"measured: {_AXIS[measured]}")
    if known.empty:
        say(ax, "nothing was measured")
        return ax
    decades_axis(ax.xaxis, known[quantity])
    decades_axis(ax.yaxis, known[measured])
    grid(ax)
    of_family: dict[str, int] = {}
    for method, rows in known.groupby("method", sort=False):
        name = str(method)
        of_method = look(name)
        place = of_family.setdefault(of_method.color, 0)
        of_family[of_method.color] += 1
        ax.plot(
            *(rows[quantity], rows[measured]),
            linestyle="none",
            marker=of_method.marker,
            markersize=4.5,
            fillstyle=_SHADES[place % len(_SHADES)],
            markerfacecoloralt="none",
            color=of_method.color,
            label=name,
            rasterized=len(known) > _MANY,
        )
    legend(ax, handletextpad=0.2, **BESIDE)
    return ax


def _title(study: Study, quantity: str) -> str:
    correlation = study.parts["validation"].about["correlations"][f"{quantity}_within_layers"]
    if correlation is None or not np.isfinite(correlation):
        return "Predicted and measured damage"
    return f"Predicted and measured damage: rank correlation {correlation:.2f}"
