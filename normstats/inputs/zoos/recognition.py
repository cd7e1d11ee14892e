"""Recognition: which architecture of the zoos a checkpoint's weights are of.

Names and shapes alone are compared, with wrappers' prefixes taken off, and heads for other numbers
of classes let pass, as when the weights are loaded. Of each family of architectures a few
samples say whether it is worth a closer look.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from normstats.inputs.checkpoints.matching import (
    Shapes,
    best_prefix,
    is_harmless,
    other_heads,
    prefixes,
    shapes,
    stripped,
)
from normstats.inputs.zoos import signatures, torchvision_zoo
from normstats.inputs.zoos.signatures import Zoo
from normstats.printable import first_few

# Which families are looked at closely. Of timm's 1,371 architectures, 1,355 are in one of the four
# families whose samples look most like them, and 1,351 in one that looks 0.7 times as like as the
# first does.
_MOST_FAMILIES = 5
_LEAST_OF_BEST = 0.7
_LEAST_ALIKE = 0.1
_SHOWN = 3

# The names of weights with every number replaced, and how many axes each has.
_Pattern = frozenset[tuple[str, int]]


@dataclass(frozen=True)
class Comparison:
    """How a checkpoint's weights meet those of an architecture.

    Attributes:
        spec: the architecture, as ``build_architecture`` takes it.
        missing: names that only the architecture has.
        unexpected: names that only the checkpoint has.
        differing: names of weights with other shapes, other than of heads.
        aside: names of weights that belong to something else than the network.
    """

    spec: str
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    aside: tuple[str, ...] = field(default=(), repr=False)

    @property
    def is_exact(self) -> bool:
        """Whether the weights can be loaded."""
        return not (self.missing or self.unexpected or self.differing)

    def __str__(self) -> str:
        """``torchvision:resnet50: 2 missing (fc.weight, fc.bias)``"""
        parts = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape": self.differing,
        }
        told = [
            f"{len(names)} {what} ({first_few(names, _SHOWN)})"
            for what, names in parts.items()
            if names
        ]
        return f"{self.spec}: {'; '.join(told) or 'fits exactly'}"


@dataclass(frozen=True)
class Recognition:
    """What the weights may be of.

    Attributes:
        exact: the architectures that fit, as ``build_architecture`` takes them.
        nearest: where none fits, those that come nearest, the nearest first.
    """

    exact: tuple[str, ...]
    nearest: tuple[Comparison, ...] = ()


def recognise(tensors: Mapping[str, Tensor]) -> Recognition:
    """Compare weights with the architectures of torchvision and, where installed, of timm.

    timm is asked where torchvision has none that fits.
    """
    given = shapes(tensors)
    compared: list[Comparison] = []
    for open_zoo in (signatures.torchvision, signatures.timm):
        zoo = open_zoo()
        if zoo is None:
            continue
        found = _search(zoo, given)
        exact = [comparison for comparison in found if comparison.is_exact]
        if exact:
            # What leaves the least aside explains the most.
            least = min(len(comparison.aside) for comparison in exact)
            return Recognition(tuple(c.spec for c in exact if len(c.aside) == least))
        compared += found
    compared.sort(key=lambda c: len(c.missing) + len(c.unexpected) + len(c.differing))
    return Recognition((), tuple(compared[:_SHOWN]))


def fits(tensors: Mapping[str, Tensor], zoo: Zoo, name: str) -> bool:
    """Whether the weights are of that architecture."""
    return _compare(shapes(tensors), zoo.signature(name), "").is_exact


def _search(zoo: Zoo, given: Shapes) -> list[Comparison]:
    """The comparisons with the families that look like it; all those with exact matches."""
    compared: list[Comparison] = []
    reached = 0.0  # the likeness of the family where the first exact match was
    ranked = _ranked(zoo, given)[:_MOST_FAMILIES]
    for likeness, family in ranked:
        if likeness < max(reached, _LEAST_OF_BEST * ranked[0][0], _LEAST_ALIKE):
            break
        found = [
            _compare(given, signature, f"{zoo.name}:{name}")
            for name, signature in zoo.members(family).items()
        ]
        if not reached and any(comparison.is_exact for comparison in found):
            reached = likeness
        compared += found
    return compared


def _ranked(zoo: Zoo, given: Shapes) -> list[tuple[float, str]]:
    """The families, those that look most like it first; likeness is from 0 to 1."""
    faces = [_pattern(given, prefix) for prefix in prefixes(given)]
    likenesses = [
        (max((_likeness(faces, _pattern(s)) for s in samples.values()), default=0.0), family)
        for family, samples in zoo.samples().items()
    ]
    return sorted(likenesses, key=lambda ranked: -ranked[0])


def _likeness(faces: Iterable[_Pattern], sample: _Pattern) -> float:
    return max(len(face & sample) / max(len(face | sample), 1) for face in faces)


def _pattern(signature: Shapes, prefix: str = "") -> _Pattern:
    return frozenset(
        (re.sub(r"\d+", "#", name[len(prefix) :]), len(shape))
        for name, shape in signature.items()
        if name.startswith(prefix) and not is_harmless(name)
    )


def _compare(given: Shapes, wanted: Shapes, spec: str) -> Comparison:
    inside, aside = stripped(given, best_prefix(given, wanted), wanted)
    heads = other_heads(inside, wanted)
    return Comparison(
        spec,
        missing=tuple(n for n in wanted if n not in inside and not _may_be_missing(n, inside)),
        unexpected=tuple(n for n in inside if n not in wanted and not is_harmless(n)),
        differing=tuple(
            name
            for name, shape in wanted.items()
            if inside.get(name, shape) != shape
            and not is_harmless(name)
            and name.rpartition(".")[0] not in heads
        ),
        aside=tuple(aside),
    )


def _may_be_missing(name: str, inside: Shapes) -> bool:
    """Counters may; so may an auxiliary head as a whole."""
    if is_harmless(name):
        return True
    return name.startswith(torchvision_zoo.AUXILIARY) and not any(
        given.startswith(torchvision_zoo.AUXILIARY) for given in inside
    )
