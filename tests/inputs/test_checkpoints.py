"""What is found in a checkpoint, wherever the training program put it."""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from normstats.errors import CheckpointError
from normstats.inputs import Checkpoint, read_checkpoint

WEIGHTS = {"conv.weight": torch.arange(108.0).reshape(4, 3, 3, 3), "conv.bias": torch.ones(4)}
OTHERS = {"conv.weight": torch.zeros(4, 3, 3, 3), "conv.bias": torch.zeros(4)}


def stored(tmp_path: Path, content: Any, **options: Any) -> Checkpoint:
    torch.save(content, tmp_path / "file.pt", **options)
    return read_checkpoint(tmp_path / "file.pt")


def holds(checkpoint: Checkpoint, expected: dict[str, torch.Tensor]) -> bool:
    return list(checkpoint.tensors) == list(expected) and all(
        torch.equal(checkpoint.tensors[name], expected[name]) for name in expected
    )


@pytest.mark.parametrize("legacy", [False, True])
def test_bare_state_dict(tmp_path: Path, legacy: bool) -> None:
    checkpoint = stored(tmp_path, WEIGHTS, _use_new_zipfile_serialization=not legacy)
    assert holds(checkpoint, WEIGHTS)
    assert checkpoint.notes == ()
    assert checkpoint.arch is None
    content = (tmp_path / "file.pt").read_bytes()
    assert checkpoint.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "trail",
    [
        ["state_dict"],
        ["model"],
        ["model_state_dict"],
        ["state_dict_ema"],
        ["model_ema"],
        ["net"],
        ["ema"],
        ["module"],
        ["model", "state_dict"],
        ["ema", "module"],
    ],
)
def test_usual_entries(tmp_path: Path, trail: list[str]) -> None:
    content: dict[str, Any] = WEIGHTS
    for name in reversed(trail):
        content = {"epoch": 3, name: content, "loss": torch.tensor(0.5)}
    checkpoint = stored(tmp_path, content)
    assert holds(checkpoint, WEIGHTS)
    assert checkpoint.notes == ()


@pytest.mark.parametrize(
    ("trained", "averaged"),
    [
        ("state_dict", "model_ema"),
        ("state_dict", "state_dict_ema"),
        ("model", "model_ema"),
        ("params", "params_ema"),
        ("network", "ema"),
    ],
)
def test_trained_weights_come_before_their_averages(
    tmp_path: Path, trained: str, averaged: str
) -> None:
    checkpoint = stored(tmp_path, {averaged: OTHERS, trained: WEIGHTS})
    assert holds(checkpoint, WEIGHTS)
    assert checkpoint.notes == (
        f"The weights were taken from {trained!r}; it also holds {averaged}.",
    )


def test_random_states_are_not_taken_for_weights(tmp_path: Path) -> None:
    content = {"my_net": WEIGHTS, "rng": {"torch": torch.get_rng_state()}}
    assert holds(stored(tmp_path, content), WEIGHTS)


def test_optimizer_is_not_taken_for_weights(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    parameter.sum().backward()
    optimizer.step()
    content = {"optimizer": optimizer.state_dict(), "my_net": WEIGHTS}
    checkpoint = stored(tmp_path, content)
    assert holds(checkpoint, WEIGHTS)
    assert "'my_net'" in checkpoint.notes[0]


def test_several_unknown_entries_are_ambiguous(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="generator, discriminator"):
        stored(tmp_path, {"generator": WEIGHTS, "discriminator": OTHERS})


def test_entries_that_contain_themselves_end(tmp_path: Path) -> None:
    content: dict[str, Any] = {"epoch": 1}
    content["model"] = content["net"] = content["state_dict"] = content
    with pytest.raises(CheckpointError, match="no weights"):
        stored(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "none at all"),
        ({"epoch": 3, "best": 0.5}, "epoch, best"),
        ([1, 2], "a list"),
        (torch.ones(3), "a Tensor"),
    ],
)
def test_files_without_weights(tmp_path: Path, content: Any, told: str) -> None:
    with pytest.raises(CheckpointError, match=told) as caught:
        stored(tmp_path, content)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("beside", "arch"),
    [
        ({"arch": "resnet18"}, "resnet18"),
        ({"arch": 18}, None),
        ({"args": argparse.Namespace(model="resnet18", lr=0.1)}, "resnet18"),
        ({"args": {"arch": "resnet18", "model": "r18"}}, "resnet18"),
        ({"arch": "resnet18", "args": argparse.Namespace(model="r18")}, "resnet18"),
        ({"hyper_parameters": {"model_name": "resnet18"}}, "resnet18"),
        ({"hyper_parameters": {"model": torch.nn.Linear(2, 2)}}, None),
        ({"args": ["--arch", "resnet18"]}, None),
    ],
)
def test_arch_beside_the_weights(tmp_path: Path, beside: dict[str, Any], arch: str | None) -> None:
    checkpoint = stored(tmp_path, {"state_dict": WEIGHTS, **beside})
    assert checkpoint.arch == arch
    assert holds(checkpoint, WEIGHTS)


