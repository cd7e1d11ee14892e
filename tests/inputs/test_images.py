"""Images from a folder: which, in which order, and what happens to those that are broken."""

from __future__ import annotations

import io
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.pictures import PLAIN, noise, paint, png, read, red
from PIL import Image

from normstats.errors import ImagesError, SettingError
from normstats.inputs import Preprocessing, open_images
from normstats.inputs.images import batches, reading


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
    Image.fromarray(noise(1, 64, 64)[0]).save(buffer, "JPEG")
    (classes / "a" / "0cut.jpg").write_bytes(buffer.getvalue()[:2000])
    (classes / "a" / "0empty.jpg").touch()
    (classes / "b" / "text.png").write_text("<html>")
    (classes / "c" / "gone.png").symlink_to("nowhere.png")
    (classes / "c" / "loop.png").symlink_to("loop.png")
    os.mkfifo(classes / "c" / "pipe.png")
    (classes / "c" / "piped.png").symlink_to("pipe.png")
    images = open_images(classes, preprocessing=PLAIN, allow_bad=True)
    assert len(images) == 14
    for _ in range(2):  # reading again counts again, not on top
        values_read, labels = read(images, batch_size=2)
        assert red(values_read) == [0, 1, 2, 3, 4, 5, 6]
        assert labels == [0, 0, 1, 1, 2, 2, 2]
        reasons = dict(images.skipped)
        assert list(reasons) == [
            "a/0cut.jpg", "a/0empty.jpg", "b/text.png", "c/gone.png", "c/loop.png", "c/pipe.png",
            "c/piped.png",
        ]  # fmt: skip
        assert "truncated" in reasons["a/0cut.jpg"]
        assert reasons["b/text.png"] == "not an image"
        assert "No such file" in reasons["c/gone.png"]
        assert "a pipe" in reasons["c/pipe.png"]


@pytest.mark.parametrize(
    ("count", "bad", "refused"), [(20, 1, False), (19, 1, True), (41, 3, True)]
)
@pytest.mark.parametrize("place", ["first", "last"])
def test_more_than_5_percent_broken(
    tmp_path: Path, count: int, bad: int, refused: bool, place: str
) -> None:
    for i in range(count):
        paint(tmp_path / f"m{i:02}.png", i)
    names = [f"{'a' if place == 'first' else 'z'}{i}.png" for i in range(bad)]
    for name in names:
        paint(tmp_path / name)
    for i in range(bad):
        (tmp_path / f"m{i:02}.png").unlink()
        (tmp_path / names[i]).write_text("no image")
    images = open_images(tmp_path)
    if not refused:
        assert len(read(images)[0]) == count - bad
        return
    with pytest.raises(ImagesError, match=f"More than 5 % of the {count} .*{names[0]}") as caught:
        read(images)
    assert "--allow-bad" in caught.value.hint
    allowed = open_images(tmp_path, allow_bad=True)
    assert len(read(allowed)[0]) == count - bad
    assert [name for name, _ in allowed.skipped] == names


def test_broken_images_make_no_smaller_batch(classes: Path) -> None:
    (classes / "a" / "0.png").write_text("no image")
    images = open_images(classes, allow_bad=True)
    assert [len(batch[0]) for batch in images.batches(3)] == [3, 3, 1]


