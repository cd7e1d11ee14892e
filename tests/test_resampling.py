"""Batches of all sizes from one sequence of draws."""

import numpy as np
import pytest

from normstats.control_variates import DRAW_BLOCKS
from normstats.resampling import DRAWS, Draws, Resamples, draws_for


@pytest.mark.parametrize("batch", [2, 3, 8, 12, 64, 100])
def test_batches_are_cut_from_one_sequence(batch: int) -> None:
    resamples = Resamples(50, draws=512, seed=3)
    members = resamples.members(batch)
    assert members.shape == (resamples.count(batch), batch)
    np.testing.assert_array_equal(members.ravel(), resamples.sequence(10_000)[: members.size])


def test_there_are_more_of_the_small_batches() -> None:
    resamples = Resamples(50, draws=512)
    sizes = (2, 4, 8, 16, 32, 64, 128)
    assert [resamples.count(b) for b in sizes] == [2048, 1024, 512, 256, 128, 64, 64]
    few = Resamples(50, draws=16)
    assert [few.count(batch) for batch in sizes] == [64, 32, 16, 16, 16, 16, 16]
    assert all(resamples.count(batch) % DRAW_BLOCKS == 0 for batch in range(2, 200))


def test_as_many_images_are_drawn_as_there_are() -> None:
    assert draws_for(2) == draws_for(4096) == DRAWS
    assert draws_for(50_000) * 8 >= 50_000
    assert draws_for(50_000) % DRAW_BLOCKS == 0


def test_averages_are_those_of_the_members() -> None:
    rng = np.random.default_rng(0)
    values, order = rng.normal(size=(2, 5, 30)), rng.permutation(30)
    resamples = Resamples(30, draws=32)
    in_order = (values[0][:, order], values[1][:, order])
    found = dict(Draws.of(resamples, [2, 3, 8, 12], order).averages(in_order))
    assert list(found) == [2, 3, 8, 12]
    for batch, averages in found.items():
        truth = values[:, :, resamples.members(batch)].mean(axis=-1)
        np.testing.assert_allclose(averages, truth, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(
            resamples.averages(values[0].T, batch), truth[0].T, rtol=1e-12, atol=1e-14
        )
        alone = dict(Draws.of(resamples, [batch], order).averages(in_order))
        assert alone[batch].tobytes() == averages.tobytes()
