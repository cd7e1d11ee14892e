"""How figures look: one ink, colours that the colour-blind tell apart, a marker and line a family.

While a figure of its own is drawn the style is in matplotlib's settings, which are then as they
were before; Axes that the caller brings keep their own.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from typing import Any, Literal, ParamSpec, TypeVar

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from normstats.printable import printable

P = ParamSpec("P")
T = TypeVar("T")

INK = "#262626"  # seaborn's; currentColor in SVG
GREY = "#8c8c8c"  # seen on white and on black
FAINT = 0.15
TEXT = 8.0  # points
SMALL = 7.0
_TITLE = 9.0
CHARACTER = 0.6  # of the text size: how wide one is
_AT = 0.7  # how many characters an @ is wider than others
LAYER_NAME = 28  # characters
_AFTER_INITIALS = re.compile(r"(?<=[A-Za-z])[A-Za-z]+")
LEGEND = 1.75  # inches, right of the Axes
BESIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.02), "borderpad": 0}

COLORS: list[str] = sns.color_palette("colorblind").as_hex()
BLUE, ORANGE, GREEN, RED, PINK, BROWN, _, _, YELLOW, LIGHT_BLUE = COLORS

_STYLE: dict[str, Any] = {
    **sns.axes_style("ticks"),
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.labelsize": TEXT,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "white",
    "font.family": ["DejaVu Sans"],
    "hatch.linewidth": 0.5,
    "text.color": INK,
}
_TICKS: dict[str, Any] = {
    "length": 0,
    "color": INK,
    "labelcolor": INK,
    "labelsize": TEXT,
    "grid_color": INK,
    "grid_alpha": FAINT,
    "grid_linewidth": 0.6,
    "grid_linestyle": "-",
}
# Settings are the whole process's; threads take turns with them.
_SETTINGS = threading.RLock()
_OFF_SCREEN: ContextVar[bool] = ContextVar("off_screen", default=False)


@dataclass(frozen=True)
class Look:
    """How a method is drawn everywhere."""

    color: str
    marker: str
    line: Any


_LOOKS = {
    "bn": Look(BLUE, "o", "-"),
    "in": Look(ORANGE, "s", (0, (5, 1.5))),
    "gn": Look(GREEN, "^", (0, (6, 1.5, 1.5, 1.5))),
    "ln": Look(RED, "D", (0, (3, 1.5))),
    "bgn": Look(PINK, "P", (0, (1.5, 1))),
    "running": Look(GREY, "X", (0, (1, 2))),
}
_OWN = Look(BROWN, "*", (0, (8, 2)))


def look(method: str) -> Look:
    """Of the method's family; of one's own methods another one."""
    return _LOOKS.get(method.split("@")[0].split(":")[0], _OWN)


@contextmanager
def settings(**more: Any) -> Iterator[None]:
    """The style in matplotlib's settings, which are then as they were before.

    ``rc_context`` would take back what is not ours as well: a notebook's backend that is loaded
    inside says once that figures are to be shown.
    """
    wanted: Any = {**_STYLE, **more}
    with _SETTINGS:
        before: Any = {key: mpl.rcParams[key] for key in wanted}
        mpl.rcParams.update(wanted)
        try:
            yield
        finally:
            mpl.rcParams.update(before)


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Draw in this style, unless Axes are given: they have theirs."""
    names = list(signature(draw).parameters)

    @wraps(draw)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> T:
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        with nullcontext() if given.get("ax") is not None else settings():
            return draw(*args, **kwargs)

    return in_style


@contextmanager
def off_screen() -> Iterator[None]:
    """Figures made inside are not shown, in a notebook either."""
    token = _OFF_SCREEN.set(True)
    try:
        yield
    finally:
        _OFF_SCREEN.reset(token)


@dataclass(frozen=True)
class Margins:
    """Around the Axes, in inches. They are fixed: labels can be placed before anything is drawn."""

    left: float = 0.85
    right: float = 0.2
    bottom: float = 0.5
    top: float = 0.35


