"""The figures of one study, one call away: ``study.plot.tradeoff("layer1.0.bn1")``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from normstats.study import Study
from normstats_reports import figures


class Plots:
    """Every figure of ``normstats_reports.figures`` as a method, its study given."""

    def __init__(self, study: Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in self.__dir__():
            raise AttributeError(f"There is no figure {name!r}; there are {', '.join(dir(self))}.")
        return partial(getattr(figures, name), self._study)

    def __dir__(self) -> list[str]:
        return sorted(name for name in figures.__all__ if name not in ("figure_svg", "off_screen"))
