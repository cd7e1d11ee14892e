"""The same work on every layer, on all cores; how many there are changes no result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from os import cpu_count
from threading import Condition
from typing import TypeVar

from normstats.moments import LayerMoments, Moments

Result = TypeVar("Result")
Progress = Callable[[int], None]

_BYTES = 3 << 30  # of the layers that are worked on at a time
_BYTES_OF_A_VALUE = 16  # mean and variance in float32, as they are read and channel by channel


def map_layers(
    function: Callable[[str, LayerMoments], Result],
    moments: Moments,
    progress: Progress | None = None,
    *,
    threads: int | None = None,
) -> list[Result]:
    """``function(name, layer)`` of every layer, in the layers' order.

    A layer is read when its turn comes and dropped after it. There is a thread for each core, but
    no more layers are worked on at a time than take 3 GiB together; a larger one is alone.

    Args:
        function: releases the interpreter's lock for most of its time, as numpy does.
        moments: the captured layers.
        progress: told the number of layers done.
        threads: at most, where each needs much memory; as many as cores by default.
    """
    sizes = {name: _BYTES_OF_A_VALUE * n * c for name, (n, c) in moments.shapes.items()}
    queue = _Queue(sizes)

    def of_next_layer(_: int) -> tuple[str, Result]:
        with queue.next() as name:
            return name, function(name, moments[name])

    cores = cpu_count() or 1
    results: dict[str, Result] = {}
    with ThreadPoolExecutor(max_workers=min(cores, threads or cores)) as pool:
        for name, result in pool.map(of_next_layer, range(len(sizes))):
            results[name] = result
            if progress is not None:
                progress(len(results))
    return [results[name] for name in moments]


class _Queue:
    """Layers that wait for their turn: the widest for which there is room comes first."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sizes = sizes
        self._waiting = sorted(sizes, key=lambda name: -sizes[name])
        self._taken = 0
        self._changed = Condition()

    @contextmanager
    def next(self) -> Iterator[str]:
        """A layer, for the time that it is worked on."""
        with self._changed:
            name = self._changed.wait_for(self._fitting)
            assert name is not None
            self._waiting.remove(name)
            self._taken += self._sizes[name]
        try:
            yield name
        finally:
            with self._changed:
                self._taken -= self._sizes[name]
                self._changed.notify_all()

    def _fitting(self) -> str | None:
        room = _BYTES - self._taken
        fitting = (name for name in self._waiting if self._sizes[name] <= room or not self._taken)
        return next(fitting, None)


def some_names(names: Sequence[str], most: int = 3) -> str:
    """A few of the layers' names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more layers" if more > 0 else "")
