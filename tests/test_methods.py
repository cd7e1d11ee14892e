"""Methods as cells of the (images, channels) plane."""

import numpy as np
import pytest
from helpers.enumeration import make_pixels, moments_of

from normstats.errors import MethodError
from normstats.methods import DEFAULT_METHODS, Method, parse_methods


@pytest.mark.parametrize(
    ("text", "batch", "groups_of_32"),
    [
        ("bn@8", 8, 32),
        ("in", 1, 32),
        ("ln", 1, 1),
        ("gn:8", 1, 8),
        ("gn:16ch", 1, 2),
        ("bgn@4:8", 4, 8),
        ("bgn@4:8ch", 4, 4),
        ("running", None, 32),
    ],
)
def test_cells(text: str, batch: int | None, groups_of_32: int) -> None:
    method = Method.parse(text)
    assert str(method) == text
    assert method.batch == batch
    assert method.groups_in(32) == groups_of_32


@pytest.mark.parametrize(
    "text",
    [
        " ",
        "bn",
        "bn@",
        "bn@x",
        "bn@0",
        "bn@-1",
        "bn@2:4",
        "bn@1.5",
        "gn",
        "gn:",
        "gn:0",
        "gn:0ch",
        "gn@2:3",
        "gn:3 ch",
        "in@2",
        "ln:2",
        "bgn@2",
        "bgn:2",
        "bgn@0:2",
        "batchnorm",
        "running@2",
    ],
)
def test_what_is_no_method_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(MethodError) as caught:
        Method.parse(text)
    assert "bgn@B:G" in str(caught.value.hint)


@pytest.mark.parametrize(("text", "channels"), [("gn:5", 12), ("gn:64", 32), ("gn:5ch", 12)])
def test_groups_that_do_not_divide_are_refused(text: str, channels: int) -> None:
    with pytest.raises(MethodError, match="do not divide"):
        Method.parse(text).groups_in(channels)


def test_lists_keep_their_order_and_drop_repeats() -> None:
    assert [str(m) for m in parse_methods(" LN, bn@2,ln,")] == ["ln", "bn@2"]
    assert [str(m) for m in parse_methods(["ln", Method.parse("in")])] == ["ln", "in"]
    assert len(parse_methods(DEFAULT_METHODS)) == 13
    with pytest.raises(MethodError, match="No method"):
        parse_methods(",")


def test_a_near_miss_is_offered() -> None:
    with pytest.raises(MethodError) as caught:
        Method.parse("runing")
    assert "Did you mean running" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["bn@3", "in", "ln", "gn:2", "gn:3ch", "bgn@2:3", "running"])
def test_a_method_is_what_it_does_to_a_batch(name: str) -> None:
    """From pixels: the mean and variance of all the values that the method pools."""
    method = Method.parse(name)
    images = method.batch or 4
    pixels = make_pixels(images, channels=6)
    stored = {"running_mean": np.arange(6.0), "running_variance": np.arange(1.0, 7.0)}
    layer = moments_of(pixels, **stored)
    mean, variance = method.statistics(layer.mean, layer.variance, layer)
    if name == "running":
        expected_mean = stored["running_mean"]
        expected_variance = stored["running_variance"] * (1 - 1 / (images * 9))
    else:
        groups = method.groups_in(6)
        values = pixels.reshape(images, groups, -1, 9).swapaxes(0, 1).reshape(groups, -1)
        expected_mean = values.mean(axis=1).repeat(6 // groups)
        expected_variance = values.var(axis=1).repeat(6 // groups)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-12)
    np.testing.assert_allclose(variance, expected_variance, rtol=1e-12)


def test_many_batches_at_once() -> None:
    layer = moments_of(make_pixels(images=6, channels=4))
    batches = np.arange(6).reshape(3, 2)
    method = Method.parse("bgn@2:2")
    mean, variance = method.statistics(layer.mean[batches], layer.variance[batches], layer)
    assert mean.shape == variance.shape == (3, 4)
    for row, members in enumerate(batches):
        alone = method.statistics(layer.mean[members], layer.variance[members], layer)
        np.testing.assert_array_equal((mean[row], variance[row]), alone)


def test_a_method_of_ones_own() -> None:
    half = Method.from_function("half", lambda m, v, layer: (m.mean(-2) / 2, v.mean(-2)), batch=2)
    assert half.has_own_statistics
    assert not Method.parse("bn@2").has_own_statistics
    assert str(half) == "half"
    layer = moments_of(make_pixels(images=2))
    mean, _ = half.statistics(layer.mean, layer.variance, layer)
    np.testing.assert_allclose(mean, layer.mean.mean(axis=0) / 2)


@pytest.mark.parametrize(("name", "batch"), [("bn@8", 8), ("", 1), ("a,b", 1), ("mine", 0)])
def test_names_and_batches_that_a_method_cannot_have(name: str, batch: int) -> None:
    with pytest.raises(MethodError):
        Method.from_function(name, lambda m, v, layer: (m[..., 0, :], v[..., 0, :]), batch=batch)
