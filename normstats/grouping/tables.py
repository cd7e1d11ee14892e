"""The grouping audits of several layers as tables, and the best orders of channels on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from normstats.errors import LayerError, MethodError, NormstatsError
from normstats.grouping.audit import PERMUTATIONS, Audit, Order, audit
from normstats.layerwise import Progress, map_layers, some_names
from normstats.moments import LayerMoments, Moments
from normstats.population import Population, Weighting, channel_weights

ARRANGEMENT_COLUMNS = (
    *("layer", "channels", "groups", "weights", "arrangement"),
    *("bias_sq", "closed_bias_sq", "error", "residual"),
)
TEST_COLUMNS = (
    *("layer", "channels", "groups", "weights", "permutations", "index_bias_sq", "random_bias_sq"),
    *("random_bias_sq_low", "random_bias_sq_high", "p_value", "q_value"),
    *("bias_sq_saved", "error_saved", "residual_saved"),
)
_THREADS = 4  # each holds a layer's moments in float64


@dataclass(frozen=True)
class GroupingTables:
    """The audits of several layers and numbers of groups.

    Attributes:
        arrangements: a row per layer, G and arrangement: what each costs.
        tests: a row per layer and G: index against random (p_value; q_value over the layers of
            the same G, Benjamini & Hochberg 1995; the random arrangements' mean and central 95 %)
            and what the best groups save (1 − best/index).
        orders: a row per layer, G and channel: the best order. Group g is the g-th run of C/G
            rows; ``orders_by_layer`` gives arrays.
        notes: what was left out and why.
    """

    arrangements: pd.DataFrame
    tests: pd.DataFrame
    orders: pd.DataFrame
    notes: tuple[str, ...]


def orders_by_layer(orders: pd.DataFrame) -> dict[tuple[str, int], Order]:
    """The best order of channels by layer and G, ``(C,)`` each, from ``GroupingTables.orders``."""
    cells = orders.groupby(["layer", "groups"], sort=False)["channel"]
    return {
        (str(layer), int(str(groups))): rows.to_numpy(copy=True) for (layer, groups), rows in cells
    }


def grouping_tables(
    moments: Moments,
    groups: int | Sequence[int] = 32,
    *,
    weights: Weighting = "gamma",
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    progress: Progress | None = None,
) -> GroupingTables:
    """Audit every layer; layers run in threads, and their number changes no result.

    Args:
        moments: the captured layers.
        groups: G, or several.
        weights: how channels count in their layer's average.
        permutations: random arrangements of each layer.
        seed: of the random arrangements and of the search; the same for every layer.
        progress: told the number of layers done.

    Raises:
        MethodError: no layer can be audited with any G.
        SettingError: fewer than one permutation.
    """
    counts = (groups,) if isinstance(groups, int) else tuple(dict.fromkeys(groups))

    def of_layer(layer: LayerMoments) -> list[Audit | NormstatsError]:
        population = Population.of(layer)
        shares = channel_weights(population, layer.gamma, weights)

        def of_groups(count: int) -> Audit | NormstatsError:
            try:
                return audit(population, shares, count, permutations=permutations, seed=seed)
            except (MethodError, LayerError) as error:
                return error

        return [of_groups(count) for count in counts]

    by_layer = map_layers(lambda _, layer: of_layer(layer), moments, progress, threads=_THREADS)
    cells = [
        (name, count, found)
        for name, of_counts in zip(moments, by_layer, strict=True)
        for count, found in zip(counts, of_counts, strict=True)
    ]
    notes = _notes([(name, found) for name, _, found in cells if not isinstance(found, Audit)])
    audits = {(name, g): found for name, g, found in cells if isinstance(found, Audit)}
    if not audits:
        raise MethodError(
            "No layer's groups can be audited: " + " ".join(notes),
            "Ask for a number of groups that divides the layers' channels.",
        )
    return GroupingTables(
        arrangements=_arrangements_table(audits, weights),
        tests=_tests_table(audits, weights),
        orders=_orders_table(audits),
        notes=notes,
    )


def _arrangements_table(
    audits: Mapping[tuple[str, int], Audit], weights: Weighting
) -> pd.DataFrame:
    rows = [
        (
            *(layer, some.order.size, groups, weights, name),
            *(some.bias_sq, some.closed_bias_sq, some.error, some.residual),
        )
        for (layer, groups), found in audits.items()
        for name, some in found.arrangements.items()
    ]
    return pd.DataFrame(rows, columns=list(ARRANGEMENT_COLUMNS))


def _orders_table(audits: Mapping[tuple[str, int], Audit]) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                "layer": layer,
                "groups": groups,
                "group": np.arange(found.best.size) // (found.best.size // groups),
                "channel": found.best,
            }
        )
        for (layer, groups), found in audits.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _tests_table(audits: Mapping[tuple[str, int], Audit], weights: Weighting) -> pd.DataFrame:
    from scipy.stats import false_discovery_control  # takes a second to import

    rows = []
    for (layer, groups), found in audits.items():
        index, random = found.arrangements["index"], found.random_bias_sq
        low, high = np.quantile(random, [0.025, 0.975])
        rows.append(
            (
                *(layer, index.order.size, groups, weights, random.size, index.closed_bias_sq),
                *(random.mean(), low, high, found.p_value, np.nan),
                *(found.saved(term) for term in ("bias_sq", "error", "residual")),
            )
        )
    table = pd.DataFrame(rows, columns=list(TEST_COLUMNS))
    by_groups = table.groupby("groups")["p_value"]
    return table.assign(q_value=by_groups.transform(lambda p: false_discovery_control(p)))


def _notes(left_out: Sequence[tuple[str, NormstatsError]]) -> tuple[str, ...]:
    """One sentence for each reason, naming some of the layers."""
    where: dict[str, list[str]] = {}
    for name, error in left_out:
        where.setdefault(error.message, []).append(name)
    return tuple(f"{reason}; left out: {some_names(names)}." for reason, names in where.items())