def new_axes(
    width: float, height: float, margins: Margins | None = None, *, rows: int = 1
) -> list[Axes]:
    """Axes of ``width`` by ``height`` inches each, one above the other in a figure of their own.

    Args:
        width: of the part inside the axes.
        height: the same.
        margins: around them; the bottom and top ones are shared.
        rows: how many.
    """
    margins = margins or Margins()
    gap = 0.4
    whole = (
        width + margins.left + margins.right,
        rows * height + (rows - 1) * gap + margins.bottom + margins.top,
    )
    figure = _new_figure(whole, of_several=rows > 1)
    axes: list[Axes] = []
    for row in range(rows):
        bottom = margins.bottom + (rows - 1 - row) * (height + gap)
        place = (margins.left / whole[0], bottom / whole[1])
        size = (width / whole[0], height / whole[1])
        axes.append(figure.add_axes((*place, *size)))
        axes[-1].tick_params(which="both", **_TICKS)
    return axes


def _new_figure(size: tuple[float, float], *, of_several: bool) -> Figure:
    """One that a notebook shows after its cell and then closes, or one that nobody keeps.

    A figure of several panels is what the caller gets, and a notebook shows that by itself; after
    the cell it would be seen twice.
    """
    shell = sys.modules.get("IPython")
    in_notebook = shell is not None and shell.get_ipython() is not None
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_notebook and in_main_thread and not _OFF_SCREEN.get():
        from matplotlib import pyplot as plt

        figure = plt.figure(figsize=size)
        if of_several:
            plt.close(figure)
        return figure
    return Figure(figsize=size)


def ink(ax: Axes) -> Any:
    """The colour of the words of these Axes, which may be the caller's."""
    return ax.xaxis.label.get_color()


def title(ax: Axes, text: str) -> None:
    """Above, at the left."""
    # At a place of its own choice it would measure all tick labels each time.
    ax.set_title(text, loc="left", y=1.0, fontsize=_TITLE, color=ink(ax), parse_math=False)


def grid(ax: Axes, axis: Literal["both", "x", "y"] = "both") -> None:
    """Behind all that is drawn."""
    ax.set_axisbelow(True)
    ax.grid(visible=True, axis=axis, which="major", color=ink(ax), alpha=FAINT, linewidth=0.6)


def legend(ax: Axes, **where: Any) -> None:
    """Without a frame, in the ink of the Axes."""
    found = ax.legend(frameon=False, fontsize=TEXT, labelcolor=ink(ax), **where)
    for text in found.get_texts():
        text.set_parse_math(False)


def say(ax: Axes, text: str) -> None:
    """Words instead of data: why there is none."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.text(
        *(0.5, 0.5, text),
        transform=ax.transAxes,
        ha="center",
        va="center",
        fontsize=TEXT,
        color=ink(ax),
        parse_math=False,
    )


def layer_label(name: str) -> str:
    """A layer's name in at most ``LAYER_NAME`` characters; its end tells more than its start.

    The modules around it become initials with their numbers, from the first on
    (``f.d3.denselayer24.norm1``); if that is not enough, the middle goes.
    """
    parts = printable(name).split(".")
    for place, part in enumerate(parts[:-1]):
        if len(".".join(parts)) > LAYER_NAME:
            parts[place] = _AFTER_INITIALS.sub("", part)
    text = ".".join(parts)
    if len(text) <= LAYER_NAME:
        return text
    start, end = text[: LAYER_NAME // 3], text[LAYER_NAME // 3 + 1 - LAYER_NAME :]
    return f"{start.rstrip('.')}…{end.lstrip('.')}"


def text_inches(text: str, size: float = TEXT) -> float:
    """How wide a line of text is at most, or nearly so."""
    return (len(text) + _AT * text.count("@")) * CHARACTER * size / 72
