"""What training programs save: weights among settings, paths, callbacks and averages."""

from __future__ import annotations

import argparse
import copy
import datetime
import functools
import pathlib
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from helpers import networks
from torch import Tensor, nn

from normstats.errors import CheckpointError
from normstats.inputs import load_into, read_checkpoint

Foreign = Callable[..., type]


@pytest.fixture
def foreign() -> Iterator[Foreign]:
    """Classes of libraries that are there while a file is written, and gone when it is read."""
    modules: list[str] = []

    def make(name: str, *bases: type) -> type:
        module, _, qualified = name.rpartition(".")

        def fail(*_: Any) -> None:
            raise AssertionError(f"{name} was run")

        made = type(qualified, bases, {"__module__": module, "__setstate__": fail})
        for depth in range(module.count(".") + 1):
            parent = ".".join(module.split(".")[: depth + 1])
            if parent not in sys.modules:
                sys.modules[parent] = ModuleType(parent)
                modules.append(parent)
        setattr(sys.modules[module], qualified, made)
        return made

    def leave() -> None:
        while modules:
            del sys.modules[modules.pop()]

    make.leave = leave  # type: ignore[attr-defined]
    yield make
    leave()


def filled(seed: int) -> nn.Module:
    network = networks.small()
    torch.manual_seed(seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(1, 2)
    return network


def optimizer_of(network: nn.Module) -> dict[str, Any]:
    optimizer = torch.optim.AdamW(network.parameters())
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return optimizer.state_dict()


def assert_same(found: nn.Module, network: nn.Module) -> None:
    expected = network.state_dict()
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def loaded(path: Path) -> tuple[nn.Module, tuple[str, ...]]:
    network = networks.small()
    checkpoint = read_checkpoint(path)
    return network, (*checkpoint.notes, *load_into(network, checkpoint))


def prefixed(prefix: str, network: nn.Module) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("legacy", [False, True])
def test_torchvision_reference_training(tmp_path: Path, legacy: bool) -> None:
    """As references/classification/train.py saves it."""
    network = filled(1)
    optimizer = optimizer_of(network)
    averaged = torch.optim.swa_utils.AveragedModel(filled(2))
    schedule = torch.optim.lr_scheduler.MultiStepLR(
        torch.optim.SGD(network.parameters(), lr=0.1), milestones=[3, 6]
    )
    arguments = argparse.Namespace(
        model="resnet18", output_dir=pathlib.Path("out"), lr=0.1, device="cuda", weights=None
    )
    content = {
        "model": network.state_dict(),
        "optimizer": optimizer,
        "lr_scheduler": schedule.state_dict(),
        "epoch": 3,
        "args": arguments,
        "model_ema": averaged.state_dict(),
        "scaler": torch.amp.GradScaler("cpu", enabled=False).state_dict(),
    }
    path = tmp_path / "model_3.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    found, notes = loaded(path)
    assert_same(found, network)
    assert notes == ("The weights were taken from 'model'; it also holds model_ema.",)
    assert read_checkpoint(path).arch == "resnet18"


def test_timm_training(timm: Any, tmp_path: Path) -> None:
    network = filled(1)
    arguments = argparse.Namespace(model="resnet18", data_dir=pathlib.Path("/data"), opt="sgd")
    averaged = timm.utils.ModelEmaV3(filled(2))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    saver = timm.utils.CheckpointSaver(
        network, optimizer, args=arguments, model_ema=averaged, checkpoint_dir=str(tmp_path)
    )
    saver.save_checkpoint(3, metric=np.float64(76.1))
    path = tmp_path / "last.pth.tar"
    found, notes = loaded(path)
    assert_same(found, network)
    assert notes == ("The weights were taken from 'state_dict'; it also holds state_dict_ema.",)
    assert read_checkpoint(path).arch == "resnet18"


@pytest.mark.parametrize("prefix", ["model.", "net.", "backbone.", "resnet.", "_my_net.features."])
def test_lightning(tmp_path: Path, foreign: Foreign, prefix: str) -> None:
    """As ModelCheckpoint of Lightning 2 saves it, with the hyper-parameters of a Hydra template."""
    network = filled(1)
    mapping = foreign("lightning.fabric.utilities.data.AttributeDict", dict)
    config = foreign("omegaconf.dictconfig.DictConfig")()
    config.__dict__.update(_content={"lr": 0.1}, _metadata=None, _parent=None)
    hyper_parameters = mapping(
        model_name="resnet18",
        cfg=config,
        root=pathlib.Path("/data"),
        optimizer=functools.partial(torch.optim.Adam, lr=np.float32(0.1)),
        loss=nn.CrossEntropyLoss(),
    )
    content = {
        "epoch": 3,
        "global_step": 300,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": OrderedDict(
            prefixed(prefix, network),
            **{"criterion.weight": torch.ones(3), "train_metric.total": torch.ones(())},
        ),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 1}}}},
        "callbacks": {
            "ModelCheckpoint{'monitor': None}": {
                "best_model_score": torch.tensor(0.5),
                "best_k_models": {},
                "dirpath": pathlib.PurePosixPath("/runs"),
            },
            foreign("my_project.callbacks.Timer"): {"started": datetime.datetime(2025, 1, 1)},
        },
        "optimizer_states": [optimizer_of(network)],
        "lr_schedulers": [{"milestones": Counter([3, 6]), "_last_lr": deque([0.1], maxlen=3)}],
        "hparams_name": "kwargs",
        "hyper_parameters": hyper_parameters,
        "history": defaultdict(list, loss=[0.5, 0.25]),
        "random": {"numpy": np.random.RandomState(0).get_state(), "torch": torch.get_rng_state()},
    }
    torch.save(content, tmp_path / "epoch=3.ckpt")
    foreign.leave()  # type: ignore[attr-defined]
    found, notes = loaded(tmp_path / "epoch=3.ckpt")
    assert_same(found, network)
    assert repr(prefix) in notes[0]
    assert "criterion.weight, train_metric.total" in notes[1]
    assert read_checkpoint(tmp_path / "epoch=3.ckpt").arch == "resnet18"


