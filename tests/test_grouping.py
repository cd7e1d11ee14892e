"""The grouping audit against brute force, exhaustive search and layers whose groups are known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import kstest

from normstats import layerwise
from normstats.closed_forms import Groups
from normstats.decomposition import decompose
from normstats.errors import LayerError, MethodError, SettingError
from normstats.estimators import sample
from normstats.grouping.arrangements import ChannelBias, as_order
from normstats.grouping.audit import ARRANGEMENTS, audit
from normstats.grouping.search import correlated, similar
from normstats.grouping.tables import grouping_tables, orders_by_layer
from normstats.moments import LayerMoments, Moments
from normstats.population import Array, Population, channel_weights
from normstats.resampling import Resamples


def make_layer(
    channels: int, *, images: int = 30, seed: int = 0, spread: float = 1.0, gamma: bool = True
) -> LayerMoments:
    """Channels in arbitrary order, correlated through common factors."""
    generator = np.random.default_rng([seed, channels])
    std = np.exp(0.5 * spread * generator.normal(size=channels))
    factors = generator.normal(size=(images, 3)) @ generator.normal(size=(3, channels))
    noise = 0.2 * factors + 0.3 * generator.normal(size=(images, channels))
    return LayerMoments(
        mean=spread * generator.normal(size=channels) + std * noise,
        variance=std**2 * generator.gamma(4, 0.25, size=(images, channels)),
        gamma=generator.uniform(0.2, 1.0, channels) if gamma else None,
    )


def make_known_groups(channels: int, groups: int, *, seed: int = 0) -> LayerMoments:
    """Each group has a mean and a standard deviation that its channels nearly share."""
    layer = make_layer(channels, images=60, seed=seed, spread=0.05)
    generator = np.random.default_rng(seed)
    size = channels // groups
    scale = np.repeat(np.exp(0.7 * generator.normal(size=groups)), size)
    centre = np.repeat(2 * generator.normal(size=groups), size)
    return LayerMoments(
        mean=centre + scale * layer.mean, variance=scale**2 * layer.variance, gamma=layer.gamma
    )


def reordered(layer: LayerMoments, order: np.ndarray) -> LayerMoments:
    """The same layer with its channels in another order."""
    gamma = None if layer.gamma is None else layer.gamma[order]
    return LayerMoments(layer.mean[:, order], layer.variance[:, order], gamma=gamma)


def ready(layer: LayerMoments) -> tuple[Population, Array]:
    population = Population.of(layer)
    return population, channel_weights(population, layer.gamma, "gamma")


def bias_by_images(layer: LayerMoments, groups: int) -> float:
    """The closed bias of a layer's index groups, from the statistics of every image."""
    population, weights = ready(layer)
    centre = layer.mean.reshape(layer.images, groups, -1)
    second = (layer.variance + layer.mean**2).reshape(centre.shape)
    mean = centre.mean(axis=2)
    variance = second.mean(axis=2) - mean**2
    size = layer.channels // groups
    expected_mean = np.repeat(mean.mean(axis=0), size)
    std = np.sqrt(np.repeat(variance.mean(axis=0), size) + layer.epsilon)
    squared = (expected_mean - population.mean) ** 2 + (std - population.std) ** 2
    return float(np.sum(weights * squared / population.std**2))


def partitions(channels: list[int], size: int) -> list[list[tuple[int, ...]]]:
    """All ways to split channels into groups of one size."""
    if not channels:
        return [[]]
    first, rest = channels[0], channels[1:]
    found = []
    for others in combinations(rest, size - 1):
        left = [c for c in rest if c not in others]
        found += [[(first, *others), *more] for more in partitions(left, size)]
    return found


@pytest.mark.parametrize(
    ("channels", "groups", "count"),
    [(6, 2, 40), (12, 4, 40), (16, 16, 5), (64, 32, 100), (8, 1, 3)],
)
def test_bias_of_arrangements_is_that_of_permuted_layers(
    channels: int, groups: int, count: int
) -> None:
    layer = make_layer(channels)
    bias = ChannelBias.of(*ready(layer))
    generator = np.random.default_rng(1)
    orders = np.stack([generator.permutation(channels) for _ in range(count)])
    truth = [bias_by_images(reordered(layer, order), groups) for order in orders]
    found = bias.of_groups(orders.reshape(count, groups, -1))
    np.testing.assert_allclose(found, truth, rtol=1e-10, atol=1e-14)
    one = bias.of_groups(orders[0].reshape(groups, -1))
    np.testing.assert_allclose(one, truth[0], rtol=1e-10, atol=1e-14)


