"""Class names and indices, from folders or from labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from normstats.inputs.images.source import Labels


def by_folder(names: Sequence[str]) -> tuple[tuple[str, ...], Labels | None]:
    """The first-level folders as classes, and the class of each name.

    None, if an image lies in no folder.

    Args:
        names: relative, with ``/``.
    """
    folders = [name.partition("/")[0] if "/" in name else "" for name in names]
    if "" in folders:
        return (), None
    return by_value(folders)


def by_value(values: Sequence[str] | Sequence[int] | Labels) -> tuple[tuple[str, ...], Labels]:
    """The distinct values, sorted, as classes, and the class of each value."""
    distinct, labels = np.unique(np.asarray(values), return_inverse=True)
    return tuple(str(value) for value in distinct), labels.astype(np.int64).reshape(-1)


def told_apart(names: Iterable[str]) -> tuple[str, ...]:
    """The names, with the index added to those that occur more than once."""
    listed = list(names)
    count = Counter(listed)
    return tuple(f"{name} ({i})" if count[name] > 1 else name for i, name in enumerate(listed))