def test_safetensors(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "file.safetensors", metadata={"arch": "resnet18"})
    checkpoint = read_checkpoint(tmp_path / "file.safetensors")
    assert all(torch.equal(checkpoint.tensors[name], WEIGHTS[name]) for name in WEIGHTS)
    assert checkpoint.arch == "resnet18"


def test_safetensors_without_tensors(tmp_path: Path) -> None:
    save_file({}, tmp_path / "file.safetensors")
    with pytest.raises(CheckpointError, match="no tensors"):
        read_checkpoint(tmp_path / "file.safetensors")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_precision_stays_as_stored(tmp_path: Path, dtype: torch.dtype, form: str) -> None:
    weights = {name: tensor.to(dtype) for name, tensor in WEIGHTS.items()}
    if form == "safetensors":
        save_file(weights, tmp_path / "file.pt")
    else:
        torch.save(weights, tmp_path / "file.pt", _use_new_zipfile_serialization=form == "zip")
    found = read_checkpoint(tmp_path / "file.pt").tensors
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert {tensor.dtype for tensor in found.values()} == {dtype}


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("form", ["zip", "safetensors"])
def test_numbers_that_need_scales_are_refused(
    tmp_path: Path, dtype: torch.dtype, form: str
) -> None:
    weights = {"fc.weight": torch.ones(4, 4).to(dtype), "fc.weight_scale": torch.ones(4)}
    write = save_file if form == "safetensors" else torch.save
    write(weights, tmp_path / "file.pt")
    with pytest.raises(CheckpointError, match=r"fc\.weight as float8.*scales") as caught:
        read_checkpoint(tmp_path / "file.pt")
    assert "before quantization" in caught.value.hint


def test_quantized_and_sparse_tensors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="sparse tensors"):
        stored(tmp_path, {"fc.weight": torch.eye(3).to_sparse()})
    quantized = b"ctorch._utils\n_rebuild_qtensor\n)R"
    with zipfile.ZipFile(tmp_path / "quantized.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + quantized + b".")
    with pytest.raises(CheckpointError, match="quantized tensors"):
        read_checkpoint(tmp_path / "quantized.pt")


def test_views_and_parameters(tmp_path: Path) -> None:
    base = torch.arange(24.0)
    weights = {
        "part": base[4:10],
        "turned": base.reshape(4, 6).T,
        "every_second": base[::2],
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.0),
        "parameter": torch.nn.Parameter(torch.ones(3)),
    }
    for legacy in (False, True):
        found = stored(tmp_path, weights, _use_new_zipfile_serialization=not legacy).tensors
        assert all(torch.equal(found[name], weights[name]) for name in weights)
        assert not any(tensor.requires_grad for tensor in found.values())


def test_dictionaries_as_python_2_pickled_them(tmp_path: Path) -> None:
    """With a list of pairs, lists themselves."""
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x02tQ"
        b"K\x00K\x02\x85K\x01\x85\x89ccollections\nOrderedDict\n]\x85RtR"
    )
    pairs = b"](](U\x02fc" + tensor + b"ee"
    with zipfile.ZipFile(tmp_path / "old.pt", "w") as archive:
        pickled = b"\x80\x02ccollections\nOrderedDict\n" + pairs + b"\x85R."
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", np.ones(2, np.float32).tobytes())
        archive.writestr("archive/version", "3")
    assert torch.equal(read_checkpoint(tmp_path / "old.pt").tensors["fc"], torch.ones(2))
