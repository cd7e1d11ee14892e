"""Architectures from torchvision, timm, files and modules."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from normstats.errors import ArchitectureError
from normstats.inputs import build_architecture

NETWORKS = """
from torch import nn
import torch

print("building", flush=True)

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 1)

def small():
    return Net()

def sized(width, *rest, depth):
    return Net(width)

def fetched(weights="IMAGENET1K_V1", pretrained=True, **more):
    if weights is not None or pretrained:
        raise RuntimeError("would download")
    return Net(5)

def failing():
    raise ValueError("no such width")

def leaving():
    raise SystemExit(3)

def listed():
    return [Net()]

ready = Net(6)
number = 3
"""


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    path = tmp_path / "networks.py"
    path.write_text(NETWORKS)
    return path


def refusal(spec: str) -> ArchitectureError:
    path = list(sys.path)
    with pytest.raises(ArchitectureError) as caught:
        build_architecture(spec)
    assert sys.path == path
    return caught.value


@pytest.mark.parametrize("spec", ["resnet18", "torchvision:resnet18", "torchvision:ResNet18"])
def test_torchvision(spec: str) -> None:
    model = build_architecture(spec)
    assert model.state_dict().keys() == models.resnet18(weights=None).state_dict().keys()


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "googlenet"])
def test_torchvision_downloads_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*arguments: object, **options: object) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    assert isinstance(build_architecture(name), nn.Module)


def test_auxiliary_heads_where_the_weights_have_some() -> None:
    for name, has, lacks in (
        ("deeplabv3_mobilenet_v3_large", "aux_classifier.0.weight", "classifier.0.weight"),
        ("torchvision:googlenet", "module.aux1.fc1.weight", "module.fc.weight"),
    ):
        for weight, expected in ((has, True), (lacks, False)):
            state = build_architecture(name, [weight]).state_dict()
            assert any("aux" in key for key in state) is expected


@pytest.mark.usefixtures("timm")
def test_timm_after_torchvision() -> None:
    torchvision_lacks = "resnet10t"
    model = build_architecture(torchvision_lacks)
    assert type(model).__module__.startswith("timm.")
    again = build_architecture(f"timm:{torchvision_lacks}")
    assert again.state_dict().keys() == model.state_dict().keys()
    assert type(build_architecture("timm:resnet18")).__module__.startswith("timm.")


def test_unknown_names_offer_near_ones() -> None:
    assert "resnet50" in (refusal("resnet05").hint or "")
    assert "resnet50" in (refusal("torchvision:resnet_50").hint or "")
    assert "file.py:function" in (refusal("zzzzqqq").hint or "")


@pytest.mark.usefixtures("timm")
def test_unknown_timm_names_offer_near_ones() -> None:
    assert "convnext_atto" in (refusal("timm:convnext_ato").hint or "")


def test_timm_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    for spec in ("timm:convnext_atto", "convnext_atto"):
        error = refusal(spec)
        assert "timm" in error.message
        assert "pip install 'normstats[timm]'" in (error.hint or "")


def test_function_in_a_file(networks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build_architecture(f"{networks}:small")
    assert list(model.state_dict()) == ["conv.weight", "conv.bias"]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "building" in printed.err


def test_class_and_instance_in_a_file(networks: Path) -> None:
    assert build_architecture(f"{networks}:Net").conv.out_channels == 4
    assert build_architecture(f"{networks}:ready").conv.out_channels == 6


def test_defaults_that_would_download_are_switched_off(networks: Path) -> None:
    assert build_architecture(f"{networks}:fetched").conv.out_channels == 5


def test_file_imports_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_net.py").write_text("from torch import nn\nlayer = nn.Conv2d\n")
    (tmp_path / "net.py").write_text(
        "import neighbour_of_net\ndef net():\n    return neighbour_of_net.layer(3, 4, 1)\n"
    )
    path = list(sys.path)
    assert isinstance(build_architecture(f"{tmp_path / 'net.py'}:net"), nn.Conv2d)
    assert sys.path == path


def test_files_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    for width in (2, 3):
        (tmp_path / str(width)).mkdir()
        (tmp_path / str(width) / "net.py").write_text(
            f"from torch import nn\ndef net():\n    return nn.Conv2d(3, {width}, 1)\n"
        )
    for width in (2, 3):
        assert build_architecture(f"{tmp_path / str(width) / 'net.py'}:net").out_channels == width


def test_module_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package_of_nets"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "small.py").write_text("from torch import nn\ndef net(): return nn.Linear(2, 3)\n")
    monkeypatch.chdir(tmp_path)
    assert isinstance(build_architecture("package_of_nets.small:net"), nn.Linear)


def test_installed_module() -> None:
    assert isinstance(build_architecture("torchvision.models:resnet18"), models.ResNet)


def test_missing_file(tmp_path: Path) -> None:
    error = refusal(f"{tmp_path / 'no.py'}:net")
    assert "no file" in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import torch\n\n1 / 0\n", ["ZeroDivisionError", "line 3"]),
        ("def net(:\n", ["SyntaxError", "line 1"]),
        ("import not_there_at_all\n", ["not_there_at_all", "line 1"]),
        ("raise SystemExit('usage')\n", ["SystemExit", "usage"]),
    ],
)
def test_file_that_fails(tmp_path: Path, source: str, told: list[str]) -> None:
    (tmp_path / "net.py").write_text(source)
    before = set(sys.modules)
    error = refusal(f"{tmp_path / 'net.py'}:net")
    assert all(part in error.message for part in told), error.message
    assert not {name for name in set(sys.modules) - before if name.startswith("normstats_")}


def test_function_missing(networks: Path) -> None:
    error = refusal(f"{networks}:smal")
    assert "'smal'" in error.message
    assert "Did you mean small?" in (error.hint or "")
    assert "sized" in (error.hint or "")
    assert "number" not in (error.hint or "")


def test_function_not_named(networks: Path) -> None:
    error = refusal(str(networks))
    assert "name its function" in error.message
    assert "small" in (error.hint or "")
    refusal(f"{networks}:")


def test_not_a_function(networks: Path) -> None:
    assert "'number'" in refusal(f"{networks}:number").message


def test_function_that_needs_arguments(networks: Path) -> None:
    error = refusal(f"{networks}:sized")
    assert "width, depth" in error.message
    assert "without arguments" in (error.hint or "")


def test_function_that_fails(networks: Path) -> None:
    message = refusal(f"{networks}:failing").message
    assert "ValueError: no such width" in message
    assert "networks.py, line" in message
    assert "SystemExit" in refusal(f"{networks}:leaving").message


def test_function_that_returns_something_else(networks: Path) -> None:
    assert "returned a list" in refusal(f"{networks}:listed").message


def test_module_missing() -> None:
    assert "no module not_a_package" in refusal("not_a_package.nets:net").message
    assert "no module torchvision.not_here" in refusal("torchvision.not_here:net").message


@pytest.mark.parametrize("spec", [":net", "..:net", "a b:net", ""])
def test_odd_specs(spec: str) -> None:
    refusal(spec)
