"""What images are normalized with in a layer of another method, against their pixels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.enumeration import make_pixels, moments_of
from scipy.stats import kendalltau, rankdata

from normstats.errors import MethodError
from normstats.methods import Method
from normstats.validation.correlation import Correlations
from normstats.validation.normalization import ideal, normalization, refitted

EPSILON = 0.01
PIXELS = make_pixels(images=10, channels=6, size=3, seed=3)
LAYER = moments_of(
    PIXELS, epsilon=EPSILON, running_mean=np.arange(6.0), running_variance=np.arange(1.0, 7.0)
)
ORDER = np.random.default_rng(5).permutation(10)


def normalized(values: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return (values - mean[:, None, None]) / np.sqrt(variance + EPSILON)[:, None, None]


@pytest.mark.parametrize(
    ("method", "batch", "size"), [("bn@4", 4, 1), ("in", 1, 1), ("bgn@3:2", 3, 3), ("ln", 1, 6)]
)
def test_every_image_has_the_statistics_of_its_batch(method: str, batch: int, size: int) -> None:
    """9 images are looked at; the rest of the last batch is taken from those that follow."""
    found = normalization(Method.parse(method), LAYER, ORDER, 9)
    scale, shift = found.scale_and_shift(np.arange(9))
    cyclic = np.concatenate([ORDER, ORDER])
    for place in range(9):
        first = place // batch * batch
        values = PIXELS[cyclic[first : first + batch]]
        groups = values.reshape(batch, 6 // size, size, -1)
        mean = groups.mean(axis=(0, 2, 3)).repeat(size)
        variance = groups.var(axis=(0, 2, 3)).repeat(size)
        image = PIXELS[ORDER[place]]
        np.testing.assert_allclose(
            image * scale[place][:, None, None] + shift[place][:, None, None],
            normalized(image, mean, variance),
            rtol=1e-9,
        )


def test_constants_and_ideal_statistics_are_the_same_for_all_images() -> None:
    stored = normalization(Method.parse("running"), LAYER, ORDER, 9)
    scale, shift = stored.scale_and_shift(np.arange(9))
    assert np.ptp(scale, axis=0).max() == 0
    variance = np.arange(1.0, 7.0) * 89 / 90 + EPSILON  # 10 images of 9 positions
    np.testing.assert_allclose(scale[0], 1 / np.sqrt(variance))
    np.testing.assert_allclose(shift[0], -np.arange(6) / np.sqrt(variance))

    scale, shift = ideal(LAYER, 9).scale_and_shift(np.arange(9))
    outputs = PIXELS * scale[0][:, None, None] + shift[0][:, None, None]
    np.testing.assert_allclose(outputs.mean(axis=(0, 2, 3)), 0, atol=1e-12)
    pixels = PIXELS.var(axis=(0, 2, 3))
    np.testing.assert_allclose(outputs.var(axis=(0, 2, 3)), pixels / (pixels + EPSILON))


@pytest.mark.parametrize("method", ["bn@3", "in", "gn:2", "ln", "running"])
def test_the_refitted_affine_is_that_of_least_squares_over_pixels(method: str) -> None:
    images = 8
    plain = normalization(Method.parse(method), LAYER, ORDER, images)
    refit = refitted(plain, LAYER, ORDER[:images])
    chosen = PIXELS[ORDER[:images]]
    scale, shift = plain.scale_and_shift(np.arange(images))
    outputs = chosen * scale[:, :, None, None] + shift[:, :, None, None]
    std = np.sqrt(PIXELS.var(axis=(0, 2, 3)) + EPSILON)
    targets = (chosen - PIXELS.mean(axis=(0, 2, 3))[:, None, None]) / std[:, None, None]
    for channel in range(6):
        x = outputs[:, channel].ravel()
        columns = np.stack([x, np.ones_like(x)], axis=1)
        (slope, offset), *_ = np.linalg.lstsq(columns, targets[:, channel].ravel(), rcond=None)
        assert refit.slope[channel] == pytest.approx(slope)
        assert refit.offset[channel] == pytest.approx(offset, abs=1e-12)


def test_a_constant_channel_keeps_its_slope() -> None:
    pixels = PIXELS.copy()
    pixels[:, 2] = 7.0
    layer = moments_of(pixels, epsilon=EPSILON)
    refit = refitted(normalization(Method.parse("bn@2"), layer, ORDER, 10), layer, ORDER)
    assert refit.slope[2] == 1
    assert refit.offset[2] == 0


def test_what_no_batch_can_have_is_refused() -> None:
    with pytest.raises(MethodError, match="needs 16 images and there are 10"):
        normalization(Method.parse("bn@16"), LAYER, ORDER, 5)
    with pytest.raises(MethodError, match="4 groups do not divide"):
        normalization(Method.parse("gn:4"), LAYER, ORDER, 5)
    wild = Method.from_function(
        "wild@2", lambda mean, variance, _: (mean[..., 0, :], -variance[..., 0, :] - 1), batch=2
    )
    with pytest.raises(MethodError, match="its variance is negative"):
        normalization(wild, LAYER, ORDER, 5)


def rows(layer: str, *values: tuple[float, float, float, float]) -> pd.DataFrame:
    table = pd.DataFrame(values, columns=["error", "kl", "residual", "kl_refit"])
    return table.assign(layer=layer)


def test_correlations_are_of_ranks_within_layers_and_overall() -> None:
    one = rows("one", (1, 10, 3, 1), (2, 20, 2, 2), (3, 25, 1, 3))
    other = rows("other", (1, 3, 1, 1), (2, 1, 2, 3), (3, 2, 3, 2), (np.nan, 9, 4, np.nan))
    few = rows("few", (1, 1, 1, 1), (2, 2, 2, 2))
    same = rows("same", (1, 1, 1, 1), (1, 2, 1, 2), (1, 3, 1, 3))
    table = pd.concat([one, other, few, same])
    found = Correlations.of(table)
    # By 1 − 6Σd²/(n(n² − 1)): 1 and 1 − 6·6/24; −1 and 1 − 6·2/24.
    assert found.error_within_layers == pytest.approx((1 - 0.5) / 2)
    assert found.residual_within_layers == pytest.approx((-1 + 0.5) / 2)
    assert found.layers == 2
    finite = table.dropna()
    ranks = [rankdata(finite[name]) for name in ("error", "kl")]
    assert found.error_overall == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert np.sign(found.error_overall) == np.sign(kendalltau(*ranks).statistic)
    assert np.isnan(Correlations.of(few).error_within_layers)
    assert np.isnan(Correlations.of(same).error_overall)
