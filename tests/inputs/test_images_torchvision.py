"""torchvision's datasets by name, compared with what torchvision itself makes of the same files."""

from __future__ import annotations

import hashlib
import inspect
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.pictures import PLAIN, noise, read
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from normstats.errors import ImagesError
from normstats.inputs import open_images
from normstats.inputs.images import torchvision_datasets

SIZE = 9, 7


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(1, *SIZE, seed=seed)[0]).save(path)


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def cifar10(root: Path, patch: pytest.MonkeyPatch) -> None:
    cifar(root, patch, datasets.CIFAR10, "labels", "label_names")


def cifar100(root: Path, patch: pytest.MonkeyPatch) -> None:
    cifar(root, patch, datasets.CIFAR100, "fine_labels", "fine_label_names")


def cifar(root: Path, patch: pytest.MonkeyPatch, kind: Any, labels: str, names: str) -> None:
    """The original format; that these are the original files only their sums can say."""
    folder = root / kind.base_folder
    folder.mkdir()
    for group in ("train_list", "test_list"):
        listed = []
        for seed, (name, _) in enumerate(getattr(kind, group)):
            pixels = noise(4, 32, 32, seed=seed).transpose(0, 3, 1, 2).reshape(4, -1)
            (folder / name).write_bytes(pickle.dumps({"data": pixels, labels: [2, 0, 1, seed]}))
            listed.append([name, md5(folder / name)])
        patch.setattr(kind, group, listed)
    file = folder / kind.meta["filename"]
    file.write_bytes(pickle.dumps({names: [f"class {index}" for index in range(10)]}))
    patch.setattr(kind, "meta", {**kind.meta, "md5": md5(file)})


def mnist(root: Path, patch: pytest.MonkeyPatch, name: str = "MNIST") -> None:
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 5), ("t10k", 3)):
        pixels = noise(count, 28, 28, 1)
        images = struct.pack(">4i", 0x803, count, 28, 28) + pixels.tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(images)
        labels = struct.pack(">2i", 0x801, count) + bytes(range(count))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)


def fashionmnist(root: Path, patch: pytest.MonkeyPatch) -> None:
    mnist(root, patch, "FashionMNIST")


def kmnist(root: Path, patch: pytest.MonkeyPatch) -> None:
    mnist(root, patch, "KMNIST")


def svhn(root: Path, patch: pytest.MonkeyPatch) -> None:
    changed = dict(datasets.SVHN.split_list)
    for seed, (split, (url, name, _)) in enumerate(datasets.SVHN.split_list.items()):
        pixels = noise(4, 32, 32, seed=seed).transpose(1, 2, 3, 0)
        savemat(root / name, {"X": pixels, "y": np.array([[1], [10], [3], [2]], np.uint8)})
        changed[split] = [url, name, md5(root / name)]
    patch.setattr(datasets.SVHN, "split_list", changed)


