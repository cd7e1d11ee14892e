"""Which methods are tried in which layers, with what was predicted for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from normstats.errors import MethodError
from normstats.methods import Method, parse_methods
from normstats.moments import LayerMoments
from normstats.printable import first_few
from normstats.validation.normalization import Indices, Normalization, normalization, refitted

if TYPE_CHECKING:
    from normstats.study import Study

PREDICTED = ("error", "residual")


@dataclass(frozen=True)
class Swap:
    """A method in the place of a layer's own.

    Attributes:
        method: its name.
        error: predicted, in units of σ²; NaN where it has no value.
        residual: predicted.
        kept: with the layer's affine as it is.
        refit: with the affine re-fitted.
    """

    method: str
    error: float
    residual: float
    kept: Normalization
    refit: Normalization


def make_swaps(
    layers: Mapping[str, LayerMoments],
    errors: pd.DataFrame,
    methods: Sequence[Method],
    order: Indices,
    images: int,
) -> tuple[dict[str, list[Swap]], list[str]]:
    """The swaps of each layer, and one sentence for each method and reason why it is left out.

    Args:
        layers: the captured layers.
        errors: the study's table.
        methods: those to try.
        order: all images in random order ``(N,)``.
        images: how many of them are looked at.

    Raises:
        MethodError: no layer can have any of the methods.
    """
    predicted = errors.set_index(["layer", "method"])[list(PREDICTED)]
    swaps: dict[str, list[Swap]] = {}
    reasons: dict[tuple[str, str], list[str]] = {}
    for name, layer in layers.items():
        for method in methods:
            try:
                kept = normalization(method, layer, order, images)
            except MethodError as error:
                reasons.setdefault((str(method), error.message), []).append(name)
                continue
            row = predicted.reindex([(name, str(method))]).iloc[0]
            refit = refitted(kept, layer, order[:images])
            swap = Swap(str(method), float(row["error"]), float(row["residual"]), kept, refit)
            swaps.setdefault(name, []).append(swap)
    notes = [
        f"{method} is left out of {first_few(names, 3)}: {reason.rstrip('.')}."
        for (method, reason), names in reasons.items()
    ]
    if not swaps:
        raise MethodError(
            "None of the methods is possible in any layer: " + " ".join(notes),
            "Ask for others with --methods, e.g. bn@2,bn@8,ln.",
        )
    return swaps, notes


def choose_methods(
    study: Study, methods: str | Iterable[str | Method] | None
) -> tuple[list[Method], list[str]]:
    """The methods to try, and sentences on those of the study that cannot be.

    Args:
        study: what was predicted.
        methods: some of the study's; None for all.

    Raises:
        MethodError: one is no method, or the study says nothing about it.
    """
    known = list(dict.fromkeys(study.errors()["method"]))
    if methods is not None:
        chosen = parse_methods(methods)
        for method in chosen:
            if str(method) not in known:
                raise MethodError(
                    f"Nothing is predicted for {method}: it was not analyzed.",
                    f"Analyze again with it, or choose among {', '.join(known)}.",
                )
        return chosen, []
    named = {name: _built_in(name) for name in known}
    notes = [
        f"{name} is left out: it is a method of one's own; give it to normstats.validate in Python."
        for name, method in named.items()
        if method is None
    ]
    return [method for method in named.values() if method is not None], notes


def _built_in(name: str) -> Method | None:
    try:
        return Method.parse(name)
    except MethodError:
        return None
