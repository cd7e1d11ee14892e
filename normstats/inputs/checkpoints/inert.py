"""What stands beside the weights in a checkpoint: settings, paths, random states, callbacks.

Training programs store them with the weights. ``torch.load`` refuses the whole file for one of
them, and its own way out, ``safe_globals`` with the real classes, imports them and runs their
``__new__`` and ``__setstate__``: a NumPy scalar may hold a pickle, a hyper-parameter any code.
Instead each gets a stand-in through ``safe_globals``: a class that takes what it is given and does
nothing. So no list has to be trusted, no library has to be installed, and nothing can run. What is
still refused is what no training program has reason to ask for: to call a function, or to name a
piece of the standard library, that is not on the short list of plain values below.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from normstats.inputs.checkpoints.pickles import Asked

_NUMPY = ("numpy._core", "numpy.core")

# Plain values of the standard library and NumPy. Some are called to be made; none is ever run.
_PLAIN = frozenset(
    [
        "argparse.Namespace",
        "collections.defaultdict",
        "collections.deque",
        "copyreg._reconstructor",
        *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
        "decimal.Decimal",
        "functools.partial",
        *(
            f"{module}.{name}"
            for module in ("pathlib", "pathlib._local")
            for name in (
                *("Path", "PosixPath", "WindowsPath"),
                *("PurePath", "PurePosixPath", "PureWindowsPath"),
            )
        ),
        "types.SimpleNamespace",
        "uuid.UUID",
        *(
            f"builtins.{name}"
            for name in (
                *("bool", "bytes", "complex", "dict", "float", "frozenset", "int", "list"),
                *("object", "range", "set", "slice", "str", "tuple"),
            )
        ),
        *(f"typing.{name}" for name in ("Any", "Dict", "List", "Optional", "Tuple", "Union")),
        "numpy.dtype",
        "numpy.ndarray",
        *(f"{core}.multiarray.{name}" for core in _NUMPY for name in ("scalar", "_reconstruct")),
        *(
            f"numpy.random._pickle.__{name}_ctor"
            for name in ("randomstate", "generator", "bit_generator")
        ),
    ]
)

# What torch.load makes itself, from arguments that are looked at before.
MADE_BY_TORCH = frozenset(
    [
        "_codecs.encode",
        "builtins.complex",
        "builtins.set",
        "collections.Counter",
        "collections.OrderedDict",
        "torch.Size",
        "torch._tensor._rebuild_from_type_v2",
        *(
            f"torch._utils._rebuild_{name}"
            for name in (
                "meta_tensor_no_storage",
                "parameter",
                "parameter_with_state",
                "tensor",
                "tensor_v2",
                "tensor_v3",
            )
        ),
        "torch.device",
        "torch.serialization._get_layout",
    ]
)


class Inert:
    """Stands for an object of any class: takes everything, does nothing.

    Attributes:
        attributes: those that the object would have had.
    """

    attributes: Mapping[Any, Any] = {}

    def __init__(self, *_: Any) -> None:
        pass

    def __new__(cls, *_: Any) -> Any:
        """Without a look at the arguments."""
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, Mapping):
            self.attributes = state


class _InertDict(Inert):
    """Stands for a class of dictionaries; torch.load puts items into real ones only."""

    def __new__(cls, *_: Any) -> Any:
        return OrderedDict()


class _InertList(Inert):
    """Stands for a class of lists; torch.load puts items into real ones only."""

    def __new__(cls, *_: Any) -> Any:
        return []


def class_of(value: Inert) -> str:
    """The name of the class that ``value`` stands for."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def unwelcome(asked: Asked) -> str | None:
    """The first name in a pickle that no training program has reason to ask for, if any."""
    called = {made.name for made in asked.made if made.called}
    for name in sorted(asked.names):
        plain = name in _PLAIN or name in MADE_BY_TORCH
        if not plain and (name in called or name.partition(".")[0] in sys.stdlib_module_names):
            return name
    return None


def stand_ins(asked: Asked) -> list[type[Inert]]:
    """For ``safe_globals``: a stand-in for every name that torch.load does not make itself."""
    containers = {made.name: made.container for made in asked.made if made.container}
    return [
        _stand_in(name, _KINDS.get(containers.get(name), Inert))
        for name in sorted(asked.names - MADE_BY_TORCH)
    ]


_KINDS: dict[object, type[Inert]] = {dict: _InertDict, list: _InertList}


def _stand_in(name: str, kind: type[Inert]) -> type[Inert]:
    module, _, qualified = name.rpartition(".")
    # torch.load knows classes by these two.
    return type("Inert", (kind,), {"__module__": module, "__qualname__": qualified})
