"""Every way in which a checkpoint is refused, as a user meets it."""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import networks
from helpers.refusals import ARCH, assert_refused
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torchvision import models

from normstats.inputs.checkpoints.archives import _LONGEST_PICKLE

Make = Callable[[Path], object]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the program is started."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def weights() -> dict[str, Tensor]:
    return dict(networks.small().state_dict())


# --- what is no checkpoint, or not one that can be read ------------------------------------------


def holding(content: bytes) -> Make:
    return lambda path: path.write_bytes(content)


def saving(content: Any, **options: Any) -> Make:
    return lambda path: torch.save(content, path, **options)


def safetensors(tensors: Mapping[str, Tensor]) -> Make:
    return lambda path: save_file(dict(tensors), path)


def folder_of(**files: bytes) -> Make:
    """A folder of files; in their names, a dot stands where two underscores are."""

    def make(path: Path) -> None:
        path.mkdir()
        for name, content in files.items():
            (path / name.replace("__", ".")).write_bytes(content)

    return make


def archive(*names: str) -> Make:
    """A zip archive with members of these names, which hold nothing."""

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as members:
            for name in names:
                members.writestr(name, b"")

    return make


def legacy(path: Path, keep: int) -> None:
    """The beginning of a file as torch.save wrote it before zip archives."""
    torch.save(weights(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:keep])


def image(path: Path) -> None:
    Image.new("RGB", (9, 9)).save(path, "JPEG")


def tarball(path: Path) -> None:
    with tarfile.open(path, "w") as members:
        members.addfile(tarfile.TarInfo("weights.pt"))


def array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(9))


def promising_shards(path: Path) -> None:
    path.mkdir()
    save_file({"0.bias": torch.ones(8)}, path / "one.safetensors")
    promised = dict.fromkeys(("0.bias", "0.weight", "1.bias"), "one.safetensors")
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": promised}))


