"""What a validation found, and its two files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from normstats.errors import RunFolderError
from normstats.validation.correlation import Correlations

TABLE = "validation.csv"
ABOUT = "validation.json"


@dataclass(frozen=True)
class Validation:
    """What the network's output does when one layer's statistics are replaced.

    Attributes:
        table: a row per layer and method: ``layer, method``; the predicted ``error`` and
            ``residual`` (units of σ²); then, against the network with ideal statistics in that
            layer, ``kl`` (nats, mean over images), ``agreement`` (share of images with the same
            top class) and ``accuracy`` (NaN without labels) with the layer's affine as it is, and
            ``kl_refit, agreement_refit, accuracy_refit`` with the affine re-fitted.
        correlations: between predicted and measured.
        accuracy: of the network with ideal statistics, mean over the layers; NaN without labels.
        images: how many the output was compared on.
        notes: layers and methods that could not be tried, with the reason; sentences.
        settings: what was asked for.
    """

    table: pd.DataFrame
    correlations: Correlations
    accuracy: float
    images: int
    notes: tuple[str, ...]
    settings: Mapping[str, Any]

    def by_method(self) -> pd.DataFrame:
        """Means over layers, a row a method, and in how many layers it was tried."""
        groups = self.table.groupby("method", sort=False)
        means = groups.mean(numeric_only=True)
        return means.assign(layers=groups.size())

    def about(self) -> dict[str, Any]:
        """All but the table, for JSON; None where a number is not defined."""
        numbers = {"correlations": asdict(self.correlations), "accuracy": self.accuracy}
        return {
            **_without_nan(numbers),
            "images": self.images,
            "notes": list(self.notes),
            "settings": dict(self.settings),
        }

    def save(self, folder: str | Path) -> None:
        """Write ``validation.csv`` and ``validation.json`` into a run folder.

        Raises:
            RunFolderError: the disk refuses.
        """
        folder = Path(folder)
        text = json.dumps(self.about(), indent=1, ensure_ascii=False) + "\n"
        table = self.table.to_csv(index=False, lineterminator="\n")
        try:
            for name, content in ((TABLE, table), (ABOUT, text)):
                fresh = folder / f".{name}"
                fresh.write_text(content, encoding="utf-8", newline="\n")
                fresh.replace(folder / name)
        except OSError as error:
            raise RunFolderError(
                f"The validation cannot be written to {folder}: {error}",
                "Make room, or make the folder writable.",
            ) from error


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
