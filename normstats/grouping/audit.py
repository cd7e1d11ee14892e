"""Are channels that share a group by index more alike than chance? Would other groups be better?

GroupNorm pools channels that lie side by side. Here its groups are compared with random groups
of the same size (a permutation test of the bias) and with groups that were chosen: by similar
mean and standard deviation, by correlated activity, and the best that a search finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normstats.closed_forms import Groups
from normstats.decomposition import TERMS, bias_and_variance, decompose
from normstats.errors import LayerError, MethodError, SettingError
from normstats.estimators import sample
from normstats.grouping.arrangements import ChannelBias, Members, as_order
from normstats.grouping.search import best, correlated, similar
from normstats.population import Array, Population
from normstats.resampling import Resamples

Order = NDArray[np.int64]

PERMUTATIONS = 1000
ARRANGEMENTS = ("index", "random", "similar", "correlated", "best")
_TIE = 1e-9  # of the bias: the same groups, summed in another order
_CHANNELS_AT_ONCE = 512


@dataclass(frozen=True)
class Arrangement:
    """One way to put a layer's channels into groups, and what it costs: GroupNorm, one image.

    Attributes:
        order: the channels, ``(C,)``; group g holds the g-th run of C/G of them.
        bias_sq: mean_bias_sq + std_bias_sq, of σ².
        closed_bias_sq: the same with √(E[V] + ε) for E[S] (see ``ChannelBias``), of σ².
        error: of σ².
        residual: a share.
    """

    order: Order
    bias_sq: float
    closed_bias_sq: float
    error: float
    residual: float


@dataclass(frozen=True)
class Audit:
    """One layer's index groups against random and against chosen ones.

    Attributes:
        groups: G.
        arrangements: by name, as in ``ARRANGEMENTS``; ``random`` is the one of median bias.
        random_bias_sq: the closed bias² of every random arrangement, ``(permutations,)``.
    """

    groups: int
    arrangements: Mapping[str, Arrangement]
    random_bias_sq: Array

    @property
    def p_value(self) -> float:
        """(1 + #{random bias² ≤ index bias²}) / (1 + permutations).

        Small where channels that share a group by index are more alike than chance. Were the
        order of the channels arbitrary, it would be uniform (a permutation test, Phipson & Smyth
        2010, that counts the index order itself; ties count against it).
        """
        index = self.arrangements["index"].closed_bias_sq
        as_low = np.count_nonzero(self.random_bias_sq <= index * (1 + _TIE))
        return (1 + as_low) / (1 + self.random_bias_sq.size)

    @property
    def best(self) -> Order:
        """The best order found, ``(C,)``."""
        return self.arrangements["best"].order

    def saved(self, term: str, by: str = "best") -> float:
        """1 − value/value of the index groups, for ``bias_sq``, ``error`` or ``residual``."""
        index = getattr(self.arrangements["index"], term)
        chosen = getattr(self.arrangements[by], term)
        return 1 - chosen / index if index > 0 else 0.0


def audit(
    population: Population,
    weights: Array,
    groups: int,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Audit:
    """Compare the index groups of one layer with random and with chosen ones.

    Args:
        population: the layer's ideal statistics.
        weights: how much each channel counts, ``(C,)``, from ``channel_weights``.
        groups: G.
        permutations: random arrangements.
        seed: of the random arrangements and of the search.

    Raises:
        MethodError: G does not divide C, or leaves nothing to choose (1 and C).
        LayerError: no channel of the layer is live.
        SettingError: fewer than one permutation.
    """
    channels = population.channels
    if permutations < 1:
        raise SettingError(
            f"{permutations} permutations are too few to compare with.", "Ask for 1000 or so."
        )
    if groups < 1 or channels % groups:
        raise MethodError(
            f"{groups} groups do not divide the layer's channels",
            f"Choose a divisor of {channels}.",
        )
    if groups in (1, channels):
        raise MethodError(
            f"{groups} groups leave nothing to choose",
            f"Choose a divisor of {channels} between 1 and {channels}.",
        )
    if not weights.sum() > 0:
        raise LayerError("No channel is live", "Choose other layers.")
    bias = ChannelBias.of(population, weights)
    random, median = bias.of_random(groups, permutations, seed)
    index = np.arange(channels).reshape(groups, -1)
    members: dict[str, Members] = {
        "index": index,
        "random": median,
        "similar": similar(bias, groups, seed),
        "correlated": correlated(bias, groups, seed),
    }
    members["best"] = best(bias, groups, list(members.values()), seed)
    return Audit(
        groups=groups,
        arrangements={
            name: _arrangement(population, weights, bias, some) for name, some in members.items()
        },
        random_bias_sq=random,
    )


def _arrangement(
    population: Population, weights: Array, bias: ChannelBias, members: Members
) -> Arrangement:
    """The layer's averages for these groups, from all images; some groups at a time."""
    order = as_order(members)
    groups, size = members.shape
    step = max(1, _CHANNELS_AT_ONCE // size) * size
    totals = dict.fromkeys(TERMS, 0.0)
    for start in range(0, len(order), step):
        channels = order[start : start + step]
        part = population.take(channels)
        pooled = Groups.of(part, len(channels) // size)
        # Batches of one image: nothing is drawn.
        found = decompose(part, sample(pooled, 1, Resamples(population.images)))
        for term in totals:
            totals[term] += float(found.average(term, weights[channels]))
    return Arrangement(
        order=order,
        bias_sq=bias_and_variance(totals)[0],
        closed_bias_sq=float(bias.of_groups(order.reshape(groups, size))),
        error=totals["error"],
        residual=totals["residual"],
    )