def long_pickle(path: Path) -> None:
    """A pickle of a quarter of a gigabyte; as a hole, which takes no disk."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as members:
        members.writestr("archive/data.pkl", b"")
    whole = bytearray(buffer.getvalue())
    listed, end = whole.index(b"PK\x01\x02"), whole.index(b"PK\x05\x06")
    size = _LONGEST_PICKLE + 1
    whole[listed + 20 : listed + 28] = struct.pack("<II", size, size)
    whole[end + 16 : end + 20] = struct.pack("<I", listed + size)
    with path.open("wb") as file:
        file.write(whole[:listed])
        file.seek(size, os.SEEK_CUR)
        file.write(whole[listed:])


def item_of_a_size(path: Path) -> None:
    """A pickle that puts an item into a torch.Size, as into a dictionary."""
    with zipfile.ZipFile(path, "w") as members:
        members.writestr("archive/data.pkl", b"\x80\x02ctorch\nSize\n)RX\x01\x00\x00\x00aK\x01s.")
        members.writestr("archive/version", "3\n")


REFUSED: dict[str, tuple[Make, list[str]]] = {
    "bytes": (holding(b"\xfe\xed\xfa\xce" * 9), ["not a checkpoint", "fe ed fa ce"]),
    "image.pt": (image, ["image.pt is a JPEG image, not a checkpoint", "torch.save"]),
    "weights.tar": (tarball, ["a tar archive", "Unpack it first"]),
    "weights.gz": (holding(b"\x1f\x8b\x08" + bytes(9)), ["a gzip archive", "Unpack it first"]),
    "keras.h5": (holding(b"\x89HDF\r\n\x1a\n"), ["HDF5", "Keras", "Convert the weights"]),
    "array.npy": (array, ["a NumPy array, not a checkpoint"]),
    "net.onnx": (holding(b"\x08\x08\x12\x07pytorch\x1a"), ["ONNX", "exported from"]),
    "net.gguf": (holding(b"GGUF\x03" + bytes(9)), ["quantized", "the safetensors it was made"]),
    "net.tflite": (holding(b"\x1c\0\0\0TFL3"), ["TensorFlow Lite"]),
    "pointer.pt": (
        holding(b"version https://git-lfs.github.com/spec/v1\n"),
        ["Git LFS", "git lfs pull"],
    ),
    "script.pt": (archive("net/constants.pkl", "net/data.pkl"), ["TorchScript", "state_dict()"]),
    "program.pt2": (archive("net/archive_format"), ["torch.export", "lost their classes"]),
    "package.pt": (archive("net/.data/extern_modules"), ["torch.package", "weights alone"]),
    "net.keras": (archive("config.json", "model.weights.h5"), ["a Keras archive", "Convert"]),
    "arrays.npz": (archive("x.npy"), ["a NumPy archive of arrays"]),
    "other.zip": (archive("readme.md"), ["zip archive", "it holds readme.md"]),
    "empty.zip": (archive(), ["zip archive", "it holds nothing"]),
    "cut.pt": (lambda path: legacy(path, 7), ["cut.pt is cut off after 7 bytes", "size"]),
    "cut2.pt": (lambda path: legacy(path, 900), ["cut2.pt is cut off or damaged"]),
    "long.pt": (long_pickle, ["a pickle of 268,435,457 bytes", "Save the weights alone"]),
    "item.pt": (item_of_a_size, ["refused by torch.load", "SETITEM", "torch.save(model.state"]),
    "list.pt": (saving([1, 2]), ["holds a list, not a dictionary of weights"]),
    "tensor.pt": (saving(torch.ones(3)), ["holds a Tensor, not a dictionary of weights"]),
    "several.pt": (
        saving({"student": weights(), "teacher": weights()}),
        ["several unknown names: student, teacher", '"state_dict"'],
    ),
    "settings.pt": (saving({"epoch": 3}), ["holds no weights; its entries are epoch"]),
    "none.pt": (saving({}), ["its entries are none at all"]),
    "sparse.pt": (
        saving({"w": torch.eye(3).to_sparse()}),
        ["holds sparse tensors, which cannot be analyzed", "dense"],
    ),
    "meta.pt": (
        saving({"fc.weight": torch.ones(3, device="meta")}),
        ["the shape of fc.weight, but not its values", "meta device"],
    ),
    "none.safetensors": (safetensors({}), ["holds no tensors"]),
    "header.safetensors": (
        holding(struct.pack("<Q", 900) + b'{"w": '),
        ["is cut off", "header alone should be 900 bytes", "has 14"],
    ),
    "fp8.safetensors": (
        safetensors({"w": torch.ones(9, dtype=torch.uint8).view(torch.float8_e4m3fn)}),
        ["holds w as float8_e4m3fn", "quantized"],
    ),
    "deepspeed": (folder_of(zero_to_fp32__py=b""), ["a DeepSpeed checkpoint", "zero_to_fp32"]),
    "distributed": (folder_of(__metadata=b""), ["a distributed checkpoint", "dcp_to_torch"]),
    "saved_model": (folder_of(saved_model__pb=b""), ["a TensorFlow SavedModel"]),
    "nothing": (folder_of(), ["without a checkpoint of a usual name; it holds nothing"]),
    "two": (
        folder_of(a__bin__index__json=b"{}", b__bin__index__json=b"{}"),
        ["without a checkpoint of a usual name; it holds a.bin.index.json"],
    ),
    "shards": (
        promising_shards,
        ["promises weights in one.safetensors", "0.weight, 1.bias", "together"],
    ),
    "index.json": (holding(b'{"weights": 1}'), ["not an index of shards", 'no "weight_map"']),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(normstats: Callable[..., Any], place: Path, name: str) -> None:
    make, words = REFUSED[name]
    make(place / name)
    assert_refused(normstats("layers", name, "--arch", ARCH), name, *words)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
def test_a_file_whose_first_byte_cannot_be_read(normstats: Callable[..., Any], place: Path) -> None:
    outcome = normstats("layers", "/proc/self/mem", "--arch", ARCH)
    assert_refused(outcome, "/proc/self/mem cannot be read: Input/output error", "you may read")


def test_a_folder_that_must_not_be_read(normstats: Callable[..., Any], place: Path) -> None:
    (place / "closed").mkdir(mode=0)
    if os.access("closed", os.R_OK):
        pytest.skip("this user may read everything")
    outcome = normstats("layers", "closed", "--arch", ARCH)
    assert_refused(outcome, "The folder closed cannot be read: Permission denied", "you may read")


# --- weights that do not fit ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda state: {f"x{name}": value for name, value in state.items()},
            ["missing", "not one name in common"],
        ),
        (
            lambda state: {n: v for n, v in state.items() if not n.startswith("4.")},
            ["4 weights missing, 0 unexpected", "All but 4 is there"],
        ),
        (
            lambda state: state | {"1.weight": torch.ones(9)},
            ["1 of another shape", "1.weight is (9,), the architecture has (8,)", "wider"],
        ),
        (
            lambda state: state | {"1.weight": torch.ones(8, dtype=torch.int8)},
            ["(8,) int8", "quantized"],
        ),
        (
            lambda state: {f"{side}.{n}": v for side in "ab" for n, v in state.items()},
            ["the prefixes a., b.", "save the weights behind one of them"],
        ),
    ],
    ids=["names", "layer", "shape", "type", "prefixes"],
)
def test_weights_that_do_not_fit(
    normstats: Callable[..., Any],
    place: Path,
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    words: list[str],
) -> None:
    torch.save(change(weights()), place / "net.pt")
    assert_refused(normstats("layers", "net.pt", "--arch", ARCH), "net.pt does not fit", *words)


# --- weights whose architecture nobody says ------------------------------------------------------


@pytest.mark.usefixtures("without_timm")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"theta": torch.ones(3)},
            ["but does not say of which architecture; the zoos have none like it", "--arch"],
        ),
        (
            {"arch": "mynet", "state_dict": {"theta": torch.ones(3)}},
            ["names its architecture 'mynet', which cannot be built", "--arch"],
        ),
        (
            {"features.0.0.weight": torch.ones(3)} | {"classifier.1.bias": torch.ones(1000)},
            ["the zoos have none that fits. The nearest:", "missing", "--arch"],
        ),
    ],
    ids=["alien", "named", "nearest"],
)
def test_unknown_architectures(
    normstats: Callable[..., Any], place: Path, content: Any, words: list[str]
) -> None:
    torch.save(content, place / "net.pt")
    assert_refused(normstats("layers", "net.pt"), "net.pt", *words)


@pytest.mark.usefixtures("without_timm")
def test_weights_that_fit_two_architectures(normstats: Callable[..., Any], place: Path) -> None:
    """Names and shapes decide; of one byte a number, the file is small enough for a test."""
    with torch.device("meta"):
        twin = models.detection.fasterrcnn_mobilenet_v3_large_fpn(
            weights=None, weights_backbone=None
        )
    state = {n: torch.zeros(t.shape, dtype=torch.uint8) for n, t in twin.state_dict().items()}
    bias = "roi_heads.box_predictor.cls_score.bias"
    torch.save(state | {bias: state[bias].float()}, place / "net.pt")
    words = ["weights fit 2 alike", "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn"]
    assert_refused(normstats("layers", "net.pt"), *words, "Choose the one it was trained as")
