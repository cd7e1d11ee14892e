"""The search for groups of equal size: similar channels, correlated ones, and the least bias.

Balanced k-means: all channels are assigned to groups at once, by an optimal assignment (scipy's
``linear_sum_assignment``) in which each group has C/G places; then the groups'
centres are taken anew (Malinen & Fränti 2014). The least bias is then refined by exchanges of two
channels. Everything is seeded; equal input gives equal groups.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from normstats.grouping.arrangements import ChannelBias, Members, block_sums
from normstats.population import Array

_ITERATIONS = 10  # of k-means
_PATIENCE = 2  # iterations without improvement
_ASSIGNED_AT_ONCE = 256  # channels; the time of an assignment grows with the third power
_EXCHANGED = 512  # channels a sweep
_SMALL = 64  # channels of layers that are searched from every start
_RESTARTS = 12  # from random groups, in small layers
_STARTS = 2  # in the others
_SWEEPS = 20
_SETTLED = 3e-3  # of the bias: a sweep that saves less is the last
_GAIN = 1e-9  # of the bias: less is rounding


def similar(bias: ChannelBias, groups: int, seed: int) -> Members:
    """Groups of channels with similar mean and standard deviation, ``(G, C/G)``.

    Balanced k-means of the points (μ, s), from a grid: strips of like μ, each cut by s. A channel
    counts w/s², so that distances are measured as the bias measures them.
    """
    points = np.stack([bias.mean, bias.std], axis=1)

    def centres(members: Members) -> Array:
        # A group without any live channel stands at the plain average.
        shares = bias.weight[members] + 1e-12 * bias.weight.mean()
        totals = (points[members] * shares[..., None]).sum(axis=1)
        return np.asarray(totals / shares.sum(axis=1)[:, None])

    def costs(members: Members) -> Array:
        return _distances(bias, *centres(members).T)

    def value(members: Members) -> float:
        return float(np.take_along_axis(costs(members).T, members, axis=1).sum())

    return _balanced_k_means(_grid(bias, groups), costs, value, np.random.default_rng(seed))


def _grid(bias: ChannelBias, groups: int) -> Members:
    """Channels sorted by μ and cut into about √G strips, each sorted by s and cut into groups."""
    by_mean = np.argsort(bias.mean, kind="stable").reshape(groups, -1)
    strips = np.array_split(by_mean, round(groups**0.5))
    by_std = [some.ravel()[np.argsort(bias.std[some.ravel()], kind="stable")] for some in strips]
    return np.concatenate(by_std).reshape(groups, -1)


def correlated(bias: ChannelBias, groups: int, seed: int) -> Members:
    """Groups of channels whose image means rise and fall together, ``(G, C/G)``.

    Balanced kernel k-means with the correlation of the image means over the images as kernel,
    from the channels sorted by which of G of them they correlate with most; those G are as
    little correlated as can be (each the one least correlated with those before it). A channel
    that never changes correlates with none.
    """
    spread = np.sqrt(np.diag(bias.covariance))
    inverse = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    correlation = bias.covariance * inverse * inverse[:, None]

    def costs(members: Members) -> Array:
        return np.stack([-correlation[some].mean(axis=0) for some in members], axis=1)

    def value(members: Members) -> float:
        return float(-block_sums(correlation, members).sum())

    nearest = np.full(bias.channels, -np.inf)
    seed_of = np.zeros(bias.channels, dtype=np.int64)
    apart = int(np.argmax(correlation.sum(axis=0)))
    for group in range(groups):
        seed_of[correlation[apart] > nearest] = group
        np.maximum(nearest, correlation[apart], out=nearest)
        nearest[apart] = np.inf
        apart = int(np.argmin(nearest))
    start = _members(seed_of, groups)
    return _balanced_k_means(start, costs, value, np.random.default_rng(seed))


def best(bias: ChannelBias, groups: int, starts: list[Members], seed: int) -> Members:
    """The groups with the least bias that a search finds, ``(G, C/G)``.

    Starts are ``starts``, a grid of μ and s, the channels sorted by s and, in layers of at most 64
    channels, twelve random arrangements. From each of them (in larger layers: from the two with
    the least bias) balanced k-means, a channel's cost in a group being its part of the bias if
    the group's E[M] and S0 stayed as they are. Then (in larger layers: from the better one)
    exchanges of two channels of different groups as long as they lower the bias. What is
    returned is never worse than any start.
    """
    generator = np.random.default_rng(seed)
    small = bias.channels <= _SMALL
    candidates = [
        *starts,
        _grid(bias, groups),
        np.argsort(bias.std, kind="stable").reshape(groups, -1),
        *(
            generator.permutation(bias.channels).reshape(groups, -1)
            for _ in range(_RESTARTS if small else 0)
        ),
    ]

    def value(members: Members) -> float:
        return float(bias.of_groups(members))

    def costs(members: Members) -> Array:
        return _distances(bias, *bias.pooled(members))

    candidates.sort(key=value)
    tried = candidates if small else candidates[:_STARTS]
    found = sorted((_balanced_k_means(some, costs, value, generator) for some in tried), key=value)
    refined = [_exchange(bias, some) for some in (found if small else found[:1])]
    return min([*refined, found[0]], key=value)


def _distances(bias: ChannelBias, mean: Array, std: Array) -> Array:
    """w/s²·[(mean − μ)² + (std − s)²] for each channel and group, ``(C, G)``."""
    squared = (mean - bias.mean[:, None]) ** 2 + (std - bias.std[:, None]) ** 2
    return np.asarray(bias.weight[:, None] * squared)


def _balanced_k_means(
    start: Members,
    costs: Callable[[Members], Array],
    value: Callable[[Members], float],
    generator: np.random.Generator,
) -> Members:
    """The best groups met on the way, assigning channels anew until nothing improves.

    The assignment is optimal where the channels are few; else for some whole groups at a time,
    other ones in each iteration.

    Args:
        start: ``(G, C/G)``.
        costs: what each channel costs in each group, ``(C, G)``.
        value: what is to be small.
        generator: chooses the groups that exchange channels.
    """
    groups, size = start.shape
    together = max(2, _ASSIGNED_AT_ONCE // size)
    members = lowest = start
    least, waiting = value(start), 0
    for _ in range(_ITERATIONS):
        cost = costs(members)
        members = members.copy()
        order = generator.permutation(groups) if together < groups else np.arange(groups)
        for first in range(0, groups, together):
            some = order[first : first + together]
            channels = members[some].reshape(-1)
            members[some] = channels[_assign(cost[channels][:, some])]
        now = value(members)
        waiting = 0 if now < least * (1 - 1e-4) else waiting + 1
        if now < least:
            least, lowest = now, members
        if waiting == _PATIENCE:
            break
    return lowest


def _assign(costs: Array) -> Members:
    """Groups of equal size with the least total of ``costs (K, G)``, ``(G, K/G)``."""
    channels, groups = costs.shape
    if groups == 2:  # those that gain most by the first group go there
        return np.argsort(costs[:, 0] - costs[:, 1], kind="stable").reshape(2, -1)
    size = channels // groups
    _, slots = linear_sum_assignment(np.repeat(costs, size, axis=1))
    return np.argsort(slots).reshape(groups, size)


def _exchange(bias: ChannelBias, members: Members) -> Members:
    """Exchange two channels of different groups wherever that lowers the bias.

    A sweep takes the channels that cost most (512 of them, where there are more), one after the
    other, and exchanges each with the channel where that saves most.
    """
    groups, size = members.shape
    group_of = np.empty(bias.channels, dtype=np.int64)
    group_of[members] = np.arange(groups)[:, None]
    every = np.arange(bias.channels)
    mean, std, weight = bias.mean, bias.std, bias.weight
    covariance, own = bias.covariance, np.diag(bias.covariance)
    # A group's bias follows from the sums of these over its channels, and from its block sum.
    terms = np.stack([mean, bias.variance + mean**2, weight, weight * mean, weight * std])
    sums = terms[:, members].sum(axis=-1)
    blocks = block_sums(covariance, members)
    shared = np.stack([covariance[some].sum(axis=0) for some in members])  # (G, C)
    shared_own = shared[group_of, every]

    def value(sums: Array, blocks: Array) -> Array:
        """bias² of groups, less a part that no exchange changes."""
        pooled = sums[0] / size
        expected = sums[1] / size - pooled**2 - blocks / size**2
        pooled_std = np.sqrt(np.maximum(expected, 0.0) + bias.epsilon)
        squares = sums[2] * (pooled**2 + pooled_std**2)
        return np.asarray(squares - 2 * (pooled * sums[3] + pooled_std * sums[4]))

    values = value(sums, blocks)
    least = float(bias.of_groups(members))
    for _ in range(_SWEEPS):
        before = values.sum()
        cost = _distances(bias, *bias.pooled(_members(group_of, groups)))[every, group_of]
        for c in np.argsort(-cost, kind="stable")[:_EXCHANGED]:
            here = group_of[c]
            change = terms - terms[:, c, None]
            apart = own[c] + own - 2 * covariance[c]
            here_blocks = blocks[here] + 2 * (shared[here] - shared[here, c]) + apart
            to_there = shared[:, c].take(group_of) - shared_own
            there_blocks = blocks.take(group_of) + 2 * to_there + apart
            here_values = value(sums[:, here, None] + change, here_blocks)
            there_values = value(sums.take(group_of, axis=1) - change, there_blocks)
            gain = values[here] + values.take(group_of) - here_values - there_values
            gain[group_of == here] = 0.0
            other = int(np.argmax(gain))
            if gain[other] <= _GAIN * least:
                continue
            there = group_of[other]
            sums[:, here] += change[:, other]
            sums[:, there] -= change[:, other]
            blocks[[here, there]] = here_blocks[other], there_blocks[other]
            values[[here, there]] = here_values[other], there_values[other]
            moved = covariance[other] - covariance[c]
            shared[here] += moved
            shared[there] -= moved
            group_of[c], group_of[other] = there, here
            touched = np.flatnonzero((group_of == here) | (group_of == there))
            shared_own[touched] = shared[group_of[touched], touched]
        if before - values.sum() <= _SETTLED * least:
            break
    return _members(group_of, groups)


def _members(group_of: NDArray[np.int64], groups: int) -> Members:
    """The channels of each group, ``(G, C/G)``, from the group of each channel."""
    return np.argsort(group_of, kind="stable").reshape(groups, -1)
