"""BatchNorm's values over batch sizes, and how sure it is where they meet another method's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from normstats.layer_values import MethodValues
from normstats.methods import Method
from normstats.population import Array
from normstats.uncertainty import crossover_interval, standard_error


@dataclass(frozen=True)
class BatchCurve:
    """BatchNorm's values by batch size.

    Attributes:
        batches: ascending, ``(S,)``.
        values: None where they are not defined.
    """

    batches: tuple[int, ...]
    values: tuple[MethodValues | None, ...]

    @classmethod
    def of(cls, found: Mapping[Method, MethodValues | None]) -> BatchCurve:
        """Of the BatchNorms among these methods, whatever their order."""
        sizes = {method.batch: values for method, values in found.items() if method.is_batch_norm}
        batches = sorted(size for size in sizes if size is not None)
        return cls(tuple(batches), tuple(sizes[batch] for batch in batches))

    def level(self, term: str) -> Array:
        """``(S,)``."""
        return np.array([values.terms[term] if values else np.nan for values in self.values])

    def monte_carlo_error(self, term: str) -> Array:
        """``(S,)``."""
        return np.array(
            [
                standard_error(values.monte_carlo[term]) if values else np.nan
                for values in self.values
            ]
        )

    def without_images(self, term: str) -> Array:
        """Without each block of images in turn, ``(K, S)``."""
        columns = [values.images[term] if values else None for values in self.values]
        count = max((column.size for column in columns if column is not None), default=1)
        unknown = np.full(count, np.nan)
        return np.stack([unknown if column is None else column for column in columns], axis=-1)

    def crossover_ends(self, term: str, values: MethodValues | None) -> tuple[float, float]:
        """The confidence interval of B*: of the batch size at which the curve meets a method's.

        Args:
            term: ``"error"`` or ``"residual"``.
            values: the other method's, without the same blocks of images; None where it has none.
        """
        without = None if values is None else values.images[term]
        if values is None or without is None:
            return np.nan, np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            relative_error = np.hypot(
                self.monte_carlo_error(term) / self.level(term),
                np.float64(standard_error(values.monte_carlo[term])) / values.terms[term],
            )
        return crossover_interval(
            self.batches,
            self.level(term),
            values.terms[term],
            self.without_images(term),
            without,
            relative_error,
        )
