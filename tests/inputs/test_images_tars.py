"""Images in tar archives: WebDataset's manner and class folders, never extracted."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.pictures import PLAIN, noise, paint, png, read, red
from PIL import Image

from normstats.errors import ImagesError
from normstats.inputs import open_images


def pack(path: Path, files: dict[str, bytes], **options: Any) -> Path:
    with tarfile.open(path, "w", **options) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_as_webdataset_writes_them(tmp_path: Path, form: int) -> None:
    files = {}
    for index, label in enumerate([10, 9, 10, 2]):
        files |= {
            f"shard/{index:04}.0.png": png(index),
            f"shard/{index:04}.cls": str(label).encode(),
            f"shard/{index:04}.json": b"{}",
        }
    images = open_images(pack(tmp_path / "x.tar", files, format=form), preprocessing=PLAIN)
    values, labels = read(images)
    assert red(values) == [0, 1, 2, 3]
    assert images.classes == ("2", "9", "10")
    assert labels == [2, 1, 2, 0]
    assert images.notes == ()


def test_classes_may_be_words(tmp_path: Path) -> None:
    files = {"0.png": png(), "0.cls": b"dog\n", "1.png": png(), "1.cls": "chäs".encode()}
    images = open_images(pack(tmp_path / "x.tar", files))
    assert images.classes == ("chäs", "dog")
    assert read(images)[1] == [1, 0]


@pytest.mark.parametrize("content", [None, b"", b"x" * 1000])
def test_classes_that_are_missing_are_told(tmp_path: Path, content: bytes | None) -> None:
    files = {"a/0.png": png(), "a/0.cls": b"1", "b/1.png": png()}
    if content is not None:
        files["b/1.cls"] = content
    images = open_images(pack(tmp_path / "x.tar", files))
    assert images.labels is None
    [note] = images.notes
    assert "1 of 2 images have none (b/1.png)" in note


@pytest.mark.parametrize("top", ["", "./", "images/", "./data/images/", "/absolute/"])
def test_class_folders(tmp_path: Path, top: str) -> None:
    names = ["b/1.png", "a/2.PNG", "b/deep/3.png", "a/.hidden.png", ".git/x.png", "readme.txt"]
    files = {top + name: png(value) for value, name in enumerate(names)}
    images = open_images(pack(tmp_path / "x.tar", files), preprocessing=PLAIN)
    assert images.classes == ("a", "b")
    values, labels = read(images)
    assert red(values) == [1, 0, 2]
    assert labels == [0, 1, 1]


def test_flat(tmp_path: Path) -> None:
    for names in (["1.png", "2.png"], ["top/1.png", "top/2.png"], ["1.png", "x/2.png"]):
        images = open_images(pack(tmp_path / "x.tar", {name: png() for name in names}))
        assert images.classes == ()
        assert len(read(images)[0]) == 2


@pytest.mark.parametrize("form", ["gnu", "posix", "ustar", "v7"])
def test_as_the_program_tar_writes_them(tmp_path: Path, form: str) -> None:
    long = "long" * 20 if form in {"ustar", "v7"} else "long" * 50
    for value, name in enumerate(["cat/1.png", "cat/2.png", f"dog/{long}.png"]):
        paint(tmp_path / "images" / name, value)
    options = [f"--format={form}", "-cf", str(tmp_path / "x.tar"), "-C", str(tmp_path)]
    subprocess.run(["tar", *options, "images"], check=True)
    images = open_images(tmp_path / "x.tar", preprocessing=PLAIN)
    assert images.classes == ("cat", "dog")
    assert images.names[2] == f"images/dog/{long}.png"
    assert red(read(images)[0]) == [0, 1, 2]


def test_the_same_as_unpacked(tmp_path: Path) -> None:
    """Every format, since decoders read files in their own ways."""
    pictures = noise(5, 40, 50)
    suffixes = ["jpg", "png", "bmp", "tif", "webp"]
    for suffix, picture in zip(suffixes, pictures, strict=True):
        (tmp_path / suffix).mkdir()
        options = {"compression": "tiff_lzw"} if suffix == "tif" else {}
        Image.fromarray(picture).save(tmp_path / suffix / f"x.{suffix}", **options)
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for suffix in suffixes:
            archive.add(tmp_path / suffix, suffix)
    results = []
    for place in (tmp_path, tmp_path / "x.tar"):
        for workers in (0, 2):
            images = open_images(place)
            values, labels = read(images, 2, workers)
            results.append((values, (labels, images.classes, images.names, images.fingerprint)))
    for values, rest in results[1:]:
        assert torch.equal(values, results[0][0])
        assert rest == results[0][1]
    assert results[0][1][3] is not None


def test_of_equal_names_the_last_counts(tmp_path: Path) -> None:
    """As when it is extracted; that is how tar updates."""
    pack(tmp_path / "x.tar", {"1.png": png(1), "2.png": png(2)})
    with tarfile.open(tmp_path / "x.tar", "a") as archive:
        member = tarfile.TarInfo("./1.png")
        member.size = len(png(7))
        archive.addfile(member, io.BytesIO(png(7)))
    images = open_images(tmp_path / "x.tar", preprocessing=PLAIN)
    assert red(read(images)[0]) == [7, 2]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = b"\xff\xfe.png".decode("utf-8", "surrogateescape")
    pack(tmp_path / "x.tar", {name: b"no image", "good.png": png()}, errors="surrogateescape")
    images = open_images(tmp_path / "x.tar", allow_bad=True)
    read(images)
    assert images.skipped == [(r"\udcff\udcfe.png", "not an image")]
    assert images.fingerprint is not None


def test_no_image(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match=r"holds 1 files \(a\.txt\)"):
        open_images(pack(tmp_path / "x.tar", {"a.txt": b""}))
    with pytest.raises(ImagesError, match=r"holds 0 files \(none\)"):
        open_images(pack(tmp_path / "x.tar", {}))


def test_archives_cut_off(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.tar", {f"{index}.png": png(index) for index in range(9)})
    whole = path.read_bytes()
    for size in (100, 600, 700, 1536, 2000, 512 * 7 + 30):
        path.write_bytes(whole[:size])
        with pytest.raises(ImagesError, match=r"cut off or damaged|no image"):
            open_images(path)


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.tar", {f"{index}.png": png(index) for index in range(9)})
    damaged = bytearray(path.read_bytes())
    damaged[1024 * 4 + 100] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(ImagesError, match="after 4 files: no header at byte 4,096"):
        open_images(path)
