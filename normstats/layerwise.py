"""The same work on every layer, on all cores; how many there are changes no result."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from typing import TypeVar

from normstats.moments import LayerMoments, Moments

Result = TypeVar("Result")
Progress = Callable[[int], None]


def map_layers(
    function: Callable[[str, LayerMoments], Result],
    moments: Moments,
    progress: Progress | None = None,
) -> list[Result]:
    """``function(name, layer)`` of every layer, in the layers' order.

    Args:
        function: releases the interpreter's lock for most of its time, as numpy does.
        moments: the captured layers.
        progress: told the number of layers done.
    """
    results: list[Result] = []
    with ThreadPoolExecutor(max_workers=cpu_count()) as pool:
        for result in pool.map(lambda name: function(name, moments[name]), moments):
            results.append(result)
            if progress is not None:
                progress(len(results))
    return results
