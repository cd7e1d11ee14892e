"""The names and shapes of a checkpoint's tensors against an architecture's, without a network.

Shapes alone decide here, so that a checkpoint can be held against many architectures cheaply.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]

_Value = TypeVar("_Value")

# What wrappers and training programs put before the names of the weights, the likeliest first.
_PREFIXES = ("module", "_orig_mod", "model", "backbone", "encoder", "net", "network")
_PREFIX_CHAIN = re.compile(rf"(?:(?:{'|'.join(_PREFIXES)})\.)+")
_LONGEST_CHAIN = 8
# Counters that analysis tools and averaging leave among the weights.
_HARMLESS = ("num_batches_tracked", "total_ops", "total_params", "n_averaged")


def shapes(tensors: Mapping[str, Tensor]) -> Shapes:
    """The shapes of a state dict."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def is_harmless(name: str) -> bool:
    """Whether a tensor of that name may be missing or left over: a counter, not a weight."""
    return name.endswith(_HARMLESS)


def prefixes(names: Iterable[str]) -> list[str]:
    """What may stand before the weights' own names, the likeliest first; always begins with "".

    The usual prefixes of wrappers wherever they occur, and any other that more than half of the
    names share: Lightning modules call their networks what they like.
    """
    names = list(names)
    usual: set[str] = set()
    shared: Counter[str] = Counter()
    for name in names:
        chain = _PREFIX_CHAIN.match(name)
        usual.update(_beginnings(chain[0]) if chain else ())
        shared.update(_beginnings(name.rpartition(".")[0] + "."))
    others = {prefix for prefix, count in shared.items() if 2 * count > len(names)} - usual

    def likelihood(prefix: str) -> tuple[bool, int, list[int]]:
        parts = prefix.split(".")[:-1]
        known = [_PREFIXES.index(part) for part in parts] if prefix not in others else []
        return prefix in others, len(parts), known

    return ["", *sorted(usual | (others - {"."}), key=likelihood)]


def _beginnings(chain: str) -> list[str]:
    """``"a.", "a.b."`` for ``"a.b."``."""
    ends = [place + 1 for place, character in enumerate(chain) if character == "."]
    return [chain[:end] for end in ends[:_LONGEST_CHAIN]]


def best_prefix(given: Shapes, wanted: Shapes) -> str:
    """The prefix of ``given`` without which most names and shapes are ``wanted``'s.

    Of equals the likeliest is taken: none before a short one, a usual one before a rare one.
    """

    def matches(prefix: str) -> tuple[int, int]:
        start = len(prefix)
        common = [
            shape == wanted[name[start:]]
            for name, shape in given.items()
            if name.startswith(prefix) and name[start:] in wanted
        ]
        return sum(common), len(common)

    return max(prefixes(given), key=matches)  # max() keeps the first of equals


def stripped(
    given: Mapping[str, _Value], prefix: str, wanted: Container[str]
) -> tuple[dict[str, _Value], list[str]]:
    """``given`` without ``prefix``, and the names of those that belong to something else.

    Names without the prefix stay where they are ``wanted`` (a head beside ``backbone.``); the
    others are of another part of the training program. Counters are not worth a mention.
    """
    inside = {n[len(prefix) :]: value for n, value in given.items() if n.startswith(prefix)}
    aside = []
    for name, value in given.items():
        if name.startswith(prefix):
            continue
        if name in wanted and name not in inside:
            inside[name] = value
        elif not is_harmless(name):
            aside.append(name)
    return inside, aside


def other_heads(given: Shapes, wanted: Shapes) -> dict[str, int]:
    """How many outputs ``given`` has for each head, if such heads are all that differs in shape.

    A head is a linear layer or convolution whose inputs agree and whose outputs do not. Empty
    where nothing differs, or something else does. Names that only one side has are not looked at.

    Args:
        given: the checkpoint's shapes, its prefix stripped.
        wanted: the architecture's.
    """
    differing = {
        name.rpartition(".")[0]
        for name, shape in wanted.items()
        if name in given and given[name] != shape and not is_harmless(name)
    }
    heads = {}
    for head in sorted(differing):
        own = [name for name in wanted if name.rpartition(".")[0] == head]
        if not {name.rpartition(".")[2] for name in own} <= {"weight", "bias"}:
            return {}
        if not all(
            name in given and given[name] and given[name][1:] == wanted[name][1:] for name in own
        ):
            return {}
        outputs = {given[name][0] for name in own}
        if max(len(wanted[name]) for name in own) < 2 or len(outputs) != 1 or 0 in outputs:
            return {}
        heads[head] = outputs.pop()
    return heads
