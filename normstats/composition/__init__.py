"""How batches are put together: by class, or in any order."""

from normstats.composition.classes import COMPOSITIONS, Classes
from normstats.composition.composed import (
    DEFAULT_BATCHES,
    ClassShare,
    ComposedBatches,
    class_share,
    class_table,
    composition_table,
)
from normstats.composition.given import BatchErrors, batches_table, errors_of_batches

__all__ = [
    "COMPOSITIONS",
    "DEFAULT_BATCHES",
    "BatchErrors",
    "ClassShare",
    "Classes",
    "ComposedBatches",
    "batches_table",
    "class_share",
    "class_table",
    "composition_table",
    "errors_of_batches",
]
