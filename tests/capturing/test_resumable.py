"""Capturing part by part: cut off anywhere and gone on with, the folder's bytes are the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import normstats as ns
from normstats import run_folder
from normstats.capture_folder import CaptureFolder, locked
from normstats.capturing import Capturer, capture_parts
from normstats.errors import CaptureError, RunFolderError
from normstats.fingerprint import fingerprint_of
from normstats.inputs import Images, open_images
from normstats.moments import Moments

_IMAGES = 53
_A_PART = 8


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.GroupNorm(2, 4)
    ).eval()


@pytest.fixture
def images(tmp_path: Path) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (_IMAGES, 3, 12, 12), dtype=np.uint8)
    labels = np.arange(_IMAGES) % 3
    np.savez(tmp_path / "images.npz", images=pixels, labels=labels)
    return open_images(tmp_path / "images.npz")


def _begun(place: Path, identity: str = "one") -> CaptureFolder:
    place.mkdir(parents=True, exist_ok=True)
    folder = CaptureFolder(place, {"network": identity}, _IMAGES, _A_PART, {})
    folder.begin()
    return folder


def _go_on(
    network: nn.Module, images: Images, folder: CaptureFolder, fail_at: int | None = None
) -> Moments:
    there = folder.whole()
    missing = [n for n in range(len(folder.ranges())) if n not in there]

    def tell(done: int) -> None:
        if fail_at is not None and done >= fail_at:
            raise KeyboardInterrupt

    capture_parts(Capturer(network), images, folder, missing, batch_size=3, progress=tell)
    return folder.finish(folder.whole(), {})


def _files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_parts_together_are_what_one_capture_gives(
    network: nn.Module, images: Images, tmp_path: Path
) -> None:
    whole = ns.capture(network, images.batches(3), classes=images.classes)
    parted = _go_on(network, images, _begun(tmp_path / "parts"))
    assert list(parted) == list(whole)
    assert parted.images == _IMAGES
    assert parted.classes == whole.classes
    np.testing.assert_array_equal(parted.labels, whole.labels)
    for name, layer in whole.items():
        # Batches end where parts do, and convolutions of another batch differ in the last digits.
        np.testing.assert_allclose(parted[name].mean, layer.mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(parted[name].variance, layer.variance, rtol=1e-5, atol=1e-6)
        assert parted[name].spatial == layer.spatial
        assert parted[name].groups == layer.groups
        np.testing.assert_array_equal(parted[name].gamma, layer.gamma)


@pytest.mark.parametrize("fail_at", [1, 8, 9, 25, 50, 53])
def test_an_interrupted_capture_goes_on(
    network: nn.Module, images: Images, tmp_path: Path, fail_at: int
) -> None:
    _go_on(network, images, _begun(tmp_path / "straight"))
    folder = _begun(tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        _go_on(network, images, folder, fail_at)
    again = CaptureFolder.read(tmp_path / "cut")
    assert again is not None
    assert len(again.whole()) == (fail_at - 1) // _A_PART
    _go_on(network, images, again)
    assert _files(tmp_path / "cut") == _files(tmp_path / "straight")


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("harm", "suffix"),
    [
        (_truncate, "safetensors"),
        (_flip, "safetensors"),
        (Path.unlink, "safetensors"),
        (_truncate, "json"),
        (Path.unlink, "json"),
    ],
)
def test_a_damaged_part_is_captured_again(
    network: nn.Module,
    images: Images,
    tmp_path: Path,
    harm: Callable[[Path], None],
    suffix: str,
) -> None:
    folder = _begun(tmp_path / "parts")
    _go_on(network, images, folder)
    before = _files(folder.folder)
    harm(folder.folder / f"part-00003.{suffix}")
    assert 3 not in folder.whole()
    with pytest.raises(RunFolderError, match="lacks 1 of 7 parts"):
        folder.finish(folder.whole(), {})
    _go_on(network, images, folder)
    assert _files(folder.folder) == before


def test_images_that_cannot_be_read_are_left_out_of_their_part(
    network: nn.Module, tmp_path: Path
) -> None:
    from PIL import Image

    rng = np.random.default_rng(1)
    for number in range(40):
        pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number:02}.png")
    (tmp_path / "17.png").write_bytes(b"no image")
    images = open_images(tmp_path)
    place = tmp_path / "parts"
    place.mkdir()
    folder = CaptureFolder(place, {}, len(images), _A_PART, {})
    folder.begin()
    moments = _go_on(network, images, folder)
    assert moments.images == 39
    parts = folder.whole()
    assert [part.about["images"] for part in parts.values()] == [8, 8, 7, 8, 8]
    assert parts[2].about["skipped"] == [["17.png", "not an image"]]
    list(images.batches(3))
    digests = [digest for part in parts.values() for digest in part.digests]
    assert fingerprint_of(digests) == images.fingerprint
    places = [place for part in parts.values() for place in part.places]
    assert places == [place for place in range(40) if place != 17]


def test_another_capture_is_not_mixed_in(tmp_path: Path) -> None:
    run = tmp_path / "run"
    place = run / run_folder.UNFINISHED
    _begun(place)
    (place / "part-00000.json").write_text("{}")
    other = CaptureFolder(place, {"network": "two"}, _IMAGES, _A_PART, {})
    with pytest.raises(RunFolderError, match="differs in: network"):
        run_folder.go_on(run, other, dict, force=False)
    assert (place / "part-00000.json").exists()
    assert run_folder.go_on(run, other, lambda: {"batch_size": 4}, force=True).way == {
        "batch_size": 4
    }
    assert not (place / "part-00000.json").exists()


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with locked(run, run / "parts"):
        with pytest.raises(RunFolderError, match="Another normstats is writing"):
            locked(run, run / "parts").__enter__()
        assert run.exists()
    assert not run.exists()  # nothing came of it


def test_a_layer_that_some_part_lacks_is_left_out(tmp_path: Path, images: Images) -> None:
    class Moody(nn.Module):
        """Runs its second layer with some images only."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
            self.calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            x = self.first(x)
            return x if self.calls > 6 else self.second(x)

    moments = _go_on(Moody().eval(), images, _begun(tmp_path / "parts"))
    assert list(moments) == ["first"]
    assert list(moments.left_out) == ["second"]


def test_two_images_are_needed(tmp_path: Path, network: nn.Module) -> None:
    np.save(tmp_path / "one.npy", np.zeros((1, 3, 12, 12), np.uint8))
    images = open_images(tmp_path / "one.npy")
    folder = CaptureFolder(tmp_path, {}, 1, _A_PART, {})
    folder.begin()
    with pytest.raises(CaptureError, match="only one image"):
        _go_on(network, images, folder)


def test_what_is_not_written_durably_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from normstats import files

    def full(_: int) -> Any:
        raise OSError(28, "No space left on device")

    file = tmp_path / "file"
    files.write_durably(file, b"old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_durably(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]
