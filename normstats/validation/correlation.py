"""Does what was predicted rank the methods as what was measured does?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

_FEWEST = 3  # of two methods the ranks agree or not, by the toss of a coin


@dataclass(frozen=True)
class Correlations:
    """Spearman's rank correlations between prediction and measured KL divergence.

    ``within_layers`` is the mean over layers of the correlation over methods, ``overall`` the
    correlation over all rows at once. The error is compared with the affine as it is, the
    residual with the affine re-fitted. NaN where there are too few methods or no differences.

    Attributes:
        layers: how many layers the means are over: those with three or more methods.
    """

    error_within_layers: float
    residual_within_layers: float
    error_overall: float
    residual_overall: float
    layers: int

    @classmethod
    def of(cls, table: pd.DataFrame) -> Correlations:
        """The correlations in a table with ``layer``, ``error``, ``residual``, ``kl``,
        ``kl_refit``.
        """
        by_layer = [rows for _, rows in table.groupby("layer", sort=False)]
        error = [_spearman(rows["error"], rows["kl"]) for rows in by_layer]
        residual = [_spearman(rows["residual"], rows["kl_refit"]) for rows in by_layer]
        return cls(
            error_within_layers=_mean(error),
            residual_within_layers=_mean(residual),
            error_overall=_spearman(table["error"], table["kl"]),
            residual_overall=_spearman(table["residual"], table["kl_refit"]),
            layers=int(np.isfinite(error).sum()),
        )


def _spearman(predicted: pd.Series[float], measured: pd.Series[float]) -> float:
    """The rank correlation of what is finite in both; NaN where it is undefined."""
    from scipy.stats import spearmanr

    both = np.isfinite(predicted) & np.isfinite(measured)
    predicted, measured = predicted[both], measured[both]
    if len(predicted) < _FEWEST or predicted.nunique() < 2 or measured.nunique() < 2:
        return float("nan")
    return float(spearmanr(predicted, measured).statistic)


def _mean(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
