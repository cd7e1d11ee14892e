"""Plain loops made into machine code by numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])

# Sums may be taken in any order, as vector instructions need; NaN and infinity stay what they are.
# All values are centred before, so that the order costs no digits.
_FASTMATH = {"reassoc", "contract", "nsz"}


def compiled(function: _Function) -> _Function:
    """Machine code for every type that comes, kept on disk from run to run where that can be.

    The interpreter's lock is released; what is divided by zero is infinite or NaN. Compiled
    functions must not call each other: sums in any order come out otherwise in a function that was
    just compiled with another than in one read from disk, and a first run would differ from a
    second one in the last digits.
    """
    try:
        return _njit(function, cache=True)
    except RuntimeError:  # neither the package's folder nor the user's can be written to
        return _njit(function, cache=False)


def _njit(function: _Function, *, cache: bool) -> _Function:
    decorator: Any = numba.njit(cache=cache, nogil=True, error_model="numpy", fastmath=_FASTMATH)
    return cast(_Function, decorator(function))
