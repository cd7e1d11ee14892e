"""Normalization methods of the user's own, from a Python file."""

from __future__ import annotations

from normstats.errors import ArchitectureError, MethodError, did_you_mean
from normstats.inputs.user_code import user_code
from normstats.methods import Method


def load_method(spec: str) -> Method:
    """The ``normstats.Method`` that ``file.py:name`` names.

    Raises:
        MethodError: there is none, or its file fails.
    """
    try:
        with user_code(spec) as (module, name):
            found = getattr(module, name, None)
    except ArchitectureError as error:
        raise MethodError(error.message, error.hint) from error
    if isinstance(found, Method):
        return found
    own = [key for key, value in vars(module).items() if isinstance(value, Method)]
    raise MethodError(
        f"{spec} is no method.",
        did_you_mean(name, own)
        or "Write there: frn = normstats.Method.from_function('frn', function, batch=1).",
    )
