"""What a validation found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from normstats.parts import Part
from normstats.validation.correlation import Correlations


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

    def part(self) -> Part:
        """As a part of a study: ``study.parts["validation"] = validation.part()``."""
        return Part(
            settings=self.settings,
            tables={"validation": self.table},
            about={
                "correlations": asdict(self.correlations),
                "accuracy": self.accuracy,
                "images": self.images,
            },
            notes=self.notes,
        )