def test_foreign_classes_are_neither_needed_nor_run(tmp_path: Path, foreign: Foreign) -> None:
    settings = foreign("my_project.settings.Settings")()
    settings.lr = 0.1
    names = foreign("my_project.settings.Names", list)(["a", "b"])
    torch.save({"model": filled(1).state_dict(), "a": settings, "b": names}, tmp_path / "c.pt")
    foreign.leave()  # type: ignore[attr-defined]
    assert_same(loaded(tmp_path / "c.pt")[0], filled(1))
    assert not any(name.startswith("my_project") for name in sys.modules)


def test_calls_of_foreign_functions_are_refused(tmp_path: Path, foreign: Foreign) -> None:
    kind = foreign("my_project.settings.Mode")
    kind.__reduce__ = lambda self: (type(self), (1,))  # type: ignore[method-assign]
    torch.save({"model": filled(1).state_dict(), "mode": kind()}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=r"my_project\.settings\.Mode"):
        read_checkpoint(tmp_path / "c.pt")


class Tied(nn.Module):
    """With all that a network can have."""

    def __init__(self) -> None:
        super().__init__()
        self.body = networks.small()
        self.again = self.body[1]
        self.scale = nn.Parameter(torch.ones(2))
        self.nothing = nn.Parameter(torch.ones(1), requires_grad=False)
        self.register_parameter("absent", None)
        self.register_buffer("kept", torch.arange(3.0))
        self.register_buffer("temporary", torch.arange(4.0), persistent=False)
        self.act = torch.nn.functional.relu
        self.layers = nn.ModuleDict({"a": nn.Linear(2, 2)})


@pytest.mark.parametrize("wrap", [lambda network: network, lambda network: {"ema": network}])
def test_whole_networks_are_read_without_their_code(
    tmp_path: Path, wrap: Callable[[nn.Module], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Tied()
    torch.save(wrap(network), tmp_path / "whole.pt")
    expected = network.state_dict()
    monkeypatch.delattr(sys.modules[Tied.__module__], "Tied", raising=False)
    checkpoint = read_checkpoint(tmp_path / "whole.pt")
    assert list(checkpoint.tensors) == list(expected)
    assert all(torch.equal(checkpoint.tensors[name], expected[name]) for name in expected)
    assert len(checkpoint.notes) == 1
    assert "Tied: its weights were read, its code was not run." in checkpoint.notes[0]


def test_a_whole_network_beside_its_average(tmp_path: Path) -> None:
    network = filled(1)
    torch.save({"model": network, "ema": copy.deepcopy(network)}, tmp_path / "last.pt")
    found, notes = loaded(tmp_path / "last.pt")
    assert_same(found, network)
    assert "taken from 'model'; it also holds ema" in notes[0]
    assert "torch.nn.modules.container.Sequential" in notes[1]
