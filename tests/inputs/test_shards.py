"""Checkpoints in several files, by their index or their folder."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import networks
from safetensors.torch import save_file
from torch import Tensor

from normstats.errors import CheckpointError
from normstats.inputs import load_into, read_checkpoint

WEIGHTS: dict[str, Tensor] = dict(networks.small().state_dict())
NAMES = {"safetensors": "model.safetensors", "bin": "pytorch_model.bin"}


def sharded(folder: Path, kind: str, **changes: Any) -> Path:
    """Three shards and their index, as Hugging Face's libraries write them."""
    folder.mkdir(exist_ok=True)
    stem, suffix = NAMES[kind].rsplit(".", 1)
    weight_map = {}
    for number in range(3):
        part = dict(list(WEIGHTS.items())[number::3])
        name = f"{stem}-0000{number + 1}-of-00003.{suffix}"
        weight_map |= dict.fromkeys(part, name)
        if kind == "bin":
            torch.save(part, folder / name)
        else:
            save_file(part, folder / name)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map | changes}
    (folder / f"{NAMES[kind]}.index.json").write_text(json.dumps(index, indent=2))
    return folder / f"{NAMES[kind]}.index.json"


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("by_folder", [False, True])
def test_shards_are_put_together(tmp_path: Path, kind: str, by_folder: bool) -> None:
    index = sharded(tmp_path / "net", kind)
    given = index.parent if by_folder else index
    checkpoint = read_checkpoint(given)
    assert checkpoint.path == given
    assert checkpoint.tensors.keys() == WEIGHTS.keys()
    assert all(torch.equal(checkpoint.tensors[name], WEIGHTS[name]) for name in WEIGHTS)
    assert checkpoint.notes == (f"The weights were read from the 3 shards of {index.name}.",)
    network = networks.small()
    torch.nn.init.zeros_(network[0].weight)
    load_into(network, checkpoint)
    assert torch.equal(network[0].weight, WEIGHTS["0.weight"])


@pytest.mark.skipif(sys.platform != "linux", reason="needs sha256sum")
def test_fingerprint_is_what_the_docstring_says(tmp_path: Path) -> None:
    sharded(tmp_path, "bin")
    command = "LC_ALL=C; sha256sum *.bin | sha256sum"
    printed = subprocess.run(
        command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert read_checkpoint(tmp_path).sha256 == printed.split()[0]


def test_shards_may_be_links(tmp_path: Path) -> None:
    """As in the cache of huggingface_hub."""
    index = sharded(tmp_path / "net", "safetensors")
    (tmp_path / "blobs").mkdir()
    for number, shard in enumerate((tmp_path / "net").glob("*.safetensors")):
        moved = shard.rename(tmp_path / "blobs" / str(number))
        shard.symlink_to(moved)
    assert read_checkpoint(index).tensors.keys() == WEIGHTS.keys()


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (["model.safetensors", "pytorch_model.bin"], "model.safetensors"),
        (["pytorch_model.bin", "config.json"], "pytorch_model.bin"),
        (["model.safetensors", "pytorch_model.bin.index.json"], "model.safetensors"),
    ],
)
def test_folder_with_a_whole_file(tmp_path: Path, names: list[str], read: str) -> None:
    for name in names:
        (tmp_path / name).write_text("{}")
    torch.save(WEIGHTS, tmp_path / read)
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.tensors.keys() == WEIGHTS.keys()
    assert checkpoint.notes == (f"Of the folder, {read} was read.",)
    assert checkpoint.sha256 == hashlib.sha256((tmp_path / read).read_bytes()).hexdigest()


def test_folder_with_another_index(tmp_path: Path) -> None:
    index = sharded(tmp_path, "safetensors")
    index.rename(tmp_path / "diffusion_pytorch_model.safetensors.index.json")
    assert read_checkpoint(tmp_path).tensors.keys() == WEIGHTS.keys()


@pytest.mark.parametrize("kind", NAMES)
def test_missing_shards_are_named(tmp_path: Path, kind: str) -> None:
    index = sharded(tmp_path, kind)
    gone = sorted(tmp_path.glob("*-of-00003.*"))[1:]
    for shard in gone:
        shard.unlink()
    with pytest.raises(CheckpointError, match="3 shards, of which 2 are missing") as caught:
        read_checkpoint(index)
    assert all(shard.name in caught.value.message for shard in gone)
    assert str(tmp_path) in caught.value.hint


def test_a_shard_that_is_cut_off_is_named(tmp_path: Path) -> None:
    index = sharded(tmp_path, "safetensors")
    shard = min(tmp_path.glob("*-of-00003.*"))
    shard.write_bytes(shard.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match=f"{shard.name} is cut off"):
        read_checkpoint(index)


def test_a_weight_that_its_shard_lacks_is_named(tmp_path: Path) -> None:
    index = sharded(tmp_path, "safetensors", **{"9.weight": "model-00002-of-00003.safetensors"})
    with pytest.raises(CheckpointError, match=r"model-00002.*not there: 9\.weight"):
        read_checkpoint(index)


def test_weights_that_the_index_does_not_name_are_left(tmp_path: Path) -> None:
    index = sharded(tmp_path, "bin")
    shard = max(tmp_path.glob("*-of-00003.*"))
    torch.save(torch.load(shard, weights_only=True) | {"rotary": torch.ones(3)}, shard)
    assert read_checkpoint(index).tensors.keys() == WEIGHTS.keys()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"weight_map": {', "not an index"),
        ('{"weight_map": {}}', 'no "weight_map"'),
        ('{"weight_map": ["a"]}', 'no "weight_map"'),
        ('{"metadata": {}}', 'no "weight_map"'),
    ],
)
def test_what_is_no_index(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointError, match=told):
        read_checkpoint(tmp_path)


MEASURE = """
import sys, torch
from pathlib import Path
from torch import nn
from normstats.inputs import load_into, read_checkpoint
network = nn.ModuleList([nn.Linear(4000, 4000, bias=False) for _ in range(6)])
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
before = peak()
load_into(network, read_checkpoint(sys.argv[1]))
print((peak() - before) >> 10)
assert all((layer.weight == number).all() for number, layer in enumerate(network))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
@pytest.mark.parametrize("kind", NAMES)
def test_memory_is_not_doubled(tmp_path: Path, kind: str) -> None:
    """366 MB of weights in three shards: beside the network's own, they are held once at most."""
    weight_map = {}
    for shard in range(3):
        name = f"part-{shard}.{kind}"
        numbers = (2 * shard, 2 * shard + 1)
        part = {f"{n}.weight": torch.full((4000, 4000), float(n)) for n in numbers}
        weight_map |= dict.fromkeys(part, name)
        if kind == "bin":
            optimizer = {"state": {n: torch.ones(4000, 4000) for n in range(3)}}
            torch.save({"model": part, "optimizer": optimizer}, tmp_path / name)
        else:
            save_file(part, tmp_path / name)
    index = tmp_path / f"{NAMES[kind]}.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, str(index)], capture_output=True, text=True, check=True
    )
    assert int(measured.stdout) < 450
