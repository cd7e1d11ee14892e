"""Further questions to the same moments; each part of a study answers one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from normstats import composition as compositions
from normstats import mixing as mixtures
from normstats import plane as planes
from normstats.grouping import grouping_tables
from normstats.layerwise import Progress
from normstats.moments import Moments
from normstats.population import Weighting

GROUPS = (32,)


@dataclass(frozen=True)
class Part:
    """The answer to one further question.

    Attributes:
        settings: what it was asked with; JSON.
        tables: by name; each is a CSV file of a run.
        about: what is in no table, such as correlations; JSON.
        notes: what could not be had; sentences.
    """

    settings: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame]
    about: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Source:
    """What every part is computed from.

    Attributes:
        moments: the captured layers.
        weights: how channels count in their layer's average.
        seed: of the random numbers.
        progress: told the number of layers done.
    """

    moments: Moments
    weights: Weighting
    seed: int
    progress: Progress | None = None

    def grouping(self, groups: Sequence[int] = GROUPS) -> Part:
        """Index groups against random and chosen ones, and the best order of the channels."""
        found = grouping_tables(
            self.moments,
            groups,
            weights=self.weights,
            seed=self.seed,
            progress=self.progress,
        )
        return Part(
            settings={"groups": list(groups)},
            tables={
                "grouping": found.tests,
                "arrangements": found.arrangements,
                "orders": found.orders,
            },
            notes=found.notes,
        )

    def plane(self, batches: Sequence[int] = planes.DEFAULT_BATCHES) -> Part:
        """Every batch size with every group size."""
        table = planes.plane_table(
            self.moments, batches, weights=self.weights, seed=self.seed, progress=self.progress
        )
        return Part(settings={"batches": list(batches)}, tables={"plane": table})

    def composition(self, batches: Sequence[int] = compositions.DEFAULT_BATCHES) -> Part:
        """Batches of one class, of all classes alike, and of any images."""
        classes = compositions.class_table(self.moments, weights=self.weights)
        table = compositions.composition_table(
            self.moments, batches, weights=self.weights, seed=self.seed, progress=self.progress
        )
        return Part(
            settings={"batches": list(batches)},
            tables={"classes": classes, "composition": table},
        )

    def mixing(
        self,
        others: str = mixtures.DEFAULT_OTHERS,
        batches: Sequence[int] = mixtures.DEFAULT_BATCHES,
    ) -> Part:
        """The best mixes of BatchNorm with other methods."""
        table = mixtures.mixing_table(
            self.moments,
            others,
            batches,
            weights=self.weights,
            seed=self.seed,
            progress=self.progress,
        )
        return Part(settings={"others": others, "batches": list(batches)}, tables={"mixing": table})
