"""Names from files and checkpoints, made safe to print: others chose them."""

from __future__ import annotations

from collections.abc import Iterable


def printable(text: object) -> str:
    """``str(text)`` with control characters, line ends and broken Unicode written as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


def first_few(items: Iterable[object], most: int = 5) -> str:
    """``"a, b, c and 4 more"``, each made printable."""
    names = [printable(item) for item in items]
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
