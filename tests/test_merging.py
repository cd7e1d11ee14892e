"""What was captured apart is the same as what is captured together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from normstats.capture_folder import CaptureFolder
from normstats.capturing import Capturer, capture_parts
from normstats.errors import RunFolderError
from normstats.inputs import Images, open_images
from normstats.merging import Captured, copied, together
from normstats.run_folder import MOMENTS, UNFINISHED

_A_PART = 8


def _images(place: Path, pixels: np.ndarray[Any, Any], name: str) -> Images:
    np.savez(place / name, images=pixels, labels=np.arange(len(pixels)) % 2)
    return open_images(place / name)


def _run(
    run: Path,
    images: Images,
    *,
    numbers: Sequence[int] | None = None,
    weights: str = "w",
) -> Path:
    """A run folder with some parts; complete if ``numbers`` are not given."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)).eval()
    place = run / (UNFINISHED if numbers is not None else MOMENTS)
    place.mkdir(parents=True)
    identity = {"checkpoint": weights, "images": images.sample_sha256(), "torch": run.name}
    folder = CaptureFolder(place, identity, len(images), _A_PART, {})
    folder.begin()
    every = range(len(folder.ranges()))
    chosen = every if numbers is None else numbers
    capture_parts(Capturer(network), images, folder, chosen, batch_size=4)
    if numbers is None:
        folder.finish(folder.whole(), {"checkpoint": {"path": "net.pt"}})
    return run


def _merge(*runs: Path, into: Path) -> Any:
    into.mkdir()
    captured = [Captured.read(run) for run in runs]
    provenance = {"images_from": {"path": "several"}}
    return copied(captured, together(captured), into, provenance)


@pytest.fixture
def pixels() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (45, 3, 10, 10), dtype=np.uint8)


def test_ranks_that_saw_other_disks(tmp_path: Path, pixels: np.ndarray[Any, Any]) -> None:
    images = _images(tmp_path, pixels, "all.npz")
    whole = _run(tmp_path / "whole", images)
    one = _run(tmp_path / "one", images, numbers=[0, 2, 4])
    other = _run(tmp_path / "other", images, numbers=[1, 2, 3, 5])
    merged = _merge(one, other, into=tmp_path / "merged")
    for number in range(6):
        for suffix in ("safetensors", "json"):
            name = f"part-{number:05d}.{suffix}"
            theirs = (whole / MOMENTS / name).read_bytes()
            assert (tmp_path / "merged" / name).read_bytes() == theirs
    assert merged.images == 45
    assert list(merged.labels) == [n % 2 for n in range(45)]


def test_two_sets_of_images(tmp_path: Path, pixels: np.ndarray[Any, Any]) -> None:
    whole = _run(tmp_path / "whole", _images(tmp_path, pixels, "all.npz"))
    some = _run(tmp_path / "some", _images(tmp_path, pixels[:20], "some.npz"))
    rest = _run(tmp_path / "rest", _images(tmp_path, pixels[20:], "rest.npz"))
    merged = _merge(some, rest, into=tmp_path / "merged")
    expected = Captured.read(whole)
    assert merged.images == 45
    for name, layer in merged.items():
        truth = np.concatenate([part.tensor(f"{name}/mean") for part in expected.parts.values()])
        np.testing.assert_allclose(layer.mean, truth, rtol=1e-5, atol=1e-6)
    # What was merged can be merged again.
    more = _run(tmp_path / "more", _images(tmp_path, 255 - pixels[:9], "more.npz"))
    (tmp_path / "both").mkdir()
    (tmp_path / "merged").rename(tmp_path / "both" / MOMENTS)
    again = _merge(tmp_path / "both", more, into=tmp_path / "again")
    assert again.images == 54


def test_another_network_is_refused(tmp_path: Path, pixels: np.ndarray[Any, Any]) -> None:
    one = _run(tmp_path / "one", _images(tmp_path, pixels[:20], "one.npz"))
    other = _run(tmp_path / "other", _images(tmp_path, pixels[20:], "other.npz"), weights="v")
    with pytest.raises(RunFolderError, match=r"differs from .* in: checkpoint"):
        _merge(one, other, into=tmp_path / "merged")


def test_missing_parts_are_named(tmp_path: Path, pixels: np.ndarray[Any, Any]) -> None:
    images = _images(tmp_path, pixels, "all.npz")
    one = _run(tmp_path / "one", images, numbers=[0, 2])
    other = _run(tmp_path / "other", images, numbers=[1, 3, 5])
    with pytest.raises(RunFolderError, match=r"lack 1 of 6 parts.*part-00004"):
        _merge(one, other, into=tmp_path / "merged")


def test_no_image_counts_twice(tmp_path: Path, pixels: np.ndarray[Any, Any]) -> None:
    images = _images(tmp_path, pixels, "all.npz")
    other = _images(tmp_path, 255 - pixels, "other.npz")  # of the same names
    assert other.names == images.names
    assert other.sample_sha256() != images.sample_sha256()
    one = _run(tmp_path / "one", images)
    with pytest.raises(RunFolderError, match="finished"):
        _merge(one, _run(tmp_path / "two", images), into=tmp_path / "merged")
    some = _run(tmp_path / "some", _images(tmp_path, pixels[:12], "some.npz"))
    with pytest.raises(RunFolderError, match="12 images, by name and content"):
        _merge(one, some, into=tmp_path / "again")


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no parts"):
        Captured.read(tmp_path)
    with pytest.raises(RunFolderError, match="does not exist"):
        Captured.read(tmp_path / "none")
