"""A layer's numbers for any method: averages over its channels, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from normstats.blocks import Blocks
from normstats.closed_forms import Groups
from normstats.decomposition import TERMS, Decomposition, decompose
from normstats.errors import MethodError
from normstats.estimators import Sampling, constant, sample, samples
from normstats.methods import Method, stored_statistics
from normstats.moments import LayerMoments
from normstats.own_methods import sample_own
from normstats.population import Array, Population, Weighting, channel_weights
from normstats.resampling import Resamples
from normstats.uncertainty import interval, standard_error

HEADLINES = ("error", "residual")  # what layers and methods are compared by
DEBIASED = ("mean_bias_sq", "var_bias_sq", "std_bias_sq", "error")
_QUANTILES = {"median": 0.5, "p90": 0.9}
_UNKNOWN = [np.nan] * len(_QUANTILES)


@dataclass(frozen=True)
class MethodValues:
    """One method in one layer.

    Attributes:
        terms: the layer's averages, by ``TERMS``.
        by_channel: the headline terms of the live channels.
        monte_carlo: without each block of draws, ``(K,)``; no array where nothing was drawn.
        images: without each block of images, ``(K,)``; one value where no image changes it; None
            where that is not known.
    """

    terms: Mapping[str, float]
    by_channel: Mapping[str, Array]
    monte_carlo: Mapping[str, Array | None]
    images: Mapping[str, Array | None]

    @classmethod
    def of(cls, decomposition: Decomposition, weights: Array) -> MethodValues:
        """Average a decomposition over the layer's live channels."""

        def averages(of: Decomposition | None) -> dict[str, Array | None]:
            return {term: None if of is None else of.average(term, weights) for term in TERMS}

        alive = weights > 0
        return cls(
            terms={term: float(decomposition.average(term, weights)) for term in TERMS},
            by_channel={term: getattr(decomposition, term)[alive] for term in HEADLINES},
            monte_carlo=averages(decomposition.monte_carlo),
            images=averages(decomposition.images),
        )

    def row(self) -> dict[str, float]:
        """The columns of ``errors`` that say how large."""
        values = dict(self.terms)
        for term in HEADLINES:
            values[f"{term}_standard_error"] = standard_error(self.monte_carlo[term])
            of_term = self.by_channel[term]
            found = np.quantile(of_term, list(_QUANTILES.values())) if of_term.size else _UNKNOWN
            for name, quantile in zip(_QUANTILES, found, strict=True):
                values[f"{term}_{name}"] = float(quantile)
        for term in TERMS:
            ends = interval(self.terms[term], self.images[term], self.monte_carlo[term])
            if term in DEBIASED:
                values[f"{term}_debiased"] = ends.debiased
            values[f"{term}_low"], values[f"{term}_high"] = ends.low, ends.high
        return values


@dataclass
class LayerValues:
    """A layer's values by method, each computed once.

    Attributes:
        layer: what was captured.
        weights: how much each channel counts, ``(C,)``.
        population: its ideal statistics.
    """

    layer: LayerMoments
    weighting: Weighting
    resamples: Resamples
    blocks: Blocks
    population: Population = field(init=False)
    weights: Array = field(init=False)
    _groups: dict[int, Groups] = field(default_factory=dict)  # one serves every batch size
    _known: dict[object, MethodValues | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.population = Population.of(self.layer, self.blocks)
        self.weights = channel_weights(self.population, self.layer.gamma, self.weighting)

    def groups(self, count: int) -> Groups:
        """The layer's channels pooled into ``count`` groups."""
        if count not in self._groups:
            self._groups[count] = Groups.of(self.population, count)
        return self._groups[count]

    def of(self, method: Method) -> MethodValues | None:
        """The method's values; None where its statistics are undefined.

        Raises:
            MethodError: the layer cannot have the method.
        """
        # bn@1, in and gn:C are one cell.
        cell = method if method.has_own_statistics else (method.batch, self.groups_of(method))
        if cell not in self._known:
            self._known[cell] = self._values(self._sampling(method))
        return self._known[cell]

    def compute(self, methods: Sequence[Method]) -> None:
        """Compute built-in methods together, which takes less time; ``of`` then knows them."""
        asked: dict[int, set[int]] = {}
        for method in methods:
            if method.has_own_statistics or method.batch in (None, 1):
                continue
            try:
                groups = method.groups_in(self.layer.channels)
            except MethodError:  # told by ``of``
                continue
            asked.setdefault(groups, set()).add(method.batch)
        for groups, batches in asked.items():
            for batch, sampling in samples(self.groups(groups), batches, self.resamples).items():
                self._known[batch, groups] = self._values(sampling)

    def groups_of(self, method: Method) -> int | None:
        """The number of groups; None for a method of one's own."""
        return None if method.has_own_statistics else method.groups_in(self.layer.channels)

    def _values(self, sampling: Sampling | None) -> MethodValues | None:
        if sampling is None:
            return None
        return MethodValues.of(decompose(self.population, sampling), self.weights)

    def _sampling(self, method: Method) -> Sampling | None:
        if method.has_own_statistics:
            return sample_own(method, self.layer, self.groups(self.layer.channels), self.resamples)
        if method.batch is None:
            return constant(*stored_statistics(self.layer), self.layer.epsilon)
        groups = method.groups_in(self.layer.channels)
        if method.batch == 1 and groups == self.layer.channels and self.layer.positions == 1:
            return None  # the variance of a single value
        return sample(self.groups(groups), method.batch, self.resamples)
