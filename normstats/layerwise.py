"""The same work on every layer, on all cores; how many there are changes no result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    *,
    threads: int | None = None,
) -> list[Result]:
    """``function(name, layer)`` of every layer, in the layers' order.

    Args:
        function: releases the interpreter's lock for most of its time, as numpy does.
        moments: the captured layers.
        progress: told the number of layers done.
        threads: at most, where each needs much memory; as many as cores by default.
    """
    cores = cpu_count() or 1
    widest_first = sorted(moments, key=lambda name: -moments[name].channels)
    results: dict[str, Result] = {}
    with ThreadPoolExecutor(max_workers=min(cores, threads or cores)) as pool:
        found = pool.map(lambda name: function(name, moments[name]), widest_first)
        for name, result in zip(widest_first, found, strict=True):
            results[name] = result
            if progress is not None:
                progress(len(results))
    return [results[name] for name in moments]


def some_names(names: Sequence[str], most: int = 3) -> str:
    """A few of the layers' names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more layers" if more > 0 else "")
