"""Images from a Hugging Face dataset: of the hub, of its cache, or in a folder."""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from normstats.errors import ImagesError, NormstatsError, did_you_mean
from normstats.inputs.images.source import Labels, Listing, numbered, open_file
from normstats.printable import first_few, printable

# Which split is taken where none is named: what the network was not trained on.
_SPLITS = ("test", "validation", "val", "valid", "train")
# Which column is taken, of several of one kind.
_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")

_OTHER_FOLDER = (
    "Give a folder that Dataset.save_to_disk wrote, or one that datasets.load_dataset reads."
)


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """The images of a dataset's column, undecoded."""

    listing: Listing
    rows: Any
    column: str

    def content(self, index: int) -> BinaryIO:
        """The image file, as the dataset stores it."""
        stored = self.rows[index][self.column]
        if stored is None:
            raise ValueError("no image")
        if stored["bytes"] is not None:
            return io.BytesIO(stored["bytes"])
        return open_file(Path(stored["path"]))


def open_huggingface(spec: str) -> ImageDataset:
    """The images of a dataset, with the classes of its label column.

    Args:
        spec: ``NAME`` or ``NAME:SPLIT``; the name is one of the hub's, or a folder that
            ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` wrote, or one that
            ``datasets.load_dataset`` reads.

    Raises:
        ImagesError: the package datasets is missing; the dataset cannot be loaded, or has no such
            split or no column of images.
    """
    datasets = _import_datasets()
    name, _, split = (spec, "", "") if Path(spec).expanduser().exists() else spec.partition(":")
    shown = f"hf:{printable(name)}"
    loaded = _load(datasets, name, shown)
    notes: list[str] = []
    if isinstance(loaded, datasets.DatasetDict):
        split = _choose_split(list(loaded), split, shown, notes)
        loaded = loaded[split]
        shown += f":{printable(split)}"
    elif split and split != str(loaded.split):
        raise ImagesError(
            f"{shown} is one split, {printable(loaded.split or 'of no name')}, and not "
            f"{printable(split)!r}.",
            f"Leave the split out: {shown}",
        )
    with _as_images_error(shown, _OTHER_FOLDER):  # files may be damaged behind their beginning
        rows = loaded.with_format(None)
        column = _image_column(datasets, rows, shown, notes)
        classes, labels = _labels(datasets, rows, notes)
        images = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    listing = Listing(shown, numbered(len(images)), classes, labels, tuple(notes))
    return ImageDataset(listing, images, column)


def _import_datasets() -> Any:
    how = "pip install 'normstats[hf]'"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            datasets = importlib.import_module("datasets")
    except Exception as error:  # missing, or at odds with its neighbours
        raise ImagesError(
            "Hugging Face datasets need the package datasets, which cannot be imported: "
            f"{printable(error)}.",
            how,
        ) from error
    if int(datasets.__version__.partition(".")[0]) < 4:
        raise ImagesError(
            f"datasets is of version {datasets.__version__}, which can run code of the datasets it "
            "loads.",
            how,
        )
    return datasets


def _load(datasets: Any, name: str, shown: str) -> Any:
    folder = Path(name).expanduser()
    if name.startswith(("/", ".", "~")) and not folder.exists():
        raise ImagesError(
            f"There is no folder {printable(folder)}.",
            f"Paths are taken from {printable(Path.cwd())}.",
        )
    offline = "Without a connection, give a folder that Dataset.save_to_disk wrote: hf:FOLDER."
    with _as_images_error(shown, _OTHER_FOLDER if folder.is_dir() else offline):
        if any((folder / file).is_file() for file in ("dataset_dict.json", "state.json")):
            return datasets.load_from_disk(str(folder))
        return datasets.load_dataset(str(folder) if folder.is_dir() else name)


@contextmanager
def _as_images_error(shown: str, hint: str) -> Iterator[None]:
    """What the hub, the network, the cache and every format may raise, as one of ours."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except NormstatsError:
        raise
    except Exception as error:
        line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise ImagesError(
            f"{shown} cannot be loaded: {printable(line)[:300].removesuffix('.')}.", hint
        ) from error


def _choose_split(splits: Sequence[str], wanted: str, shown: str, notes: list[str]) -> str:
    if wanted in splits:
        return wanted
    if wanted or not splits:
        raise ImagesError(
            f"{shown} has no split {printable(wanted)!r}.",
            f"{did_you_mean(wanted, splits)} It has: {first_few(splits, 10) or 'none'}.".strip(),
        )
    chosen = next((split for split in _SPLITS if split in splits), splits[0])
    if len(splits) > 1:
        notes.append(
            f"{shown} has the splits {first_few(splits, 10)}; {printable(chosen)} is read. For "
            f"another, write {shown}:{printable(next(s for s in splits if s != chosen))}, say."
        )
    return chosen


def _image_column(datasets: Any, rows: Any, shown: str, notes: list[str]) -> str:
    columns = [name for name, kind in rows.features.items() if isinstance(kind, datasets.Image)]
    if not columns:
        raise ImagesError(
            f"{shown} has no column of images; it has: {first_few(rows.features, 10)}.",
            "Cast the column that holds them: dataset.cast_column(name, datasets.Image()).",
        )
    chosen = _preferred(columns, _IMAGE_COLUMNS)
    if len(columns) > 1:
        notes.append(
            f"{shown} has the columns of images {first_few(columns)}; {printable(chosen)} is read."
        )
    return chosen


def _labels(datasets: Any, rows: Any, notes: list[str]) -> tuple[tuple[str, ...], Labels | None]:
    columns = [
        name for name, kind in rows.features.items() if isinstance(kind, datasets.ClassLabel)
    ]
    if not columns:
        return (), None
    chosen = _preferred(columns, _LABEL_COLUMNS)
    if len(columns) > 1:
        notes.append(f"The classes are those of {printable(chosen)}, of {first_few(columns)}.")
    values = rows.select_columns([chosen])[:][chosen]
    names = tuple(rows.features[chosen].names)
    if not all(value is not None and 0 <= value < len(names) for value in values):
        notes.append(f"Some images have no class in {printable(chosen)}; classes are not used.")
        return (), None
    return names, np.array(values, dtype=np.int64)


def _preferred(columns: Sequence[str], names: Sequence[str]) -> str:
    return next((name for name in names if name in columns), columns[0])
