"""Moments in memory, on disk and merged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.enumeration import make_pixels, moments_of

from normstats.errors import LayerError, RunFolderError
from normstats.moments import LayerMoments, Moments, match_layers


def make_moments(images: int = 6, seed: int = 0) -> Moments:
    first = moments_of(
        make_pixels(images, 4, seed=seed),
        kind="BatchNorm2d",
        gamma=np.arange(4.0),
        running_mean=np.zeros(4),
        running_variance=np.ones(4),
        aliases=("again",),
    )
    second = moments_of(make_pixels(images, 2, seed=seed + 1), kind="GroupNorm", groups=2)
    return Moments(
        layers={"stem.bn": first, "<b>gn</b>": second},
        labels=np.arange(images) % 2,
        classes=("cat", "dog"),
        left_out={"aux.bn": "it did not run"},
        provenance={"device": "cpu"},
    )


def assert_equal(one: Moments, two: Moments) -> None:
    assert list(one) == list(two)
    for name in one:
        for key, value in vars(one[name]).items():
            np.testing.assert_array_equal(value, getattr(two[name], key), err_msg=key)
    np.testing.assert_array_equal(one.labels, two.labels)
    assert (one.classes, one.left_out, one.provenance) == (
        two.classes,
        two.left_out,
        two.provenance,
    )


def test_saved_moments_come_back_whole(tmp_path: Path) -> None:
    moments = make_moments()
    moments.save(tmp_path / "deep" / "moments")
    assert_equal(Moments.open(tmp_path / "deep" / "moments"), moments)


def test_equal_moments_are_saved_as_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_moments().save(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(files) == 3
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_float32_stays_float32(tmp_path: Path) -> None:
    layer = moments_of(make_pixels().astype(np.float32))
    Moments({"bn": layer}).save(tmp_path)
    assert Moments.open(tmp_path)["bn"].mean.dtype == np.float32


def test_merged_halves_are_the_whole() -> None:
    whole = make_moments(6)

    def half(part: slice) -> Moments:
        layers = {
            name: replace(layer, mean=layer.mean[part], variance=layer.variance[part])
            for name, layer in whole.items()
        }
        return replace(whole, layers=layers, labels=whole.labels[part])

    assert_equal(Moments.merge([half(slice(0, 2)), half(slice(2, 6))]), whole)
    with pytest.raises(LayerError, match="not of the same layers"):
        Moments.merge([whole, whole.select("stem.*")])
    with pytest.raises(LayerError, match="nothing to merge"):
        Moments.merge([])


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(LayerError, match=r"\(N, C\)"):
        LayerMoments(np.zeros((3, 2)), np.zeros((2, 3)))
    with pytest.raises(LayerError, match="different numbers of images"):
        Moments({"a": moments_of(make_pixels(3)), "b": moments_of(make_pixels(4))})


@pytest.mark.parametrize("damage", ["missing", "cut", "json", "newer"])
def test_damaged_moments_are_named(tmp_path: Path, damage: str) -> None:
    make_moments().save(tmp_path)
    index, part = tmp_path / "moments.json", tmp_path / "part-00000.safetensors"
    if damage == "missing":
        part.unlink()
    elif damage == "cut":
        part.write_bytes(part.read_bytes()[:200])
    elif damage == "json":
        index.write_text("{")
    else:
        index.write_text(index.read_text().replace('"format": 2', '"format": 9'))
    with pytest.raises(RunFolderError) as caught:
        Moments.open(tmp_path)
    assert caught.value.hint


NAMES = ["bn1", "layer1.0.bn1", "layer1.0.bn2", "layer2.0.bn1"]


def test_patterns_keep_the_order_of_the_network() -> None:
    assert match_layers(NAMES, "layer2.*, bn1") == ["bn1", "layer2.0.bn1"]
    assert match_layers(NAMES, ["*.bn[12]"]) == NAMES[1:]


def test_near_matches_are_offered() -> None:
    with pytest.raises(LayerError) as caught:
        match_layers(NAMES, "layer1.0.bn3")
    assert "layer1.0.bn1" in str(caught.value.hint)
    with pytest.raises(LayerError) as caught:
        match_layers(NAMES, "zzz")
    assert "bn1" in str(caught.value.hint)
