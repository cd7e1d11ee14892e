"""Hugging Face datasets, from folders and as the hub's cache would give them."""

from __future__ import annotations

import io
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.pictures import PLAIN, noise, png, read, red
from PIL import Image

from normstats.errors import ImagesError
from normstats.inputs import open_images

datasets = pytest.importorskip("datasets", reason="needs the extra hf")
pyarrow_parquet = pytest.importorskip("pyarrow.parquet")

pytestmark = pytest.mark.extra


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def make(count: int = 4, **columns: Any) -> Any:
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    values = {
        "image": [{"bytes": png(index), "path": None} for index in range(count)],
        "label": [index % 2 for index in range(count)],
    }
    for name, (kind, value) in columns.items():
        features[name], values[name] = kind, value
    return datasets.Dataset.from_dict(values, features=datasets.Features(features))


def save(path: Path, dataset: Any) -> str:
    dataset.save_to_disk(str(path))
    return f"hf:{path}"


def test_a_saved_dataset(tmp_path: Path) -> None:
    images = open_images(save(tmp_path / "data", make()), preprocessing=PLAIN)
    assert images.classes == ("cat", "dog")
    for workers in (0, 2):
        values, labels = read(images, 3, workers)
        assert red(values) == [0, 1, 2, 3]
        assert labels == [0, 1, 0, 1]
    assert images.notes == ()
    sent = pickle.loads(pickle.dumps(images))
    assert torch.equal(read(sent)[0], values)


def test_pixels_are_those_that_datasets_decodes(tmp_path: Path) -> None:
    files = []
    for form, picture in zip(["JPEG", "PNG", "WEBP"], noise(3, 20, 30), strict=True):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, form)
        files.append({"bytes": buffer.getvalue(), "path": None})
    dataset = make(3, image=(datasets.Image(), files))
    values = read(open_images(save(tmp_path / "data", dataset), preprocessing=PLAIN))[0]
    for value, row in zip(values, dataset, strict=True):
        expected = np.asarray(row["image"].convert("RGB")).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_splits(tmp_path: Path) -> None:
    parts = {"train": make(6), "test": make(2), "odd:name": make(1)}
    spec = save(tmp_path / "data", datasets.DatasetDict({k: parts[k] for k in ("train", "test")}))
    images = open_images(spec)
    assert len(images) == 2
    [note] = images.notes
    assert "train, test" in note
    assert f"{spec}:train" in note
    assert len(open_images(f"{spec}:train")) == 6
    with pytest.raises(ImagesError, match="no split 'tets'") as caught:
        open_images(f"{spec}:tets")
    assert "Did you mean test" in caught.value.hint
    with pytest.raises(ImagesError, match="is one split"):
        open_images(save(tmp_path / "one", make()) + ":test")


@pytest.mark.parametrize(
    ("splits", "chosen"),
    [
        (["train", "validation"], "validation"),
        (["train"], "train"),
        (["b", "a"], "b"),
        (["validation", "test", "train"], "test"),
    ],
)
def test_the_split_that_is_taken(tmp_path: Path, splits: list[str], chosen: str) -> None:
    sizes = {split: size for size, split in enumerate(splits, 1)}
    parts = {split: make(size) for split, size in sizes.items()}
    images = open_images(save(tmp_path / "data", datasets.DatasetDict(parts)))
    assert len(images) == sizes[chosen]
    assert len(images.notes) == (len(splits) > 1)


