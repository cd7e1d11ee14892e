"""Images from a folder: which, in which order, and what happens to those that are broken."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from normstats.errors import ImagesError, SettingError
from normstats.inputs import ImageFolder, Preprocessing, open_images

PLAIN = Preprocessing(mean=(0.0,), std=(1.0,))


def paint(path: Path, value: int = 0, size: tuple[int, int] = (6, 4)) -> None:
    """A lossless image whose values tell it apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 100, 200)).save(path, "PNG")


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Seven images in three classes; their red values count in sorted order."""
    root = tmp_path / "images"
    names = ["a/1.png", "a/2.PNG", "b/deep/3.png", "b/x.png", "c/0.jpeg", "c/1.png", "c/2.png"]
    for value, name in enumerate(names):
        paint(root / name, value)
    paint(root / "a" / ".hidden.png")
    paint(root / ".cache" / "1.png")
    (root / "a" / "notes.txt").write_text("no image")
    return root


def read(
    images: ImageFolder, batch_size: int = 3, workers: int = 0
) -> tuple[torch.Tensor, list[int] | None]:
    batches = list(images.batches(batch_size, workers))
    if images.labels is None:
        return torch.cat([batch for batch in batches if isinstance(batch, torch.Tensor)]), None
    pairs = [batch for batch in batches if isinstance(batch, tuple)]
    return torch.cat([x for x, _ in pairs]), [int(label) for _, y in pairs for label in y]


def red(images: torch.Tensor) -> list[int]:
    return [round(255 * float(image[0].mean())) for image in images]


def test_class_folders(classes: Path) -> None:
    images = open_images(classes, preprocessing=PLAIN)
    assert len(images) == 7
    assert images.classes == ("a", "b", "c")
    assert images.labels is not None
    assert images.labels.tolist() == [0, 0, 1, 1, 2, 2, 2]
    values, labels = read(images)
    assert values.shape == (7, 3, 4, 6)
    assert values.dtype == torch.float32
    assert red(values) == [0, 1, 2, 3, 4, 5, 6]
    assert labels == [0, 0, 1, 1, 2, 2, 2]
    assert images.skipped == []


def test_labels_are_int64(classes: Path) -> None:
    batch = next(iter(open_images(classes).batches(2)))
    assert isinstance(batch, tuple)
    assert batch[1].dtype == torch.int64


@pytest.mark.parametrize("stray", [True, False])
def test_flat_folders_have_no_classes(tmp_path: Path, stray: bool) -> None:
    paint(tmp_path / "1.png", 1)
    paint(tmp_path / ("sub/0.png" if stray else "0.png"), 0)
    images = open_images(tmp_path, preprocessing=PLAIN)
    assert images.classes == ()
    assert images.labels is None
    assert sorted(red(read(images)[0])) == [0, 1]


def test_grey_images(classes: Path) -> None:
    images = open_images(classes, input_channels=1)
    assert images.preprocessing.mean == pytest.approx((0.449,), abs=1e-3)
    assert read(images)[0].shape == (7, 1, 4, 6)


def test_limit_is_a_seeded_sample_in_order(classes: Path) -> None:
    samples = [open_images(classes, limit=4, seed=seed).names for seed in (0, 0, 1, 2, 3)]
    assert samples[0] == samples[1]
    assert len(set(samples)) > 1
    assert all(len(set(names)) == 4 and list(names) == sorted(names) for names in samples)
    assert len(open_images(classes, limit=99)) == 7
    limited = open_images(classes, limit=3, preprocessing=PLAIN)
    assert limited.classes == ("a", "b", "c")
    expected = [open_images(classes).names.index(name) for name in limited.names]
    assert red(read(limited)[0]) == expected


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_change_nothing(classes: Path) -> None:
    (classes / "b" / "broken.png").write_bytes(b"no image")
    results = []
    for workers in (0, 2):
        images = open_images(classes)
        results.append((*read(images, workers=workers), images.skipped, images.fingerprint))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1:] == results[1][1:]
    assert len(results[0][2]) == 1


def test_torch_random_numbers_stay_where_they_are(classes: Path) -> None:
    before = torch.get_rng_state()
    read(open_images(classes, limit=3))
    assert torch.equal(torch.get_rng_state(), before)


def test_fingerprint_is_of_names_and_contents(classes: Path, tmp_path: Path) -> None:
    def fingerprint(root: Path) -> str | None:
        images = open_images(root)
        assert images.fingerprint is None
        read(images)
        return images.fingerprint

    first = fingerprint(classes)
    assert first is not None
    assert len(first) == 64
    copied = tmp_path / "copied"
    shutil.copytree(classes, copied)
    assert fingerprint(copied) == first
    (copied / "a" / "1.png").rename(copied / "a" / "0.png")
    assert fingerprint(copied) != first
    (copied / "a" / "0.png").rename(copied / "a" / "1.png")
    assert fingerprint(copied) == first
    paint(copied / "a" / "1.png", 77)
    assert fingerprint(copied) != first


def test_fingerprint_waits_for_the_end(classes: Path) -> None:
    images = open_images(classes)
    next(iter(images.batches(2)))
    assert images.fingerprint is None


def test_broken_images_are_skipped_counted_and_named(classes: Path) -> None:
    buffer = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(values).save(buffer, "JPEG")
    (classes / "a" / "0cut.jpg").write_bytes(buffer.getvalue()[:2000])
    (classes / "a" / "0empty.jpg").touch()
    (classes / "b" / "text.png").write_text("<html>")
    (classes / "c" / "gone.png").symlink_to("nowhere.png")
    (classes / "c" / "loop.png").symlink_to("loop.png")
    images = open_images(classes, preprocessing=PLAIN)
    assert len(images) == 12
    for _ in range(2):  # reading again counts again, not on top
        values_read, labels = read(images, batch_size=2)
        assert red(values_read) == [0, 1, 2, 3, 4, 5, 6]
        assert labels == [0, 0, 1, 1, 2, 2, 2]
        reasons = dict(images.skipped)
        assert list(reasons) == [
            "a/0cut.jpg", "a/0empty.jpg", "b/text.png", "c/gone.png", "c/loop.png",
        ]  # fmt: skip
        assert "truncated" in reasons["a/0cut.jpg"]
        assert reasons["b/text.png"] == "not an image"
        assert "No such file" in reasons["c/gone.png"]


def test_decompression_bomb_is_skipped(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint(classes / "a" / "bomb.png", size=(40, 40))
    paint(classes / "a" / "small_bomb.png", size=(11, 11))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    images = open_images(classes)
    read(images)
    assert [name for name, _ in images.skipped] == ["a/bomb.png", "a/small_bomb.png"]
    assert all("decompression bomb" in reason for _, reason in images.skipped)


def test_all_broken(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_text("no image")
    with pytest.raises(ImagesError, match=r"None of the 2 images .* 1\.jpg \(not an image\)"):
        read(open_images(tmp_path))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 100])
def test_different_sizes(classes: Path, workers: int, batch_size: int) -> None:
    paint(classes / "b" / "wide.png", size=(9, 4))
    with pytest.raises(ImagesError, match=r"a/1\.png is 6x4 .* b/wide\.png is 9x4") as caught:
        read(open_images(classes), batch_size, workers)
    assert "--resize 256 --crop 224" in (caught.value.hint or "")
    with pytest.raises(ImagesError) as caught:
        read(open_images(classes, preprocessing=Preprocessing(resize=8)))
    assert "--crop 8" in (caught.value.hint or "")
    cut = open_images(classes, preprocessing=Preprocessing(resize=8, crop=8))
    assert read(cut, batch_size, workers)[0].shape == (8, 3, 8, 8)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 2])
def test_image_smaller_than_the_crop(classes: Path, workers: int) -> None:
    with pytest.raises(ImagesError, match=r"^a/1\.png: 6x4 pixels are less") as caught:
        read(open_images(classes, preprocessing=Preprocessing(crop=5)), workers=workers)
    assert "--resize 5" in (caught.value.hint or "")


def test_links_in_circles_end(classes: Path) -> None:
    (classes / "a" / "up").symlink_to(classes, target_is_directory=True)
    (classes / "b" / "across").symlink_to(classes / "c", target_is_directory=True)
    assert len(open_images(classes)) == 7


def test_linked_class_folders_are_read(classes: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "first").symlink_to(classes / "a", target_is_directory=True)
    (linked / "second").symlink_to(classes / "c", target_is_directory=True)
    images = open_images(linked)
    assert images.classes == ("first", "second")
    assert len(images) == 5


def test_pipes_are_not_waited_for(classes: Path) -> None:
    os.mkfifo(classes / "a" / "pipe.png")
    (classes / "a" / "linked.png").symlink_to("pipe.png")
    assert len(open_images(classes)) == 7


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match="no folder") as caught:
        open_images(tmp_path / "no")
    assert caught.value.hint


def test_file_instead_of_a_folder(classes: Path) -> None:
    with pytest.raises(ImagesError, match="is a file"):
        open_images(classes / "a" / "1.png")


def test_no_image(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match=r"no image in .*: it holds no files"):
        open_images(tmp_path)
    for name in ("a.txt", "b.txt", "c.csv", "README"):
        (tmp_path / name).touch()
    with pytest.raises(ImagesError, match=r"4 files \(2 \.txt, 1 no suffix, 1 \.csv\)") as caught:
        open_images(tmp_path)
    assert ".jpg" in (caught.value.hint or "")


@pytest.mark.parametrize("limit", [0, -5])
def test_senseless_limits(classes: Path, limit: int) -> None:
    with pytest.raises(SettingError, match=str(limit)):
        open_images(classes, limit=limit)


def test_senseless_batches(classes: Path) -> None:
    images = open_images(classes)
    with pytest.raises(SettingError, match="batch size"):
        images.batches(0)
    with pytest.raises(SettingError, match="workers"):
        images.batches(1, -1)


def test_channels_that_images_lack(classes: Path) -> None:
    with pytest.raises(ImagesError, match="6 channels"):
        open_images(classes, input_channels=6)


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    paint(tmp_path / "good.png")
    (tmp_path / "bad\x1b[2J\n.png").write_text("no image")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bytes\xff.png")).write_text("no image")
    images = open_images(tmp_path)
    read(images)
    assert [name for name, _ in images.skipped] == [r"bad\x1b[2J\n.png", r"bytes\udcff.png"]
