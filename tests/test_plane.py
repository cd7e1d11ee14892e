from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers.enumeration import enumerate_batches, make_pixels, moments_of

from normstats.closed_forms import Groups
from normstats.decomposition import decompose
from normstats.errors import SettingError
from normstats.estimators import sample
from normstats.moments import LayerMoments, Moments
from normstats.plane import best_at, frontier, group_sizes, plane_of, plane_table
from normstats.population import Population
from normstats.resampling import Resamples


def test_group_sizes() -> None:
    assert group_sizes(1) == (1,)
    assert group_sizes(16) == (1, 2, 4, 8, 16)
    assert group_sizes(7) == (1, 7)
    assert group_sizes(96) == (1, 2, 3, 4, 8, 16, 32, 96)  # three a group: GroupNorm(32)


@pytest.mark.parametrize("channels", [6, 8, 96])
def test_cells_of_one_image_are_exact(channels: int) -> None:
    layer = moments_of(make_pixels(images=7, channels=channels, size=2), epsilon=1e-2)
    population = Population.of(layer)
    weights = np.linspace(1, 2, channels) / np.linspace(1, 2, channels).sum()
    cells = plane_of(population, weights, [1], Resamples(7))
    assert [cell.group_channels for cell in cells] == list(group_sizes(channels))
    for cell in cells:
        groups = Groups.of(population, channels // cell.group_channels)
        known = decompose(population, sample(groups, 1, Resamples(7)))
        for term in ("error", "residual"):
            expected = float(known.average(term, weights))
            assert getattr(cell, term) == pytest.approx(expected, rel=1e-10)
        assert cell.error == pytest.approx(cell.bias_sq + cell.variance, rel=1e-12)
        bias_sq = known.average("mean_bias_sq", weights) + known.average("std_bias_sq", weights)
        assert cell.bias_sq == pytest.approx(float(bias_sq), rel=1e-10)


@pytest.mark.parametrize("batch", [2, 3])
def test_cells_match_the_enumeration_of_all_batches(batch: int) -> None:
    pixels = make_pixels(images=5, channels=6, size=2, spread=0.5)
    population = Population.of(moments_of(pixels, epsilon=1e-2))
    uniform = np.full(6, 1 / 6)
    cells = plane_of(population, uniform, [batch], Resamples(5, draws=8192))
    for cell in cells:
        truth = enumerate_batches(pixels, batch, 6 // cell.group_channels, 1e-2)
        s = population.std
        mean_error = (truth.expected_mean - population.mean) ** 2 + truth.variance_of_mean
        std_error = (truth.expected_std - s) ** 2 + truth.variance_of_std
        error = float(((mean_error + std_error) / s**2).mean())
        variance = float(((truth.variance_of_mean + truth.variance_of_std) / s**2).mean())
        assert cell.error == pytest.approx(error, rel=0.01)
        assert cell.variance == pytest.approx(variance, rel=0.02)
        assert cell.residual == pytest.approx(float(truth.residual.mean()), rel=0.02)


def natural(images: int = 300, channels: int = 32, seed: int = 0) -> LayerMoments:
    """Channels that share what an image has in common."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(images, 2)) @ rng.normal(size=(2, channels)) * 0.3
    mean = rng.normal(size=channels) + common + 0.2 * rng.normal(size=(images, channels))
    variance = np.exp(0.4 * common + 0.2 * rng.normal(size=(images, channels)))
    return LayerMoments(mean, variance, spatial=(4, 4))


def test_few_draws_are_enough() -> None:
    layer = natural()
    population, uniform = Population.of(layer), np.full(32, 1 / 32)
    for cell in plane_of(population, uniform, [2, 16], Resamples(300, draws=64)):
        groups = Groups.of(population, 32 // cell.group_channels)
        known = decompose(population, sample(groups, cell.batch, Resamples(300, 8192, seed=1)))
        assert cell.error == pytest.approx(float(known.average("error", uniform)), rel=0.02)
        assert cell.residual == pytest.approx(float(known.average("residual", uniform)), rel=0.06)


def test_rows_say_where_the_methods_are() -> None:
    moments = Moments({"small": natural(channels=32), "large": natural(channels=64)})
    plane = plane_table(moments, [1, 4])
    assert len(plane) == 2 * 6 + 2 * 7
    named = plane[plane["named"] != ""].set_index(["layer", "named"])
    assert list(named.loc["small"].index) == ["in", "ln", "bn@4"]
    assert list(named.loc["large"].index) == ["in", "gn:32", "ln", "bn@4"]
    assert named.loc[("large", "gn:32"), "group_channels"] == 2
    assert (plane["pooled"] == plane["batch"] * plane["channels"] / plane["groups"]).all()
    # More images, less noise; more channels, more bias: both held otherwise equal.
    assert (
        plane[plane["batch"] == 4]["variance"] < plane[plane["batch"] == 1]["variance"].max()
    ).all()
    in_, ln = named.loc[("small", "in")], named.loc[("small", "ln")]
    assert in_["bias_sq"] < ln["bias_sq"]
    assert in_["variance"] > ln["variance"]


def test_no_result_depends_on_the_progress_or_the_batches_asked_for_beside() -> None:
    moments = Moments({"norm": natural()})
    done: list[int] = []
    both = plane_table(moments, [4, 1], seed=3, progress=done.append)
    alone = plane_table(moments, [4], seed=3)
    assert done == [1]
    own = [column for column in alone if "_best_of_pooled" not in column]
    of_four = both[both["batch"] == 4].reset_index(drop=True)
    pd.testing.assert_frame_equal(of_four[own], alone[own])


def test_the_best_cells_are_marked() -> None:
    plane = plane_table(Moments({"norm": natural()}), [1, 2, 4])
    for quantity in ("error", "residual"):
        for what in ("pooled", "batch"):
            marked = plane[plane[f"{quantity}_best_of_{what}"]].sort_values(what)
            least = frontier(plane, quantity, by=what)
            assert marked[what].tolist() == least[what].tolist()
            np.testing.assert_array_equal(marked[quantity], least[quantity])


def test_one_position_of_one_image_has_no_variance() -> None:
    layer = replace(natural(), variance=np.zeros((300, 32)), spatial=(1, 1))
    plane = plane_table(Moments({"norm": layer}), [1, 2])
    undefined = plane["error"].isna()
    assert plane[undefined]["named"].tolist() == ["in"]
    assert frontier(plane, by="batch")["batch"].tolist() == [1, 2]


def test_frontier_and_best_cell() -> None:
    rows = [
        # layer, batch, group_channels, error, residual
        ("b", 1, 1, 0.4, 0.4),
        ("b", 1, 4, 0.9, 0.1),
        ("b", 2, 1, 0.2, 0.2),
        ("b", 2, 4, 0.8, 0.05),
        ("b", 4, 1, 0.1, 0.08),
        ("a", 1, 1, 0.4, 0.4),
        ("a", 1, 4, 0.3, 0.3),
        ("a", 4, 1, 0.5, 0.5),
        ("dead", 1, 1, np.nan, np.nan),
    ]
    columns = ["layer", "batch", "group_channels", "error", "residual"]
    plane = pd.DataFrame(rows, columns=columns)
    plane["pooled"] = plane["batch"] * plane["group_channels"]

    by_pooled = frontier(plane)[["layer", "pooled", "batch"]].to_numpy().tolist()
    expected = [["b", 1, 1], ["b", 2, 2], ["b", 4, 4], ["b", 8, 2], ["a", 1, 1], ["a", 4, 1]]
    assert by_pooled == expected
    by_batch = frontier(plane, "residual", by="batch")
    assert by_batch[by_batch["layer"] == "b"]["group_channels"].tolist() == [4, 4, 1]

    best = best_at(plane, 3).set_index(["layer", "quantity"])
    assert list(best.index) == [
        ("b", "error"),
        ("a", "error"),
        ("b", "residual"),
        ("a", "residual"),
    ]
    assert best.loc[("b", "error"), ["batch", "group_channels"]].tolist() == [2, 1]
    assert best.loc[("b", "residual"), ["batch", "group_channels"]].tolist() == [2, 4]
    assert best.loc[("b", "residual"), "batch_norm"] == 0.2
    with pytest.raises(SettingError, match="no cell for a batch of 0"):
        best_at(plane, 0)


def test_dead_layers_have_no_number() -> None:
    dead = LayerMoments(np.ones((10, 4)), np.zeros((10, 4)), spatial=(2, 2))
    plane = plane_table(Moments({"dead": dead, "norm": natural(10, 4)}), [1, 2])
    assert plane[plane["layer"] == "dead"]["error"].isna().all()
    assert best_at(plane, 2)["layer"].tolist() == ["norm", "norm"]


def test_batch_sizes_that_are_none() -> None:
    with pytest.raises(SettingError, match="at least 1"):
        plane_table(Moments({"norm": natural(10, 4)}), [0])