def test_a_folder_of_parquet_files(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    make().to_parquet(str(tmp_path / "data" / "train.parquet"))
    images = open_images(f"hf:{tmp_path / 'data'}", preprocessing=PLAIN)
    assert red(read(images)[0]) == [0, 1, 2, 3]
    assert images.classes == ("cat", "dog")


def test_several_columns(tmp_path: Path) -> None:
    label = datasets.ClassLabel(names=["u", "v", "w"])
    pictures = [{"bytes": png(9), "path": None}] * 4
    dataset = make(
        coarse=(label, [2, 2, 2, 2]), mask=(datasets.Image(), pictures), note=(label, [0] * 4)
    )
    images = open_images(save(tmp_path / "data", dataset), preprocessing=PLAIN)
    assert red(read(images)[0]) == [0, 1, 2, 3]
    assert images.classes == ("cat", "dog")
    assert "image, mask" in images.notes[0]
    assert "label, coarse, note" in images.notes[1]
    other = dataset.remove_columns(["image", "label"]).select([3, 0])
    images = open_images(save(tmp_path / "other", other), preprocessing=PLAIN)
    assert red(read(images)[0]) == [9, 9]
    assert images.classes == ("u", "v", "w")
    assert read(images)[1] == [2, 2]


def test_without_classes(tmp_path: Path) -> None:
    images = open_images(save(tmp_path / "a", make().remove_columns("label")))
    assert images.classes == ()
    hidden = make(label=(datasets.ClassLabel(names=["cat", "dog"]), [-1, -1, -1, -1]))
    images = open_images(save(tmp_path / "b", hidden))
    assert images.classes == ()
    assert "no class" in images.notes[0]
    assert len(read(images)[0]) == 4


def test_without_images(tmp_path: Path) -> None:
    spec = save(tmp_path / "data", make().remove_columns("image"))
    with pytest.raises(ImagesError, match="no column of images; it has: label"):
        open_images(spec)


def test_rows_without_a_readable_image_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "there.png").write_bytes(png(5))
    rows = [
        {"bytes": png(), "path": None},
        {"bytes": b"no image", "path": "x.png"},
        None,
        {"bytes": None, "path": str(tmp_path / "gone.png")},
        {"bytes": None, "path": str(tmp_path / "there.png")},
    ]
    dataset = make(5, image=(datasets.Image(), rows))
    (tmp_path / "data").mkdir()  # datasets itself would put the files into it
    pyarrow_parquet.write_table(dataset.data.table, tmp_path / "data" / "test.parquet")
    images = open_images(f"hf:{tmp_path / 'data'}", preprocessing=PLAIN, allow_bad=True)
    assert red(read(images)[0]) == [0, 5]
    reasons = dict(images.skipped)
    assert reasons["[1]"] == "not an image"
    assert reasons["[2]"] == "no image"
    assert "No such file" in reasons["[3]"]


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match="hf:nobody/nothing cannot be loaded") as caught:
        open_images("hf:nobody/nothing:test")
    assert "save_to_disk" in caught.value.hint
    with pytest.raises(ImagesError, match="no folder"):
        open_images(f"hf:{tmp_path / 'no'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImagesError, match="empty cannot be loaded"):
        open_images(f"hf:{tmp_path / 'empty'}")
    (tmp_path / "empty" / "state.json").write_text(json.dumps({"_data_files": []}))
    with pytest.raises(ImagesError, match="empty cannot be loaded"):
        open_images(f"hf:{tmp_path / 'empty'}")


def test_files_that_are_damaged(tmp_path: Path) -> None:
    spec = save(tmp_path / "data", make(40))
    [file] = (tmp_path / "data").glob("*.arrow")
    whole = file.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 100):
        file.write_bytes(whole[:size])
        with pytest.raises(ImagesError, match=r"data cannot be loaded|None of the 40 images"):
            read(open_images(spec, allow_bad=True))


def test_the_code_of_a_dataset_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "data.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')")
    with pytest.raises(ImagesError, match="cannot be loaded"):
        open_images(f"hf:{folder}")
    assert not (tmp_path / "was_run").exists()


def test_old_and_missing_installations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "__version__", "3.6.0")
    with pytest.raises(ImagesError, match=r"3\.6\.0, which can run code"):
        open_images("hf:x")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImagesError, match="need the package datasets") as caught:
        open_images("hf:x")
    assert "normstats[hf]" in caught.value.hint
