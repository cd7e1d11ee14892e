"""Plain loops made into machine code by numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])

_OPTIONS = {
    "nogil": True,
    "error_model": "numpy",  # what is divided by zero is infinite or NaN, not an exception
    # Sums may be taken in any order, as vector instructions need; NaN and infinity stay what they
    # are. All values are centred before, so that the order costs no digits.
    "fastmath": {"reassoc", "contract", "nsz"},
}


def compiled(function: _Function) -> _Function:
    """Machine code for every type that comes, kept on disk from run to run where that can be."""
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # neither the package's folder nor the user's can be written to
        return numba.njit(**_OPTIONS)(function)  # type: ignore[no-any-return]
