from __future__ import annotations

import numpy as np
import pytest
import torch
from capturing.truth import numpy_moments

from normstats.capturing import spatial_moments


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 7), (3, 4, 5, 6), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_number_of_positions(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.randn(shape, dtype=dtype)
    mean, variance = spatial_moments(x)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    assert mean.dtype == variance.dtype == dtype
    assert mean.shape == variance.shape == shape[:2]
    np.testing.assert_allclose(mean, numpy_moments(x)[0], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(variance, numpy_moments(x)[1], rtol=tolerance, atol=tolerance)


def test_one_position_has_no_variance_and_its_own_storage() -> None:
    for x in (torch.randn(3, 4), torch.randn(3, 4, 1, 1)):
        mean, variance = spatial_moments(x)
        assert torch.equal(mean, x.reshape(3, 4))
        assert torch.equal(variance, torch.zeros(3, 4))
        storage = x.untyped_storage().data_ptr()
        assert mean.untyped_storage().data_ptr() != storage
        assert variance.untyped_storage().data_ptr() != storage


@pytest.mark.parametrize("axis", [-1, 1, 2, 3])
def test_channel_dim(axis: int) -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    mean, variance = spatial_moments(x, axis)
    np.testing.assert_allclose(mean, numpy_moments(x, axis)[0], rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(variance, numpy_moments(x, axis)[1], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        (torch.channels_last, (4, 8, 15, 9)),
        (torch.channels_last, (2, 3, 48, 48)),  # few channels: positions are taken abreast
        (torch.channels_last, (2, 1100, 5, 5)),  # many: they are taken in slabs
        (torch.channels_last_3d, (2, 8, 5, 6, 7)),
    ],
)
def test_layouts_agree(layout: torch.memory_format, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape) * 3 + 100
    other = x.contiguous(memory_format=layout)
    assert not other.is_contiguous()
    for ours, theirs in zip(spatial_moments(x), spatial_moments(other), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    sliced = torch.randn(shape[0], 2 * shape[1], *shape[2:])[:, ::2]
    np.testing.assert_allclose(spatial_moments(sliced)[1], numpy_moments(sliced)[1], rtol=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("centre", "spread", "dtype"),
    [(100, 0.01, torch.float32), (1e7, 0.1, torch.float64), (-3e4, 1.0, torch.float32)],
)
def test_large_mean_small_spread(
    centre: float, spread: float, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    """E[x²] − E[x]² returns zero here (pytorch #40302); numpy's own two passes are the bar."""
    exact = torch.randn(4, 8, 56, 56, dtype=torch.float64) * spread + centre
    x = exact.to(dtype).contiguous(memory_format=layout)
    values = x.contiguous().numpy()
    # The truth in extended precision, as float64 is among the types under test.
    wide = values.astype(np.longdouble)
    true_mean = wide.mean(axis=(2, 3))
    true_variance = ((wide - true_mean[..., None, None]) ** 2).mean(axis=(2, 3))
    theirs_mean = values.mean(axis=(2, 3), keepdims=True)
    theirs_variance = ((values - theirs_mean) ** 2).mean(axis=(2, 3))

    mean, variance = (np.asarray(moment) for moment in spatial_moments(x))

    rounding = np.spacing(np.abs(mean).max())
    assert np.abs(mean - true_mean).max() <= rounding
    assert np.abs(mean - true_mean).max() <= np.abs(theirs_mean[..., 0, 0] - true_mean).max() + (
        rounding / 2
    )
    relative = np.abs(variance - true_variance).max() / true_variance.min()
    theirs = np.abs(theirs_variance - true_variance).max() / true_variance.min()
    assert relative <= max(theirs, 8 * np.finfo(variance.dtype).eps)
    assert relative <= 8 * np.finfo(variance.dtype).eps


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    x = (torch.randn(2, 3, 64, 64) * 200 + 30000).to(dtype)
    mean, variance = spatial_moments(x)
    assert mean.dtype == variance.dtype == torch.float32
    np.testing.assert_allclose(mean, numpy_moments(x.float())[0], rtol=1e-6)
    np.testing.assert_allclose(variance, numpy_moments(x.float())[1], rtol=1e-5)


def test_a_constant_map_has_variance_zero_never_less() -> None:
    x = torch.rand(64, 16).mul(1e4)[..., None, None].expand(64, 16, 13, 7)
    mean, variance = spatial_moments(x)
    assert (variance >= 0).all()
    np.testing.assert_allclose(variance, 0, atol=1e-6)
    np.testing.assert_allclose(mean, x[..., 0, 0], rtol=2e-7)


def test_what_is_not_finite_stays_so() -> None:
    x = torch.zeros(2, 3, 4, 4)
    x[0, 1, 2, 2] = torch.inf
    x[1, 2, 0, 0] = torch.nan
    mean, variance = spatial_moments(x)
    bad = torch.tensor([[False, True, False], [False, False, True]])
    assert torch.equal(~torch.isfinite(mean), bad)
    assert torch.equal(~torch.isfinite(variance), bad)


def test_the_input_is_not_changed() -> None:
    for dtype in (torch.float32, torch.float16):
        x = torch.randn(2, 3, 4, 4).to(dtype)
        before = x.clone()
        spatial_moments(x)
        assert torch.equal(x, before)
