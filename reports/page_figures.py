"""A figure of the page: with its finding in words, its data and the code that redraws it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from normstats.errors import NormstatsError
from normstats.study import Study
from normstats_reports import figures
from normstats_reports.page_drawing import PIXELS_PER_POINT
from normstats_reports.page_frame import data_link

_WIDTH = re.compile(r'\swidth="([\d.]+)(?:pt)?"')
_HEIGHT = re.compile(r'\sheight="[^"]*"')  # follows from the width, whatever becomes of it
_PROLOG = re.compile(r"\A.*?(?=<svg)", re.DOTALL)
_OPEN = 'import normstats as ns\n\nstudy = ns.open_study("RUN")  # the run folder\n'
UNKNOWN = "No method has a value."


@dataclass(frozen=True)
class Shown:
    """A figure as the page shows it.

    Attributes:
        key: of its help.
        name: unlike that of any other figure; also of the files saved from it.
        title: its caption.
        finding: what it shows, in a sentence; also its text for those who cannot see it.
        svg: the drawing.
        data: what is drawn, as CSV in a ``data:`` link; empty where several figures share it.
        code: lines of Python that draw it again; likewise.
    """

    key: str
    name: str
    title: str
    finding: str
    svg: Markup
    data: str = ""
    code: str = ""


@dataclass(frozen=True)
class Plan:
    """A figure to be drawn: everything but the drawing.

    Attributes:
        key, name, title, finding: as ``Shown`` has them.
        call: the function's name in ``figures`` and its arguments after the study.
        table: what is drawn.
    """

    key: str
    name: str
    title: str
    call: tuple[str, tuple[str, ...]]
    finding: str
    table: pd.DataFrame

    def shown(self, study: Study) -> Shown | None:
        """Drawn; None where the study has no data for it."""
        function, arguments = self.call
        try:
            with figures.off_screen():
                drawn = getattr(figures, function)(study, *arguments)
                svg = figures.figure_svg(_figure_of(drawn), self.name)
        except NormstatsError:
            return None
        return Shown(
            key=self.key,
            name=self.name,
            title=self.title,
            finding=self.finding,
            svg=inline(svg),
            data=data_link(self.table, "%.4g"),
            code=code([(function, arguments, self.name)]),
        )


def drawn(study: Study, plans: Iterable[Plan]) -> Iterator[Shown]:
    """Those that the study has data for."""
    for plan in plans:
        shown = plan.shown(study)
        if shown is not None:
            yield shown


def code(calls: Sequence[tuple[str, Sequence[str], str]]) -> str:
    """The lines that draw figures: of each the function, its arguments and the file's name."""
    lines = (
        f"study.plot.{function}({', '.join(map(repr, arguments))})"
        f'{"" if function == "depth_profiles" else ".figure"}.savefig("{name}.svg")\n'
        for function, arguments, name in calls
    )
    return _OPEN + "".join(lines)


def inline(svg: str) -> Markup:
    """SVG to put into a page: no prolog, as wide as its words are easily read, no fixed height."""
    head, start, rest = _PROLOG.sub("", svg).partition(">")
    head = _HEIGHT.sub("", _WIDTH.sub(_in_pixels, head))
    return Markup(f'{head} aria-hidden="true" focusable="false"{start}{rest.strip()}')


def _in_pixels(width: re.Match[str]) -> str:
    return f' width="{float(width[1]) * PIXELS_PER_POINT:.0f}"'


def _figure_of(drawn: Axes | Figure) -> Figure:
    figure = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
    assert figure is not None  # of Axes that have just been drawn into
    return figure


def ranked(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows that have a value, the least first."""
    return table[table[column].notna()].sort_values(column, kind="stable")


def wide(table: pd.DataFrame, column: str, quantity: str | None = None) -> pd.DataFrame:
    """Layers down, methods across."""
    chosen = table if quantity is None else table[table["quantity"] == quantity]
    return chosen.pivot_table(
        column, index="layer", columns="method", aggfunc="first", sort=False
    ).reset_index()