def test_a_large_common_offset_costs_few_digits() -> None:
    layer = make_layer(12)
    far = LayerMoments(layer.mean + 2.0**20, layer.variance, gamma=layer.gamma)
    index = np.arange(12).reshape(3, -1)
    near_bias, far_bias = (ChannelBias.of(*ready(some)).of_groups(index) for some in (layer, far))
    np.testing.assert_allclose(far_bias, near_bias, rtol=1e-8)


def test_random_arrangements_are_all_and_equally_likely() -> None:
    layer = make_layer(4)
    bias = ChannelBias.of(*ready(layer))
    values, median = bias.of_random(2, 3000, seed=0)
    truth = sorted(float(bias.of_groups(np.array(p))) for p in partitions([0, 1, 2, 3], 2))
    nearest = np.abs(values[:, None] - truth).argmin(axis=1)
    np.testing.assert_allclose(values, np.array(truth)[nearest], rtol=1e-12)
    assert np.all(np.abs(np.bincount(nearest) - 1000) < 4 * np.sqrt(3000 * 2 / 9))
    assert float(bias.of_groups(median)) == pytest.approx(truth[1])


def test_many_permutations_do_not_depend_on_how_many_are_drawn_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bias = ChannelBias.of(*ready(make_layer(24)))
    together, _ = bias.of_random(8, 50, seed=3)
    monkeypatch.setattr("normstats.grouping.arrangements._VALUES_AT_ONCE", 24 * 7)
    apart, _ = bias.of_random(8, 50, seed=3)
    np.testing.assert_allclose(apart, together, rtol=1e-12)


