"""Where things are printed: results on stdout, everything else on stderr.

Rich is imported when something is printed: `normstats --help` comes faster without.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from normstats.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from normstats.errors import NormstatsError

_WIDTH_OF_A_FILE = 120  # rich takes 80 where stdout is no terminal


def results() -> Console:
    """Stdout: results only, and no codes but in a terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return Console(highlight=False, width=_WIDTH_OF_A_FILE)


def messages() -> Console:
    """Stderr: progress, notes and errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def note(text: str, *, quiet: bool = False) -> None:
    """A message for the user; not part of the result."""
    if not quiet:
        from rich.text import Text

        messages().print(Text(_lines(text), style="dim"))


def print_error(error: NormstatsError) -> None:
    """What happened and how to mend it, in two lines or so."""
    from rich.text import Text

    console = messages()
    console.print(Text.assemble(("Error: ", "bold red"), _lines(error.message)))
    console.print(Text.assemble(("Hint: ", "bold"), _lines(error.hint)))


def _lines(text: str) -> str:
    """The text with its line ends, but no other control character, so that no name drives us."""
    return "\n".join(map(printable, text.split("\n")))


def working(text: str, *, quiet: bool) -> AbstractContextManager[object]:
    """A sign of life on stderr for what may take long, such as a download or a recognition."""
    console = messages()
    return nullcontext() if quiet or not console.is_terminal else console.status(text)


@contextmanager
def progress(what: str, total: int | None, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr; gives a function that is told how much is done."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = messages()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        disable=quiet or not console.is_terminal,
    )
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
