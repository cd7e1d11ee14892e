"""A validation in the terminal: what the output does, and whether the numbers foretold it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from normstats.printable import printable
from normstats.run_folder import to_json
from normstats_reports.terminal import compact

if TYPE_CHECKING:
    from normstats.validation import Validation  # imports torch

_COLUMNS = {
    "error": "error",
    "kl": "KL",
    "agreement": "same\ntop class",
    "accuracy": "accuracy",
    "residual": "residual",
    "kl_refit": "KL, affine\nre-fitted",
    "agreement_refit": "same\ntop class",
    "accuracy_refit": "accuracy",
}
_SHARES = ("agreement", "accuracy")
LIMITS = (
    "One layer is changed at a time in a network trained with its own layers; a network trained "
    "with the other method would have learned around some of it."
)


def print_validation(console: Console, validation: Validation) -> None:
    """Means over layers by method, then the correlations with what they mean."""
    console.print(Text("What the output does when one layer's statistics are replaced", "bold"))
    console.print(Text(f"{_origin(validation)}; means over layers, KL in nats", "dim"))
    console.print(_methods(validation))
    console.print(Text("\nDo the predictions rank the methods?", "bold"))
    sentences = Table.grid(padding=(0, 1, 0, 0))
    for sentence in _sentences(validation):
        sentences.add_row(" •", Text(printable(sentence)))
    console.print(sentences)
    console.print(Text(f"\n{LIMITS}", "dim"))


def print_validation_json(console: Console, validation: Validation) -> None:
    """All of it as one JSON object."""
    part = validation.part()
    content = {**part.about, "notes": part.notes, "settings": part.settings, **part.tables}
    console.out(to_json(content), end="", highlight=False)


def _origin(validation: Validation) -> str:
    layers = validation.table["layer"].nunique()
    accuracy = validation.accuracy
    known = f"; accuracy with ideal statistics {accuracy:.1%}" if math.isfinite(accuracy) else ""
    return f"{validation.images:,} images, {layers} layers{known}"


def _methods(validation: Validation) -> Table:
    means = validation.by_method()
    columns = {name: title for name, title in _COLUMNS.items() if means[name].notna().any()}
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("method")
    for title in (*columns.values(), "layers"):
        table.add_column(title, justify="right", no_wrap=True)
    for method, row in means.iterrows():
        cells = [
            f"{row[name]:.1%}" if name.startswith(_SHARES) else compact(row[name])
            for name in columns
        ]
        table.add_row(printable(method), *cells, f"{row['layers']:.0f}")
    return table


def _sentences(validation: Validation) -> list[str]:
    found = validation.correlations
    return [
        *_correlation(
            "the error", "KL", found.error_within_layers, found.error_overall, found.layers
        ),
        *_correlation(
            "the residual",
            "KL with the affine re-fitted",
            found.residual_within_layers,
            found.residual_overall,
            found.layers,
        ),
        *validation.notes,
    ]


def _correlation(
    predicted: str, measured: str, within: float, overall: float, layers: int
) -> list[str]:
    if not math.isfinite(within):
        return [
            f"Whether {predicted} ranks the methods as {measured} does cannot be told: that takes "
            "three methods or more in a layer, and differences between them."
        ]
    return [
        f"Within a layer {predicted} {_how_well(within)} the methods as {measured} does: the rank "
        f"correlation is {within:.2f} (Spearman's, mean over {layers} layers; 1: the same order).",
        f"Over all layers and methods at once it is {overall:.2f}: layers differ in how much the "
        "output depends on them.",
    ]


def _how_well(correlation: float) -> str:
    if correlation >= 0.9:
        return "ranks"
    return "mostly ranks" if correlation >= 0.7 else "does not reliably rank"