def stl10(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / datasets.STL10.base_folder
    folder.mkdir()
    for group in ("train_list", "test_list"):
        listed = []
        for name, _ in getattr(datasets.STL10, group):
            content = bytes([3, 1, 2]) if "_y" in name else noise(3, 96, 96).tobytes()
            (folder / name).write_bytes(content)
            listed.append([name, md5(folder / name)])
        patch.setattr(datasets.STL10, group, listed)
    text(folder / datasets.STL10.class_names_file, *"abcdefghij")


def country211(root: Path, patch: pytest.MonkeyPatch) -> None:
    for split in ("train", "valid", "test"):
        for seed, name in enumerate(["AD/1.jpg", "ZW/1.jpg", "AD/2.jpg"]):
            picture(root / "country211" / split / name, seed)


def dtd(root: Path, patch: pytest.MonkeyPatch) -> None:
    names = ["dotted/d_1.jpg", "banded/b_1.jpg"]
    for seed, name in enumerate(names):
        picture(root / "dtd" / "dtd" / "images" / name, seed)
    for split in ("train", "val", "test"):
        text(root / "dtd" / "dtd" / "labels" / f"{split}1.txt", *names)


def eurosat(root: Path, patch: pytest.MonkeyPatch) -> None:
    for seed, name in enumerate(["River/1.jpg", "Forest/1.jpg"]):
        picture(root / "eurosat" / "2750" / name, seed)


def fgvcaircraft(root: Path, patch: pytest.MonkeyPatch) -> None:
    data = root / "fgvc-aircraft-2013b" / "data"
    text(data / "variants.txt", "707-320", "A 300")
    for split in ("train", "val", "trainval", "test"):
        text(data / f"images_variant_{split}.txt", "0002 A 300", "0001 707-320")
    for seed in (1, 2):
        picture(data / "images" / f"000{seed}.jpg", seed)


def flowers102(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "flowers-102"
    for seed in (1, 2, 3):
        picture(folder / "jpg" / f"image_{seed:05}.jpg", seed)
    savemat(folder / "setid.mat", {"trnid": [[1, 2]], "valid": [[1, 3]], "tstid": [[3, 2]]})
    savemat(folder / "imagelabels.mat", {"labels": [[5, 7, 102]]})
    changed = dict(datasets.Flowers102._file_dict)
    for key in ("setid", "label"):
        changed[key] = (changed[key][0], md5(folder / changed[key][0]))
    patch.setattr(datasets.Flowers102, "_file_dict", changed)


def food101(root: Path, patch: pytest.MonkeyPatch) -> None:
    names = {"waffles": ["waffles/1"], "apple_pie": ["apple_pie/1", "apple_pie/2"]}
    for split in ("train", "test"):
        text(root / "food-101" / "meta" / f"{split}.json", json.dumps(names))
    for seed, name in enumerate(["waffles/1", "apple_pie/1", "apple_pie/2"]):
        picture(root / "food-101" / "images" / f"{name}.jpg", seed)


def gtsrb(root: Path, patch: pytest.MonkeyPatch) -> None:
    for seed, name in enumerate(["00000/1.ppm", "00002/1.ppm"]):
        picture(root / "gtsrb" / "GTSRB" / "Training" / name, seed)
        picture(root / "gtsrb" / "GTSRB" / "Final_Test" / "Images" / f"{seed}.ppm", seed)
    text(root / "gtsrb" / "GT-final_test.csv", "Filename;ClassId", "1.ppm;42", "0.ppm;7")


def imagenette(root: Path, patch: pytest.MonkeyPatch) -> None:
    for split in ("train", "val"):
        for seed, name in enumerate(["n01440764/a.jpeg", "n02102040/b.jpeg"]):
            picture(root / "imagenette2" / split / name, seed)


def pets(root: Path, patch: pytest.MonkeyPatch) -> None:
    for split in ("trainval", "test"):
        lines = ["Bengal_2 2 1 2", "Abyssinian_1 1 1 1"]
        text(root / "oxford-iiit-pet" / "annotations" / f"{split}.txt", *lines)
    for seed, name in enumerate(["Bengal_2", "Abyssinian_1"]):
        picture(root / "oxford-iiit-pet" / "images" / f"{name}.jpg", seed)


def renderedsst2(root: Path, patch: pytest.MonkeyPatch) -> None:
    for split in ("train", "valid", "test"):
        for seed, name in enumerate(["negative/1.png", "positive/1.png"]):
            picture(root / "rendered-sst2" / split / name, seed)


def sun397(root: Path, patch: pytest.MonkeyPatch) -> None:
    text(root / "SUN397" / "ClassName.txt", "/a/abbey", "/b/bar")
    for seed, name in enumerate(["b/bar/sun_1.jpg", "a/abbey/sun_2.jpg"]):
        picture(root / "SUN397" / name, seed)


Maker = Callable[[Path, pytest.MonkeyPatch], None]
MAKERS: list[Maker] = [
    cifar10, cifar100, mnist, fashionmnist, kmnist, svhn, stl10, country211, dtd, eurosat,
    fgvcaircraft, flowers102, food101, gtsrb, imagenette, pets, renderedsst2, sun397,
]  # fmt: skip


def cases() -> list[tuple[Maker, str]]:
    kinds, short = torchvision_datasets._KINDS, torchvision_datasets._OTHER_NAMES
    return [
        (make, split)
        for make in MAKERS
        for split in kinds[short.get(make.__name__, make.__name__)].splits or ("",)
        if "unlabeled" not in split
    ]


def test_every_dataset_is_tested() -> None:
    short = torchvision_datasets._OTHER_NAMES
    tested = {short.get(make.__name__, make.__name__) for make in MAKERS}
    assert tested | {"imagenet"} == set(torchvision_datasets._KINDS)


@pytest.mark.parametrize(
    ("make", "split"), cases(), ids=lambda case: case if isinstance(case, str) else case.__name__
)
def test_as_torchvision_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Maker, split: str
) -> None:
    make(tmp_path, monkeypatch)
    kind = torchvision_datasets._KINDS[
        torchvision_datasets._OTHER_NAMES.get(make.__name__, make.__name__)
    ]
    before = sorted(tmp_path.rglob("*"))
    spec = f"{make.__name__}:{tmp_path}"
    images = open_images(f"{spec}:{split}" if split else spec, preprocessing=PLAIN)
    assert images.notes == ()
    options: dict[str, Any] = {}
    if split:
        options = {kind.option: split == "train" if kind.option == "train" else split}
    expected = getattr(datasets, kind.name)(tmp_path, **options)
    for workers in (0, 2):
        values, labels = read(images, 2, workers)
        assert len(values) == len(expected) > 1
        assert labels is not None
        if hasattr(expected, "classes"):
            assert labels == [label for _, label in expected]
        else:
            assert [images.classes[i] for i in labels] == [str(label) for _, label in expected]
        for value, (image, _) in zip(values, expected, strict=True):
            pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
            np.testing.assert_allclose(value, pixels / 255, rtol=1e-6)
    assert len(set(images.classes)) == len(images.classes) > max(labels)
    if split == (kind.splits or ("",))[0]:
        default = open_images(f"{kind.name}:{tmp_path}", preprocessing=PLAIN)
        read(default)
        assert default.fingerprint == images.fingerprint
        assert len(default.notes) == (len(kind.splits) > 1)
    assert sorted(tmp_path.rglob("*")) == before


def test_class_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pets(tmp_path, monkeypatch)
    mnist(tmp_path, monkeypatch)
    svhn(tmp_path, monkeypatch)
    assert open_images(f"pets:{tmp_path}").classes == ("Abyssinian", "Bengal")
    assert open_images(f"mnist:{tmp_path}").classes[:2] == ("0 - zero", "1 - one")
    assert open_images(f"svhn:{tmp_path}").classes == ("0", "1", "2", "3")


def test_grey_networks_get_grey_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mnist(tmp_path, monkeypatch)
    values = read(open_images(f"mnist:{tmp_path}", input_channels=1, preprocessing=PLAIN))[0]
    np.testing.assert_allclose(values, noise(3, 28, 28, 1).transpose(0, 3, 1, 2) / 255, rtol=1e-6)


def test_images_without_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stl10(tmp_path, monkeypatch)
    images = open_images(f"stl10:{tmp_path}:unlabeled")
    assert images.labels is None
    assert "have no class" in images.notes[-1]
    assert len(read(images)[0]) == 3


def test_imagenet_is_its_folders(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("n01440764/1.JPEG", "n02102040/2.JPEG"):
            picture(tmp_path / split / name, 0)
    picture(tmp_path / "val" / "n02102040" / "3.JPEG", 0)
    images = open_images(f"imagenet:{tmp_path}")
    assert images.classes == ("n01440764", "n02102040")
    assert read(images)[1] == [0, 1, 1]
    assert "train" in images.notes[0]
    assert len(open_images(f"imagenet:{tmp_path}:train")) == 2


def test_imagenet_is_not_unpacked(tmp_path: Path) -> None:
    for name in ("ILSVRC2012_devkit_t12.tar.gz", "ILSVRC2012_img_val.tar"):
        (tmp_path / name).touch()
    with pytest.raises(ImagesError, match="no folder"):
        open_images(f"imagenet:{tmp_path}")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", sorted(torchvision_datasets._KINDS))
def test_every_split_is_known_to_torchvision(name: str, tmp_path: Path) -> None:
    """An empty root is told as such, and not as an unknown split."""
    kind = torchvision_datasets._KINDS[name]
    parameters = inspect.signature(getattr(datasets, kind.name)).parameters
    assert (kind.option in parameters) == bool(kind.splits)
    for split in kind.splits or ("",):
        with pytest.raises(ImagesError) as caught:
            open_images(f"{name}:{tmp_path}:{split}" if split else f"{name}:{tmp_path}")
        assert "Unknown value" not in str(caught.value)
        assert name in str(caught.value).lower() or "no folder" in str(caught.value)
        assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_unknown_splits(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match="no split 'validation'") as caught:
        open_images(f"cifar10:{tmp_path}:validation")
    assert "test, train" in caught.value.hint
    with pytest.raises(ImagesError, match="no split 'x'") as caught:
        open_images(f"eurosat:{tmp_path}:x")
    assert "leave it out" in caught.value.hint


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["test_batch", "data_batch_3", "batches.meta"])
def test_pickles_that_are_not_the_original_are_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    cifar10(tmp_path, monkeypatch)
    content = pickle.dumps(Payload(tmp_path / "was_run"))
    (tmp_path / datasets.CIFAR10.base_folder / name).write_bytes(content)
    with pytest.raises(ImagesError, match=f"{name} is not the original file.*pickle") as caught:
        open_images(f"cifar10:{tmp_path}")
    assert "download=True" in caught.value.hint
    assert not (tmp_path / "was_run").exists()
    pickle.loads(content)  # it would have
    assert (tmp_path / "was_run").exists()


def test_pickles_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cifar10(tmp_path, monkeypatch)
    (tmp_path / datasets.CIFAR10.base_folder / "data_batch_2").unlink()
    with pytest.raises(ImagesError, match="data_batch_2 missing"):
        open_images(f"cifar10:{tmp_path}")


def test_damaged_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mnist(tmp_path, monkeypatch)
    path = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    whole = path.read_bytes()
    huge = struct.pack(">4i", 0x803, 2**31 - 1, 2**31 - 1, 2**31 - 1)
    for content in (whole[:-100], whole[:10], huge, huge + whole[16:], b"<html>"):
        path.write_bytes(content)
        with pytest.raises(ImagesError, match="cannot be read"):
            open_images(f"mnist:{tmp_path}")


@pytest.mark.parametrize("label", ["999999999999", str(10**30), "-1", "x"])
def test_absurd_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: str) -> None:
    gtsrb(tmp_path, monkeypatch)
    text(tmp_path / "gtsrb" / "GT-final_test.csv", "Filename;ClassId", f"1.ppm;{label}", "0.ppm;7")
    if label in {"x", str(10**30)}:
        with pytest.raises(ImagesError, match="cannot be read"):
            open_images(f"gtsrb:{tmp_path}")
        return
    images = open_images(f"gtsrb:{tmp_path}")
    assert images.classes == (() if label == "-1" else ("7", label))


def test_image_files_are_opened_by_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision would open PostScript, which runs a program."""
    pets(tmp_path, monkeypatch)
    file = tmp_path / "oxford-iiit-pet" / "images" / "Bengal_2.jpg"
    Image.new("RGB", SIZE).save(file, "EPS")
    images = open_images(f"pets:{tmp_path}", allow_bad=True)
    read(images)
    assert images.skipped == [("oxford-iiit-pet/images/Bengal_2.jpg", "not an image")]