def test_large_images_come_in_smaller_batches(
    classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = read(open_images(classes))
    one = 3 * 4 * 6 * 4
    for most, sizes in [(2 * one, [2, 2, 2, 1]), (one - 1, [1] * 7), (3 * one - 1, [2, 2, 2, 1])]:
        monkeypatch.setattr(batches, "_MOST_BYTES", most)
        images = open_images(classes)
        assert [len(batch[0]) for batch in images.batches(5)] == sizes
        values, labels = read(images, 5)
        assert torch.equal(values, expected[0])
        assert labels == expected[1]


def test_decompression_bomb_is_skipped(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint(classes / "a" / "bomb.png", size=(40, 40))
    paint(classes / "a" / "small_bomb.png", size=(11, 11))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    images = open_images(classes, allow_bad=True)
    read(images)
    assert [name for name, _ in images.skipped] == ["a/bomb.png", "a/small_bomb.png"]
    assert all("decompression bomb" in reason for _, reason in images.skipped)


def test_all_broken(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_text("no image")
    with pytest.raises(ImagesError, match=r"None of the 2 images .* 1\.jpg \(not an image\)"):
        read(open_images(tmp_path, allow_bad=True))


def test_images_too_large_for_a_network(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGEST_INPUT", 23)
    with pytest.raises(ImagesError, match=r"^a/1\.png: .* 6x4 pixels") as caught:
        read(open_images(classes))
    assert "--resize" in caught.value.hint
    with pytest.raises(ImagesError, match=r"8x5 pixels"):
        read(open_images(classes, resize=5))
    assert read(open_images(classes, resize=5, crop=5))[0].shape == (7, 3, 5, 5)
    monkeypatch.setattr(reading, "LARGEST_INPUT", 24)
    assert len(read(open_images(classes))[0]) == 7


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 100])
def test_different_sizes(classes: Path, workers: int, batch_size: int) -> None:
    paint(classes / "b" / "wide.png", size=(9, 4))
    with pytest.raises(ImagesError, match=r"a/1\.png is 6x4 .* b/wide\.png is 9x4") as caught:
        read(open_images(classes), batch_size, workers)
    assert "--resize 256 --crop 224" in caught.value.hint
    with pytest.raises(ImagesError) as caught:
        read(open_images(classes, preprocessing=Preprocessing(resize=8)))
    assert "--crop 8" in caught.value.hint
    cut = open_images(classes, preprocessing=Preprocessing(resize=8, crop=8))
    assert read(cut, batch_size, workers)[0].shape == (8, 3, 8, 8)


@pytest.mark.parametrize("workers", [0, 2])
def test_image_smaller_than_the_crop(classes: Path, workers: int) -> None:
    with pytest.raises(ImagesError, match=r"^a/1\.png: 6x4 pixels are less") as caught:
        read(open_images(classes, preprocessing=Preprocessing(crop=5)), workers=workers)
    assert "--resize 5" in caught.value.hint


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


@pytest.mark.parametrize("name", ["x.gif", "X.JFIF", "x.TiF", "x.webp", "folder.png/x.bmp"])
def test_what_is_an_image(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (3, 2)).save(path, "JPEG" if "J" in name else None)
    images = open_images(tmp_path)
    assert images.names == (name,)
    assert read(images)[0].shape == (1, 3, 2, 3)


def test_options_stand_in_for_the_preprocessing(classes: Path) -> None:
    given = Preprocessing(resize=8, crop=8, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
    images = open_images(classes, preprocessing=given, resize=16, std=(0.5,) * 3, crop=0)
    assert images.preprocessing == Preprocessing(resize=16, mean=given.mean, std=(0.5,) * 3)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match="no folder") as caught:
        open_images(tmp_path / "no")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("1.png", png(), "one image"),
        ("1.jpg", b"\xff\xd8\xff\xe0", "one image"),
        ("x.tar.gz", b"\x1f\x8b\x08", "gunzip"),
        ("x.tar.zst", b"(\xb5/\xfd", "unzstd"),
        ("x.parquet", b"PAR1", "hf:"),
        ("x.txt", b"dear diary", "64 65 61 72"),
        ("x.npy", b"", "empty"),
    ],
)
def test_files_that_hold_no_images(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImagesError, match=name) as caught:
        open_images(tmp_path / name)
    assert words in str(caught.value)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "images")
    with pytest.raises(ImagesError, match="a pipe"):
        open_images(tmp_path / "images")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("cifr10:/data", "cifar10"),
        ("coco:/data", "torchvision dataset"),
        ("CocoDetection:/data", "give the folder of its images"),
        ("cifar10", "cifar10:FOLDER"),
        ("pets:", "pets:FOLDER"),
        ("hf:", "hf:NAME"),
        ("cifar10:/no/such", "There is no folder /no/such"),
        ("some/where:else", "There is no folder or file some/where:else"),
        ("x" * 5000, "too long"),
        ("nul\0", r"nul\x00"),
        ("", "empty"),
    ],
)
def test_names_of_nothing(
    spec: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImagesError) as caught:
        open_images(spec)
    assert words in str(caught.value)
    assert caught.value.hint


def test_what_exists_wins_over_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paint(Path("cifar10:x/1.png"))
    assert len(open_images("cifar10:x")) == 1


def test_no_image(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match=r"no image in .*: it holds no files"):
        open_images(tmp_path)
    for name in ("a.txt", "b.txt", "c.csv", "README"):
        (tmp_path / name).touch()
    with pytest.raises(ImagesError, match=r"4 files \(2 \.txt, 1 no suffix, 1 \.csv\)") as caught:
        open_images(tmp_path)
    assert ".jpg" in caught.value.hint


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
    images = open_images(tmp_path, allow_bad=True)
    read(images)
    assert [name for name, _ in images.skipped] == [r"bad\x1b[2J\n.png", r"bytes\udcff.png"]


def test_class_names_are_printable_and_told_apart(tmp_path: Path) -> None:
    for folder in ("<b>", "\x1b[2J", r"\x1b[2J"):
        paint(tmp_path / folder / "1.png")
    images = open_images(tmp_path)
    assert images.classes == (r"\x1b[2J (0)", "<b>", r"\x1b[2J (2)")


def test_folders_of_other_things_point_to_them(tmp_path: Path) -> None:
    (tmp_path / "train.tar").touch()
    with pytest.raises(ImagesError) as caught:
        open_images(tmp_path)
    assert "train.tar" in caught.value.hint


def test_a_layout_is_for_arrays(classes: Path) -> None:
    with pytest.raises(SettingError, match="arrays"):
        open_images(classes, layout="nchw")
    with pytest.raises(SettingError, match="nwhc"):
        open_images(classes, layout="nwhc")


@pytest.mark.slow
def test_a_hundred_thousand_files_are_listed_quickly(tmp_path: Path) -> None:
    for folder in range(100):
        (tmp_path / f"{folder}").mkdir()
        for file in range(1000):
            os.mknod(tmp_path / f"{folder}" / f"{file}.png")
    start = time.perf_counter()
    images = open_images(tmp_path, limit=500)
    assert time.perf_counter() - start < 10
    assert images.labels is not None
    assert np.bincount(images.labels).tolist() == [5] * 100
