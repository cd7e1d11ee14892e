"""Images of torchvision's datasets, where they have been downloaded already."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torchvision import datasets
from torchvision.datasets.utils import check_integrity

from normstats.errors import ImagesError, did_you_mean
from normstats.inputs.images.classes import by_value
from normstats.inputs.images.folders import ImageFiles, open_folder
from normstats.inputs.images.source import Labels, Listing, numbered
from normstats.printable import first_few, printable


@dataclass(frozen=True)
class _Kind:
    """How torchvision keeps a dataset.

    Attributes:
        name: of the class.
        splits: by name; the first is taken where none is named: what networks are not trained on.
        option: the argument that chooses the split; ``train`` is a truth value.
        files: the attribute that holds the images' paths; None where they are in memory.
        labels: the attribute that holds the images' class indices, if not ``files`` does.
    """

    name: str
    splits: tuple[str, ...]
    option: str = "split"
    files: str | None = None
    labels: str = "targets"


_TEST_TRAIN = ("test", "train")
_ALL_THREE = ("test", "val", "train")

# Datasets to be classified whose reading runs no code that they bring and writes nothing.
_KINDS = {
    kind.name.lower(): kind
    for kind in (
        _Kind("CIFAR10", _TEST_TRAIN, "train"),
        _Kind("CIFAR100", _TEST_TRAIN, "train"),
        _Kind("MNIST", _TEST_TRAIN, "train"),
        _Kind("FashionMNIST", _TEST_TRAIN, "train"),
        _Kind("KMNIST", _TEST_TRAIN, "train"),
        _Kind("SVHN", ("test", "train", "extra"), labels="labels"),
        _Kind("STL10", ("test", "train", "unlabeled", "train+unlabeled"), labels="labels"),
        _Kind("ImageNet", ("val", "train")),
        _Kind("Country211", ("test", "valid", "train"), files="imgs"),
        _Kind("DTD", _ALL_THREE, files="_image_files", labels="_labels"),
        _Kind("EuroSAT", (), files="imgs"),
        _Kind(
            "FGVCAircraft",
            ("test", "val", "train", "trainval"),
            files="_image_files",
            labels="_labels",
        ),
        _Kind("Flowers102", _ALL_THREE, files="_image_files", labels="_labels"),
        _Kind("Food101", _TEST_TRAIN, files="_image_files", labels="_labels"),
        _Kind("GTSRB", _TEST_TRAIN, files="_samples"),
        _Kind("Imagenette", ("val", "train"), files="_samples"),
        _Kind("OxfordIIITPet", ("test", "trainval"), files="_images", labels="_labels"),
        _Kind("RenderedSST2", _ALL_THREE, files="_samples"),
        _Kind("SUN397", (), files="_image_files", labels="_labels"),
    )
}
_OTHER_NAMES = {"pets": "oxfordiiitpet", "flowers": "flowers102", "aircraft": "fgvcaircraft"}
KNOWN = (*_KINDS, *_OTHER_NAMES)


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """The images of a dataset that torchvision holds in memory."""

    listing: Listing
    dataset: Any

    def content(self, index: int) -> Image.Image:
        """The image's pixels."""
        image: Image.Image = self.dataset[index][0]
        return image


def open_torchvision(name: str, place: str) -> ImageFiles | DecodedImages:
    """The images of a torchvision dataset.

    Args:
        name: the class's, in any case; or a usual short one.
        place: the ``root`` that the class would be given, or ``root:split``.

    Raises:
        ImagesError: there is no such split, or the files are missing or not the original ones.
    """
    kind = _KINDS[_OTHER_NAMES.get(name.lower(), name.lower())]
    root, split = _root_and_split(place, kind)
    shown = ":".join(filter(None, (kind.name.lower(), printable(root), split)))
    others = kind.splits[1:] if root == Path(place).expanduser() else ()
    notes: tuple[str, ...] = ()
    if others:
        notes = (f"{shown} is read; {kind.name} also has {', '.join(others)}.",)
    if kind.name == "ImageNet":  # the class would unpack archives beside them
        return _imagenet(root / split, shown, notes)
    if hasattr(getattr(datasets, kind.name), "meta"):
        _check_pickles(kind, root, shown)
    dataset, files, labels = _construct(kind, root, split, shown)
    classes, indices = _classes(dataset, labels)
    if labels is not None and indices is None:
        notes += (f"Some images of {shown} have no class; classes are not used.",)
    if files is None:
        listing = Listing(shown, numbered(len(dataset)), classes, indices, notes)
        return DecodedImages(listing, dataset)
    # Read by us: the classes would decode with all of Pillow's formats, some of which run programs.
    return ImageFiles(Listing(shown, files, classes, indices, notes), root)


