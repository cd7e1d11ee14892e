"""Sums over images tell the same as the moments they were made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.cifar_resnet import resnet20
from helpers.networks import small

from normstats.blocks import Blocks
from normstats.capture_folder import CaptureFolder
from normstats.capturing import Capturer, capture_parts
from normstats.decomposition import TERMS, decompose
from normstats.errors import MethodError, RunFolderError
from normstats.estimators import sample
from normstats.inputs import Images, open_images
from normstats.layer_values import LayerValues
from normstats.merging import Captured, copied, together
from normstats.methods import Method, parse_methods
from normstats.moments import LayerMoments, Moments
from normstats.moments_folder import SummedLayers
from normstats.resampling import Resamples
from normstats.run_folder import MOMENTS
from normstats.study import analyze
from normstats.summed_layers import SummedLayer
from normstats.summing import Summing
from normstats.sums import LayerSums, of_batches

METHODS = parse_methods("bn@1,bn@2,bn@8,in,ln,gn:4,gn:2ch,bgn@2:4,running")
CLOSED = ("mean_bias_sq", "mean_variance", "var_bias_sq", "var_variance")


def _layer(
    images: int = 300, epsilon: float = 1e-5, dtype: type[np.floating[Any]] = np.float32
) -> LayerMoments:
    """Channels far from zero and from each other; one of them is constant."""
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(images, 12)) * rng.uniform(0.01, 2, 12) + 10 * rng.normal(size=12)
    variance = rng.gamma(2, 1, (images, 12)) * rng.uniform(0.001, 3, 12)
    mean[:, 5], variance[:, 5] = 2, 0
    return LayerMoments(mean.astype(dtype), variance.astype(dtype), epsilon=epsilon)


def _some(layer: LayerMoments, images: Any) -> LayerMoments:
    return replace(layer, mean=layer.mean[images], variance=layer.variance[images])


def _summed(
    layer: LayerMoments, parts: Sequence[Any], blocks: Sequence[int], at_a_time: int = 7
) -> SummedLayer:
    """Sums over the parts, which take some images at a time."""
    sums: list[Mapping[int, LayerSums]] = []
    for images in parts:
        of_part: dict[int, LayerSums] = {}
        for batch in (1, 2):
            for start in range(0, len(images), at_a_time):
                some = of_batches(_some(layer, images[start : start + at_a_time]), batch)
                if some.images:
                    before = of_part.get(batch)
                    now = LayerSums.of(some, [1, 3, 12], before)
                    of_part[batch] = now if before is None else before.plus(now)
        sums.append(of_part)
    return SummedLayer.of(sums, blocks)


@pytest.mark.parametrize("epsilon", [1e-5, 1e-2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("groups", [1, 3, 12])
def test_single_images_and_their_jackknife_are_those_of_the_moments(
    epsilon: float, dtype: type[np.floating[Any]], groups: int
) -> None:
    layer = _layer(epsilon=epsilon, dtype=dtype)
    blocks = Blocks.of(layer.images, seed=3)
    values = LayerValues(layer, "uniform", Resamples(layer.images), blocks)
    expected = decompose(
        values.population, sample(values.groups(groups), 1, Resamples(layer.images))
    )
    summed = _summed(layer, [blocks.members(k) for k in range(20)], range(20))
    found = decompose(summed.population, summed.sampling(groups, 1))
    alive = values.population.alive
    for one, other in ((expected, found), (expected.images, found.images)):
        assert one is not None
        assert other is not None
        for term in (*TERMS, "error"):
            truth, value = getattr(one, term)[..., alive], getattr(other, term)[..., alive]
            np.testing.assert_allclose(value, truth, rtol=1e-9, atol=1e-12, err_msg=term)


def test_neither_order_nor_size_of_parts_matters() -> None:
    layer = _layer(dtype=np.float64)
    rng = np.random.default_rng(1)
    expected = None
    for cuts in ([100, 200], [1, 4, 150, 299], [*range(10, 300, 10)]):
        parts = np.split(np.arange(layer.images), cuts)
        places = rng.permutation(len(parts))
        summed = _summed(layer, [parts[k] for k in places], [0] * len(parts), at_a_time=50)
        found = decompose(summed.population, summed.sampling(3, 1))
        values = np.stack([getattr(found, term) for term in TERMS])
        expected = values if expected is None else expected
        alive = summed.population.alive
        np.testing.assert_allclose(values[:, alive], expected[:, alive], rtol=1e-12, atol=1e-13)


def test_numbers_that_lose_their_digits_when_squared() -> None:
    rng = np.random.default_rng(2)
    shape = (400, 12)
    layer = LayerMoments(1e7 + 0.1 * rng.normal(size=shape), rng.uniform(0.01, 0.02, shape))
    halves = [np.arange(200), np.arange(200, 400)]
    population = _summed(layer, halves, [0, 1]).population
    centred = layer.mean - 1e7
    truth = (layer.variance + (centred - centred.mean(axis=0)) ** 2).mean(axis=0)
    np.testing.assert_allclose(population.variance, truth, rtol=1e-8)


@pytest.mark.parametrize("groups", [1, 3, 12])
def test_pairs_agree_with_all_pairs(groups: int) -> None:
    layer = _some(_layer(dtype=np.float64), slice(0, 240))
    first, second = np.repeat(np.arange(240), 240), np.tile(np.arange(240), 240)
    order = np.stack([first, second], axis=1).ravel()
    pairs = of_batches(_some(layer, order), 2)
    # Batches of one that are pairs: every pair is drawn once, and nothing by chance.
    exact = _summed(pairs, [np.arange(pairs.images)], [0], at_a_time=pairs.images)
    truth = decompose(exact.population, exact.sampling(groups, 1))
    blocks = Blocks.of(layer.images, seed=1)
    rng = np.random.default_rng(5)
    members = [rng.permutation(blocks.members(k)) for k in range(20)]
    summed = _summed(layer, members, range(20), at_a_time=12)
    found = decompose(summed.population, summed.sampling(groups, 2))
    assert found.monte_carlo is not None
    alive = summed.population.alive
    for term in CLOSED:
        one, other = getattr(found, term)[alive], getattr(truth, term)[alive]
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12, err_msg=term)
    for term in ("std_variance", "residual"):
        one, other = getattr(found, term)[alive], getattr(truth, term)[alive]
        replicates = getattr(found.monte_carlo, term)[:, alive]
        noise = np.sqrt(19 / 20 * ((replicates - replicates.mean(axis=0)) ** 2).sum(axis=0))
        assert (np.abs(one - other) < 5 * noise + 1e-12).all(), term
        assert (noise < 0.5 * other + 1e-12).all(), term  # and it is small


def _pixels(count: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 3, 16, 16)) * rng.uniform(0.2, 1, (count, 1, 1, 1))
    return pixels.astype(np.uint8)


def _images(place: Path, pixels: np.ndarray[Any, Any], name: str = "images.npz") -> Images:
    np.savez(place / name, images=pixels, labels=np.arange(len(pixels)) % 2)
    return open_images(place / name)


def _capture(
    run: Path, images: Images, methods: Sequence[Method] | None, network: Any = small
) -> Moments:
    place = run / MOMENTS
    place.mkdir(parents=True)
    identity = {"images": images.sample_sha256()}
    dealt = None if methods is None else 0
    folder = CaptureFolder(place, identity, len(images), 128, {}, dealt)
    folder.begin()
    torch.manual_seed(0)
    capture_parts(
        Capturer(network().eval()),
        images,
        folder,
        range(len(folder.ranges())),
        batch_size=4,
        summing=None if methods is None else lambda: Summing(methods),
    )
    return folder.finish(folder.whole(), {})


@pytest.mark.parametrize("network", [small, resnet20])
def test_tables_of_a_network(tmp_path: Path, network: Any) -> None:
    images = _images(tmp_path, _pixels(210))
    kept = analyze(_capture(tmp_path / "kept", images, None, network), METHODS)
    summed = analyze(_capture(tmp_path / "summed", images, METHODS, network), METHODS)
    assert any("not kept" in note for note in summed.notes)
    ours, theirs = summed.errors(), kept.errors()
    single = ours["batch"].isna() | (ours["batch"] == 1)
    for column in theirs.select_dtypes("number"):
        rows = slice(None) if column in CLOSED else single
        _assert_same(ours.loc[rows, column], theirs.loc[rows, column])
    close = [*("std_bias_sq", "std_variance", "error", "residual")]
    np.testing.assert_allclose(ours[close], theirs[close], rtol=0.2, atol=1e-6)
    for table, columns in (
        ("channels", list(kept.channels().select_dtypes("number"))),
        ("layers", [c for c in kept.layers().select_dtypes("number") if "batch_for" not in c]),
    ):
        for column in columns:
            _assert_same(getattr(summed, table)()[column], getattr(kept, table)()[column])
    crossovers = kept.crossovers()
    assert summed.crossovers()["layer"].equals(crossovers["layer"])
    found = summed.crossovers()["batch_number"].to_numpy()
    np.testing.assert_allclose(found, crossovers["batch_number"], rtol=0.15)


def _assert_same(found: pd.Series[Any], truth: pd.Series[Any]) -> None:
    np.testing.assert_allclose(
        found.to_numpy(float), truth.to_numpy(float), rtol=1e-9, atol=1e-12, err_msg=str(found.name)
    )


def test_what_the_sums_do_not_tell(tmp_path: Path) -> None:
    moments = _capture(tmp_path / "run", _images(tmp_path, _pixels(60)), METHODS)
    assert isinstance(moments.layers, SummedLayers)
    with pytest.raises(RunFolderError, match="were not kept") as caught:
        moments["1"]
    assert "--keep layers" in caught.value.hint
    study = analyze(moments, "bn@2,bn@4,gn:1,bn@64")
    assert set(study.errors()["method"]) == {"bn@2", "gn:1"}  # gn:1 is ln
    assert any("no sums were kept for batches of 4 with" in note for note in study.notes)
    assert study.askable() == ()
    with pytest.raises(RunFolderError, match="were not kept"):
        study.composition()
    with pytest.raises(MethodError, match="None of the methods"):
        analyze(moments, "gn:3")


def test_parts_do_not_grow_with_images(tmp_path: Path) -> None:
    sizes = []
    for count in (320, 960):
        images = _images(tmp_path, _pixels(count), f"{count}.npz")
        run = tmp_path / str(count)
        _capture(run, images, METHODS)
        parts = sorted((run / MOMENTS).glob("*.safetensors"))
        assert len(parts) == 20
        each = 8 + 32  # an image's place and digest, by which parts are told apart
        sizes.append(sum(part.stat().st_size for part in parts) - count * each)
    assert sizes[1] == pytest.approx(sizes[0], rel=0.02)


def test_merged_captures(tmp_path: Path) -> None:
    pixels = _pixels(150)
    for name, some in (("one", pixels[:90]), ("other", pixels[90:])):
        _capture(tmp_path / name, _images(tmp_path, some, f"{name}.npz"), METHODS)
    whole = _capture(tmp_path / "whole", _images(tmp_path, pixels, "all.npz"), METHODS)
    found = []
    for names in (("one", "other"), ("other", "one")):
        captured = [Captured.read(tmp_path / name) for name in names]
        place = tmp_path / "-".join(names)
        place.mkdir()
        found.append(copied(captured, together(captured), place, {"images_from": {}}))
    columns = list(TERMS)
    truth = analyze(whole, "in,ln,gn:4,running").errors()[columns]
    for moments in found:
        assert moments.images == 150
        merged = analyze(moments, "in,ln,gn:4,running").errors()
        # Other batches in the network's forward pass: other last digits of float32.
        np.testing.assert_allclose(merged[columns], truth, rtol=1e-4, atol=1e-9)
    one, other = (analyze(moments, METHODS).errors() for moments in found)
    np.testing.assert_allclose(one[columns], other[columns], rtol=1e-12, atol=1e-14)


def test_layers_that_do_not_run_with_every_image() -> None:
    summing = Summing(METHODS)
    layer = _layer(images=10)
    other = _some(layer, slice(0, 10))
    summing.add(Moments({"a": layer, "b": other}))
    summing.add(Moments({"a": layer}, left_out={"b": "it is broken"}))
    summing.add(Moments({"a": layer, "c": other}))
    sums = summing.sums()
    assert sums.images == 30
    assert list(sums.tensors) == list(sums.layers) == ["a"]
    assert sums.layers.left_out == {
        "b": "it is broken",
        "c": "it did not run with every image",
    }