@pytest.mark.parametrize(("channels", "groups"), [(6, 2), (6, 3), (8, 2), (8, 4)])
@pytest.mark.parametrize("seed", range(4))
def test_best_is_the_optimum_of_all_partitions(channels: int, groups: int, seed: int) -> None:
    layer = make_layer(channels, seed=seed)
    population, weights = ready(layer)
    bias = ChannelBias.of(population, weights)
    every = np.array(partitions(list(range(channels)), channels // groups))
    found = audit(population, weights, groups, permutations=20).arrangements["best"]
    assert found.closed_bias_sq == pytest.approx(bias.of_groups(every).min(), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_known_groups_are_found(seed: int) -> None:
    known = make_known_groups(48, 6, seed=seed)
    in_order = audit(*ready(known), 6)
    assert in_order.p_value < 0.01
    shuffled = reordered(known, np.random.default_rng(seed).permutation(48))
    found = audit(*ready(shuffled), 6)
    for term in ("bias_sq", "closed_bias_sq"):
        truth = getattr(in_order.arrangements["index"], term)
        index = getattr(found.arrangements["index"], term)
        best = getattr(found.arrangements["best"], term)
        assert (index - best) / (index - truth) >= 0.95


def test_known_groups_are_found_in_a_wide_layer() -> None:
    known = make_known_groups(256, 32)
    truth = float(ChannelBias.of(*ready(known)).of_groups(np.arange(256).reshape(32, -1)))
    shuffled = reordered(known, np.random.default_rng(0).permutation(256))
    found = audit(*ready(shuffled), 32, permutations=100)
    index, best = (found.arrangements[name].closed_bias_sq for name in ("index", "best"))
    assert (index - best) / (index - truth) >= 0.95


@pytest.mark.parametrize("groups", [2, 4, 8])
def test_similar_channels_come_together(groups: int) -> None:
    generator = np.random.default_rng(groups)
    size = 32 // groups
    mean = np.repeat(np.arange(groups) % 2 * 10.0, size)
    std = np.repeat(2.0 ** (np.arange(groups) // 2), size)
    noise = 0.01 * generator.normal(size=(20, 32))
    shuffle = generator.permutation(32)
    layer = reordered(LayerMoments(mean + noise, std**2 + noise**2), shuffle)
    order = as_order(similar(ChannelBias.of(*ready(layer)), groups, seed=0))
    hidden = (shuffle // size)[order].reshape(groups, -1)
    assert np.all(hidden == hidden[:, :1])


@pytest.mark.parametrize(("channels", "groups"), [(12, 2), (24, 6), (96, 12)])
def test_channels_with_a_common_cause_come_together(channels: int, groups: int) -> None:
    generator = np.random.default_rng(channels)
    size = channels // groups
    activity = np.repeat(generator.normal(size=(200, groups)), size, axis=1)
    activity += 0.5 * generator.normal(size=activity.shape)
    shuffle = generator.permutation(channels)
    layer = reordered(LayerMoments(activity, np.ones_like(activity)), shuffle)
    order = as_order(correlated(ChannelBias.of(*ready(layer)), groups, seed=0))
    hidden = (shuffle // size)[order].reshape(groups, -1)
    assert np.all(hidden == hidden[:, :1])


def test_every_arrangement_costs_what_its_permuted_layer_costs() -> None:
    layer = make_layer(24)
    found = audit(*ready(layer), 6, permutations=50)
    assert tuple(found.arrangements) == ARRANGEMENTS
    for some in found.arrangements.values():
        assert sorted(some.order) == list(range(24))
        population, weights = ready(reordered(layer, some.order))
        whole = decompose(population, sample(Groups.of(population, 6), 1, Resamples(30)))
        assert some.error == pytest.approx(float(whole.average("error", weights)), rel=1e-10)
        assert some.residual == pytest.approx(float(whole.average("residual", weights)), rel=1e-9)
        bias = whole.mean_bias_sq + whole.std_bias_sq
        assert some.bias_sq == pytest.approx(float(bias @ weights), rel=1e-10)
        assert found.arrangements["best"].closed_bias_sq <= some.closed_bias_sq


def test_a_layer_in_its_best_order_has_nothing_left_to_save() -> None:
    layer = make_layer(16)
    found = audit(*ready(layer), 4)
    again = audit(*ready(reordered(layer, found.best)), 4)
    assert again.p_value == 1 / 1001
    assert again.arrangements["index"].error == pytest.approx(found.arrangements["best"].error)
    assert again.saved("closed_bias_sq") == pytest.approx(0, abs=1e-9)
    expected = 1 - found.arrangements["best"].error / found.arrangements["index"].error
    assert found.saved("error") == expected
    assert found.saved("error", by="index") == 0.0


def test_p_value_counts_ties_against_the_index_groups() -> None:
    alike = LayerMoments(np.tile(np.arange(5.0)[:, None], 8), np.ones((5, 8)))
    found = audit(*ready(alike), 4, permutations=30)
    assert found.p_value == 1.0
    assert found.saved("bias_sq") == pytest.approx(0.0, abs=1e-9)


def test_dead_channels_pull_their_groups_but_do_not_count() -> None:
    layer = make_layer(12)
    mean, variance = layer.mean.copy(), layer.variance.copy()
    mean[:, [2, 7]], variance[:, [2, 7]] = 40.0, 0.0
    layer = LayerMoments(mean, variance, gamma=layer.gamma)
    found = audit(*ready(layer), 4, permutations=50)
    index = found.arrangements["index"]
    assert index.closed_bias_sq == pytest.approx(bias_by_images(layer, 4), rel=1e-10)
    assert np.isfinite([some.residual for some in found.arrangements.values()]).all()
    # One mean of 40 spoils a whole group: better both in one.
    group_of = np.argsort(found.best) // 3
    assert group_of[2] == group_of[7]


def test_a_dead_channel_without_epsilon_does_no_harm() -> None:
    layer = make_layer(8)
    mean, variance = layer.mean.copy(), layer.variance.copy()
    mean[:, 0], variance[:, 0] = 1.0, 0.0
    found = audit(*ready(LayerMoments(mean, variance, epsilon=0.0)), 2, permutations=20)
    assert np.isfinite([some.error for some in found.arrangements.values()]).all()


def test_equal_seeds_give_equal_audits() -> None:
    population, weights = ready(make_layer(80))
    first, second, other = (
        audit(population, weights, 8, permutations=100, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.random_bias_sq, second.random_bias_sq)
    np.testing.assert_array_equal(first.best, second.best)
    assert np.any(first.random_bias_sq != other.random_bias_sq)


def some_moments() -> Moments:
    dead = LayerMoments(np.zeros((30, 8)), np.zeros((30, 8)))
    layers = {"stem": make_layer(12), "a/b": make_layer(16, gamma=False), "c": make_layer(8)}
    return Moments({**layers, "dead": dead})


def test_tables_have_a_row_for_each_layer_groups_and_arrangement() -> None:
    moments, seen = some_moments(), []
    found = grouping_tables(moments, [4, 8], permutations=60, progress=seen.append)
    assert seen == [1, 2, 3, 4]
    cells = [("stem", 4), ("a/b", 4), ("a/b", 8), ("c", 4)]
    assert list(orders_by_layer(found.orders)) == cells
    assert list(zip(found.tests["layer"], found.tests["groups"], strict=True)) == cells
    assert list(found.arrangements["arrangement"]) == list(ARRANGEMENTS) * 4
    row = found.tests.iloc[0]
    single = audit(*ready(moments["stem"]), 4, permutations=60)
    assert row["p_value"] == single.p_value
    assert row["random_bias_sq"] == single.random_bias_sq.mean()
    assert row["index_bias_sq"] == single.arrangements["index"].closed_bias_sq
    assert row["error_saved"] == single.saved("error")
    np.testing.assert_array_equal(orders_by_layer(found.orders)["stem", 4], single.best)
    assert sorted(found.notes) == [
        "8 groups do not divide the layer's channels; left out: stem.",
        "8 groups leave nothing to choose; left out: c, dead.",
        "No channel is live; left out: dead.",
    ]


def test_q_values_are_over_the_layers_of_one_number_of_groups() -> None:
    layers = {str(seed): make_layer(16, seed=seed) for seed in range(6)}
    tests = grouping_tables(Moments(layers), [2, 4], permutations=99).tests
    for _, some in tests.groupby("groups"):
        p = some["p_value"].to_numpy()
        ranks = np.array([np.count_nonzero(p <= value) for value in p])
        truth = [min(p[j] * 6 / ranks[j] for j in range(6) if p[j] >= value) for value in p]
        np.testing.assert_allclose(some["q_value"], np.minimum(truth, 1.0))


def test_the_number_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = Moments({str(seed): make_layer(32, seed=seed) for seed in range(4)})
    several = grouping_tables(moments, 8, permutations=50)
    monkeypatch.setattr(layerwise, "cpu_count", lambda: 1)
    single = grouping_tables(moments, 8, permutations=50)
    assert several.arrangements.equals(single.arrangements)
    assert several.tests.equals(single.tests)


def test_an_order_is_used_as_groups_of_neighbours() -> None:
    """What a user does with it: the network's own GroupNorm on channels put in the best order."""
    torch = pytest.importorskip("torch")
    layer = some_moments()["stem"]
    order = orders_by_layer(grouping_tables(some_moments(), 4, permutations=20).orders)["stem", 4]
    assert sorted(order) == list(range(layer.channels))
    pixels = torch.randn(2, layer.channels, 3, 3, generator=torch.Generator().manual_seed(0))
    chosen = torch.nn.functional.group_norm(pixels[:, order], 4)[:, order.argsort()]
    for members in order.reshape(4, -1):
        values = pixels[:, members]
        mean = values.mean(dim=(1, 2, 3), keepdim=True)
        std = (values.var(dim=(1, 2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(chosen[:, members], (values - mean) / std)


@pytest.mark.parametrize("groups", [0, 1, 5, 12, -4])
def test_groups_that_leave_nothing_to_choose_are_refused(groups: int) -> None:
    with pytest.raises(MethodError):
        audit(*ready(make_layer(12)), groups)
    with pytest.raises(MethodError, match="No layer"):
        grouping_tables(Moments({"one": make_layer(12)}), groups)


def test_a_dead_layer_and_too_few_permutations_are_refused() -> None:
    with pytest.raises(LayerError):
        audit(*ready(LayerMoments(np.zeros((5, 8)), np.zeros((5, 8)))), 2)
    with pytest.raises(SettingError):
        grouping_tables(some_moments(), 4, permutations=0)


@pytest.mark.slow
def test_p_values_are_uniform_where_the_order_means_nothing() -> None:
    p_values = [
        audit(*ready(make_layer(16, seed=seed)), 4, permutations=199).p_value for seed in range(200)
    ]
    # Jittered within their steps of 1/200: uniform, if the steps are.
    jitter = np.random.default_rng(0).uniform(size=200) / 200
    assert kstest(np.array(p_values) - jitter, "uniform").pvalue > 0.01


@pytest.mark.slow
def test_known_groups_are_found_in_the_widest_layers() -> None:
    known = make_known_groups(2048, 32)
    truth = float(ChannelBias.of(*ready(known)).of_groups(np.arange(2048).reshape(32, -1)))
    shuffled = reordered(known, np.random.default_rng(0).permutation(2048))
    found = audit(*ready(shuffled), 32)
    index, best = (found.arrangements[name].closed_bias_sq for name in ("index", "best"))
    assert (index - best) / (index - truth) >= 0.95
    assert found.p_value > 0.001