def _root_and_split(place: str, kind: _Kind) -> tuple[Path, str]:
    default = kind.splits[0] if kind.splits else ""
    if (root := Path(place).expanduser()).exists():
        return root, default
    home, colon, split = place.rpartition(":")
    if not colon or not (root := Path(home).expanduser()).exists():
        raise ImagesError(
            f"There is no folder {printable(place)}.",
            f"Give what torchvision calls the root: {kind.name.lower()}:FOLDER; paths are taken "
            f"from {printable(Path.cwd())}.",
        )
    if split not in kind.splits:
        raise ImagesError(
            f"{kind.name} has no split {printable(split)!r}.",
            f"It has: {', '.join(kind.splits)}." if kind.splits else "It has none; leave it out.",
        )
    return root, split


def _imagenet(folder: Path, shown: str, notes: tuple[str, ...]) -> ImageFiles:
    if not folder.is_dir():
        raise ImagesError(
            f"There is no folder {printable(folder)}.",
            "ImageNet's archives are unpacked by torchvision.datasets.ImageNet(root, split).",
        )
    found = open_folder(folder)
    return replace(found, listing=replace(found.listing, shown=shown, notes=notes))


def _check_pickles(kind: _Kind, root: Path, shown: str) -> None:
    """Refuse any but the original CIFAR files: they are pickles, and loading one runs what it says.

    torchvision compares them too, before it loads them; but would not say which differs.
    """
    of = getattr(datasets, kind.name)
    expected = [*of.train_list, *of.test_list, (of.meta["filename"], of.meta["md5"])]
    folder = root / of.base_folder
    missing = [name for name, _ in expected if not (folder / name).is_file()]
    if missing:
        raise ImagesError(
            f"{shown} is not complete: {first_few(missing)} missing in {printable(folder)}.",
            f"torchvision.datasets.{kind.name}(root, download=True) fetches it.",
        )
    for name, md5 in expected:
        if not check_integrity(str(folder / name), md5):
            raise ImagesError(
                f"{printable(folder / name)} is not the original file: its MD5 is not {md5}. It "
                "was not loaded, since it is a pickle, and loading a pickle runs whatever it "
                "names.",
                f"torchvision.datasets.{kind.name}(root, download=True) fetches the original; or "
                "give the images as a folder or an array.",
            )


def _construct(
    kind: _Kind, root: Path, split: str, shown: str
) -> tuple[Any, list[str] | None, Labels | None]:
    """The dataset; its files below ``root``, unless it is in memory; its labels, if it has any."""
    options: dict[str, Any] = {"root": str(root)}
    if kind.splits:
        options[kind.option] = split == "train" if kind.option == "train" else split
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = getattr(datasets, kind.name)(**options)
        files = None
        labels = getattr(dataset, kind.labels, None)
        if kind.files is not None:
            listed = getattr(dataset, kind.files)
            if listed and isinstance(listed[0], tuple):  # pairs of path and label
                listed, labels = zip(*listed, strict=True)
            files = [Path(os.path.relpath(file, root)).as_posix() for file in listed]
        if labels is not None:
            labels = np.asarray(labels, dtype=np.int64)
    except Exception as error:  # missing files are told in many ways, damaged ones in more
        reason = printable(str(error).partition(" You can use")[0]) or type(error).__name__
        raise ImagesError(
            f"{shown} cannot be read: {reason.removesuffix('.')}.",
            f"torchvision.datasets.{kind.name} tells how to get it; the root is the folder that it "
            "is given.",
        ) from error
    if len(dataset) == 0:
        raise ImagesError(f"{shown} holds no images.", "Give another root or split.")
    return dataset, files, labels


def _classes(dataset: Any, labels: Labels | None) -> tuple[tuple[str, ...], Labels | None]:
    if labels is None or labels.min() < 0:  # of images without a class
        return (), None
    names = getattr(dataset, "classes", None) or ()
    if len(names) <= labels.max():
        return by_value(labels)
    return tuple(_text(name) for name in names), labels


def _text(name: object) -> str:
    return ", ".join(name) if isinstance(name, tuple) else str(name)


def no_such_dataset(name: str) -> str:
    """Why there is no dataset of that name, as a hint; empty where none is like it."""
    if name.lower() in {each.lower() for each in datasets.__all__}:
        return (
            f"torchvision's {printable(name)} is not read by name; give the folder of its images. "
            f"Those that are: {', '.join(_KINDS)}."
        )
    return did_you_mean(name.lower(), KNOWN)
