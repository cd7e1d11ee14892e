"""Every way in which images are refused, as a user meets it."""

from __future__ import annotations

import io
import os
import struct
import sys
import tarfile
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import odd_networks
from helpers.pictures import noise, paint, png
from helpers.refusals import analyze, assert_refused, bring, die
from PIL import Image

from normstats.inputs.images import processes

Make = Callable[[Path], object]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the program is started, and good input lies."""
    monkeypatch.chdir(tmp_path)
    bring(tmp_path)
    return tmp_path


# --- collections of images -----------------------------------------------------------------------


def holding(content: bytes) -> Make:
    return lambda path: path.write_bytes(content)


def nothing(path: Path) -> None:
    """Where the name or an option is what is wrong."""


def array(*shape: int, dtype: type = np.uint8) -> Make:
    def make(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, np.zeros(shape, dtype))

    return make


def folder_of(**files: bytes) -> Make:
    """A folder of files; in their names, a dot stands where two underscores are."""

    def make(path: Path) -> None:
        path.mkdir()
        for name, content in files.items():
            (path / name.replace("__", ".")).write_bytes(content)

    return make


def tar_of(*names: str) -> Make:
    def make(path: Path) -> None:
        with tarfile.open(path, "w") as archive:
            for name in names:
                archive.addfile(tarfile.TarInfo(name))

    return make


def arrays(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, first=noise(4), second=noise(4))


def damaged_inside(path: Path) -> None:
    """Compressed, and with another byte in the middle."""
    with path.open("wb") as file:
        np.savez_compressed(file, images=noise(40))
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 255
    path.write_bytes(whole)


def shorter_than_promised(path: Path) -> None:
    """A compressed array of nine images, by its header and the directory; there are four."""
    content = io.BytesIO()
    np.save(content, noise(4))
    promising = content.getvalue().replace(b"(4, 5, 7, 3)", b"(9, 5, 7, 3)")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", promising)
    whole = bytearray(path.read_bytes())
    listed = whole.rindex(b"PK\1\2")
    whole[listed + 24 : listed + 28] = struct.pack("<I", 9999)
    path.write_bytes(whole)


def one_large_image(path: Path) -> None:
    path.mkdir()
    Image.new("1", (4100, 4100)).save(path / "large.png")


def one_image_among_words(path: Path) -> None:
    path.mkdir()
    paint(path / "small.png", size=(12, 12))
    for number in range(3):
        (path / f"{number}.png").write_text("not an image")


REFUSED: dict[str, tuple[Make, dict[str, object], list[str]]] = {
    # Arrays.
    "junk.npz": (holding(b"PK\3\4" + bytes(99)), {}, ["junk.npz is damaged", "Copy or download"]),
    "inside.npz": (damaged_inside, {}, ["inside.npz:images is damaged", "Copy or download"]),
    "short.npz": (shorter_than_promised, {}, ["short.npz:images is cut off", "Copy or download"]),
    "two.npz": (arrays, {}, ["two.npz holds 2 arrays: first", "two.npz:first, say"]),
    "key.npz": (
        arrays,
        {"images": "key.npz:frist"},
        ["key.npz holds no array 'frist'", "Did you mean first?", "It holds: first (4, 5, 7, 3)"],
    ),
    "none.npy": (array(0, 3, 8, 8), {}, ["holds no pixels: its shape is (0, 3, 8, 8)"]),
    "axes.npy": (array(4, 8, 8), {}, ["has 3 axes: its shape is (4, 8, 8)", "NCHW"]),
    "many.npy": (array(*[1] * 9), {}, ["has 9 axes.", "NCHW"]),
    "type.npy": (array(4, 3, 8, 8, dtype=np.int32), {}, ["is of type int32", "uint8"]),
    "layout.npy": (
        array(4, 3, 8, 8),
        {"layout": "nhwc"},
        ["takes 3 channels; read as nhwc, layout.npy with shape (4, 3, 8, 8) has 8", "is 3"],
    ),
    "either.npy": (array(4, 3, 8, 3), {}, ["on axis 1 or on axis 3", "--layout nchw"]),
    "neither.npy": (array(4, 5, 8, 8), {}, ["has no axis 1 or 3 of that length", "(images, 3,"]),
    "range.npy": (
        lambda path: np.save(path, np.linspace(-1, 2, 768, dtype="f4").reshape(4, 3, 8, 8)),
        {"resize": 6},
        ["[0]: values from -1 to", "cannot be resized", "Leave --resize out"],
    ),
    "nan.npy": (
        lambda path: np.save(path, np.full((4, 3, 8, 8), np.nan, "f4")),
        {"allow_bad": True},
        ["None of the 4 images in nan.npy can be read", "[0] (holds NaN or infinity)", "finite"],
    ),
    "cut.safetensors": (
        holding(struct.pack("<Q", 900) + b'{"w": '),
        {},
        ["cannot be read as safetensors", "Copy or download"],
    ),
    # Files and folders.
    "empty": (holding(b""), {}, ["empty is empty", "Images are a folder"]),
    "words": (holding(b"dear diary"), {}, ["first bytes (64 65 61 72)", "Images are a folder"]),
    "one.png": (holding(png()), {}, ["is one image", "Give the folder"]),
    "table.parquet": (holding(b"PAR1"), {}, ["is a Parquet file", "hf:FOLDER"]),
    "all.tar.gz": (holding(b"\x1f\x8b\x08"), {}, ["compressed with gzip", "gunzip FILE"]),
    "all.tar": (tar_of("a.txt", "b.txt"), {}, ["no image in all.tar: it holds 2 files", ".jpg"]),
    "cut.tar": (holding(b"x" * 100), {}, ["cut.tar is cut off or damaged", "Copy or download"]),
    "key.tar": (tar_of("a.png"), {"images": "key.tar:a"}, ["key.tar holds no arrays", "'a'"]),
    "inside": (
        folder_of(all__tar=b""),
        {},
        ["no image in inside", "the file itself: inside/all.t"],
    ),
    "arrow": (folder_of(data__arrow=b""), {}, ["no image in arrow", "write hf:arrow"]),
    "bad": (one_image_among_words, {}, ["More than 5 % of the 4 images", "--allow-bad"]),
    "worse": (
        folder_of(a__png=b"x", b__png=b"x"),
        {"allow_bad": True},
        ["None of the 2 images in worse can be read: a.png (not an image)", "image viewer"],
    ),
    "large": (one_large_image, {}, ["large.png: the network would be given 4100x4100", "--crop"]),
    # Names.
    "nowhere": (nothing, {}, ["There is no folder or file nowhere", "Paths are taken"]),
    "name": (nothing, {"images": ""}, ["The name of the images is empty"]),
    "home": (
        nothing,
        {"images": "~nobody-here/x"},
        ["~nobody-here/x cannot be read", "home directory.\n"],
    ),
    "cifar": (nothing, {"images": "cifar10:"}, ["cifar10: is not complete", "cifar10:FO"]),
    "hub": (nothing, {"images": "hf:"}, ["hf: is not complete", "hf:NAME"]),
    "dataset": (
        nothing,
        {"images": "cifar11:data"},
        ["no folder or file cifar11:data, and no dataset 'cifar11'", "Did you mean cifar10"],
    ),
    "coco": (nothing, {"images": "CocoDetection:data"}, ["is not read by name"]),
    # Options.
    "wide": (nothing, {"images": "images", "layout": "hwc"}, ["There is no layout 'hwc'", "nchw"]),
    "file": (
        nothing,
        {"images": "images", "layout": "nchw"},
        ["layout nchw is for arrays, and images is none", "Leave it out"],
    ),
    "crop": (
        nothing,
        {"images": "images", "resize": 8, "crop": 9},
        ["crop of 9 pixels is larger than the 8", "--resize"],
    ),
    "small": (
        nothing,
        {"images": "images", "crop": 64},
        ["0.png: 12x12 pixels are less than the crop of 64", "--resize 64 or more"],
    ),
    "counts": (
        nothing,
        {"images": "images", "mean": "0.5,0.5,0.5", "std": "1"},
        ["mean has 3 values and std 1", "both 1"],
    ),
    "infinite": (nothing, {"images": "images", "mean": "nan,0,0"}, ["finite numbers"]),
    "resized": (
        nothing,
        {"images": "images", "resize": 5000},
        ["0.png: the network would be given 5000x5000 pixels", "--crop"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(normstats: Callable[..., Any], place: Path, name: str) -> None:
    make, options, words = REFUSED[name]
    make(place / name)
    assert_refused(normstats(*analyze(**{"images": name} | options)), *words)


def test_a_network_of_other_channels(normstats: Callable[..., Any], place: Path) -> None:
    torch.save(odd_networks.of_four_channels().state_dict(), "four.pth")
    four = {"checkpoint": "four.pth", "arch": f"{odd_networks.__file__}:of_four_channels"}
    words = ["takes images of 4 channels; image files give 3 (RGB) or 1", "Give an array"]
    assert_refused(normstats(*analyze(**four)), *words)
    array(4, 4, 8, 8)(place / "four.npy")
    words = ["takes images of 4 channels, and mean and std have 3 values", "--mean 0.5"]
    assert_refused(normstats(*analyze(**four, images="four.npy")), *words)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
def test_a_file_whose_first_byte_cannot_be_read(normstats: Callable[..., Any], place: Path) -> None:
    outcome = normstats(*analyze(images="/proc/self/mem"))
    assert_refused(outcome, "/proc/self/mem cannot be read: Input/output error")


def test_a_folder_that_must_not_be_read(normstats: Callable[..., Any], place: Path) -> None:
    (place / "images" / "closed").mkdir(mode=0)
    if os.access("images/closed", os.R_OK):
        pytest.skip("this user may read everything")
    outcome = normstats(*analyze())
    assert_refused(outcome, "The folder images/closed", "cannot be read: Permission denied")


def test_a_process_that_dies(
    normstats: Callable[..., Any], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_start", die)
    outcome = normstats(*analyze(workers=1))
    assert_refused(outcome, "A process that reads images died", "0.png", "--workers 0")


# --- torchvision's datasets ----------------------------------------------------------------------


def folders(*names: str) -> Make:
    return lambda place: [(place / name).mkdir(parents=True) for name in names]


def textures_without_images(place: Path) -> None:
    folders("dtd/dtd/images", "dtd/dtd/labels")(place)
    (place / "dtd" / "dtd" / "labels" / "test1.txt").touch()


def digits_cut_off(place: Path) -> None:
    folders("MNIST/raw")(place)
    for kind in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (place / "MNIST" / "raw" / f"{kind}-ubyte").write_bytes(b"\0\0\x08\x03")


@pytest.mark.parametrize(
    ("spec", "make", "words"),
    [
        ("cifar10:nowhere", folders(), ["There is no folder nowhere", "cifar10:FOLDER"]),
        ("cifar10:.:validation", folders(), ["no split 'validation'", "It has: test, train."]),
        ("eurosat:.:test", folders(), ["EuroSAT has no split 'test'", "leave it out"]),
        ("imagenet:.", folders(), ["There is no folder val", "torchvision.datasets.ImageNet"]),
        (
            "cifar10:.",
            folders("cifar-10-batches-py"),
            ["cifar10:.:test is not complete", "data_batch_1", "download=True"],
        ),
        ("dtd:.", textures_without_images, ["dtd:.:test holds no images", "another root or split"]),
        ("mnist:.", digits_cut_off, ["mnist:.:test cannot be read", "torchvision.datasets.MNIST"]),
        ("svhn:.", folders(), ["svhn:.:test cannot be read", "torchvision.datasets.SVHN"]),
    ],
)
def test_torchvision_datasets(
    normstats: Callable[..., Any], place: Path, spec: str, make: Make, words: list[str]
) -> None:
    make(place)
    assert_refused(normstats(*analyze(images=spec)), *words)


# --- Hugging Face's datasets ---------------------------------------------------------------------


@pytest.fixture
def datasets(datasets: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, with an empty cache and no network."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", place / "cache")
    datasets.disable_progress_bars()
    return datasets


def save(datasets: Any, **columns: Any) -> None:
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    features = datasets.Features({name: kinds[name] for name in columns})
    dataset = datasets.Dataset.from_dict(columns, features=features)
    dataset.save_to_disk("one")
    datasets.DatasetDict({"train": dataset, "test": dataset}).save_to_disk("both")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("hf:one:test", ["hf:one is one split", "not 'test'", "Leave the split out: hf:one"]),
        ("hf:both:tets", ["hf:both has no split 'tets'", "Did you mean test", "It has: train, te"]),
        ("hf:./nowhere", ["There is no folder nowhere", "Paths are taken from"]),
        ("hf:images/0.png", ["cannot be loaded", "hf:FOLDER"]),
        ("hf:nobody/nothing", ["hf:nobody/nothing cannot be loaded", "Without a connection"]),
        ("hf:empty", ["hf:empty cannot be loaded", "Dataset.save_to_disk wrote"]),
    ],
)
def test_huggingface_datasets(
    normstats: Callable[..., Any], place: Path, datasets: Any, spec: str, words: list[str]
) -> None:
    save(datasets, image=[{"bytes": png(), "path": None}] * 2, label=[0, 1])
    (place / "empty").mkdir()
    assert_refused(normstats(*analyze(images=spec)), *words)


def test_a_huggingface_dataset_without_images(
    normstats: Callable[..., Any], place: Path, datasets: Any
) -> None:
    save(datasets, label=[0, 1])
    words = ["hf:one has no column of images; it has: label", "datasets.Image()"]
    assert_refused(normstats(*analyze(images="hf:one")), *words)


def test_without_huggingface_datasets(
    normstats: Callable[..., Any], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    words = ["need the package datasets", "pip install 'normstats[hf]'"]
    assert_refused(normstats(*analyze(images="hf:one")), *words)
    old = types.ModuleType("datasets")
    old.__dict__["__version__"] = "3.6.0"
    monkeypatch.setitem(sys.modules, "datasets", old)
    words = ["datasets is of version 3.6.0, which can run code", "pip install 'normstats[hf]'"]
    assert_refused(normstats(*analyze(images="hf:one")), *words)
