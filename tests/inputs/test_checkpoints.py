"""What is found in a checkpoint, wherever the training program put it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

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


def test_of_several_entries_the_first_is_taken_and_named(tmp_path: Path) -> None:
    checkpoint = stored(tmp_path, {"model_ema": OTHERS, "state_dict": WEIGHTS})
    assert holds(checkpoint, WEIGHTS)
    assert len(checkpoint.notes) == 1
    assert "'state_dict'" in checkpoint.notes[0]
    assert "model_ema" in checkpoint.notes[0]


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


def test_arch_beside_the_weights(tmp_path: Path) -> None:
    assert stored(tmp_path, {"arch": "resnet18", "state_dict": WEIGHTS}).arch == "resnet18"
    assert stored(tmp_path, {"arch": 18, "state_dict": WEIGHTS}).arch is None


def test_safetensors(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "file.safetensors", metadata={"arch": "resnet18"})
    checkpoint = read_checkpoint(tmp_path / "file.safetensors")
    assert all(torch.equal(checkpoint.tensors[name], WEIGHTS[name]) for name in WEIGHTS)
    assert checkpoint.arch == "resnet18"


def test_safetensors_without_tensors(tmp_path: Path) -> None:
    save_file({}, tmp_path / "file.safetensors")
    with pytest.raises(CheckpointError, match="no tensors"):
        read_checkpoint(tmp_path / "file.safetensors")
