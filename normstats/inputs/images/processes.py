"""Reading in several processes, in the same order as in one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import torch

from normstats.errors import ImagesError
from normstats.inputs.images.reading import Reader, Reading
from normstats.printable import printable

# What a process is given to read at once; a few images, since they wait in memory for their turn.
_BYTES_AT_ONCE = 8 << 20
_IMAGES_AT_ONCE = 16


def read_in_order(reader: Reader, indices: Sequence[int], workers: int) -> Iterator[Reading]:
    """Read the images of ``indices``, in their order.

    Args:
        reader: reads one image.
        indices: of the images.
        workers: processes that read; 0 reads in this one. More than there are processors are of
            no use, and not started.

    Raises:
        ImagesError: a process died, or none could be started.
    """
    workers = min(workers, _processors())
    if workers == 0:
        yield from map(reader, indices)
        return
    pool = ProcessPoolExecutor(workers, initializer=_start, initargs=(reader,))
    waiting: deque[tuple[Sequence[int], Future[list[Reading]]]] = deque()
    given, at_once = 0, 1
    try:
        while given < len(indices) or waiting:
            ahead = 2 * workers if at_once > 1 else workers
            try:
                while given < len(indices) and len(waiting) < ahead:
                    chunk = indices[given : given + at_once]
                    waiting.append((chunk, pool.submit(_read, chunk)))
                    given += len(chunk)
                readings = waiting[0][1].result()
            except (BrokenProcessPool, OSError) as error:
                first, last = waiting[0][0][0] if waiting else indices[given], indices[given - 1]
                raise _died(reader, first, last) from error
            waiting.popleft()
            yield from readings
            at_once = _fitting(readings)
    finally:
        pool.shutdown(cancel_futures=True)


def _fitting(readings: Sequence[Reading]) -> int:
    """How many images of such a size to read at once."""
    largest = max((r.image.nbytes for r in readings if r.image is not None), default=0)
    return max(1, min(_IMAGES_AT_ONCE, _BYTES_AT_ONCE // max(largest, 1)))


def _processors() -> int:
    """Those that this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _died(reader: Reader, first: int, last: int) -> ImagesError:
    names = reader.source.listing.names
    return ImagesError(
        "A process that reads images died, at one of those from "
        f"{printable(names[first])} to {printable(names[last])}.",
        "Perhaps memory ran out: try --workers 1 or --workers 0. If it is one image, remove it.",
    )


# What follows runs in the processes.

_reader: Reader | None = None


def _start(reader: Reader) -> None:
    global _reader
    _reader = reader
    torch.set_num_threads(1)  # the processes share the processors
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends them
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed tells nobody; its processes would wait for work for ever."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _read(indices: Sequence[int]) -> list[Reading]:
    if _reader is None:
        raise RuntimeError("not started")
    return [_reader(index) for index in indices]
