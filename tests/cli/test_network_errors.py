"""Architectures that cannot be built and networks that cannot be observed, as a user meets them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import odd_networks
from helpers.refusals import analyze, assert_refused, bring

ODD = Path(odd_networks.__file__)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the program is started, and good input lies."""
    monkeypatch.chdir(tmp_path)
    bring(tmp_path)
    return tmp_path


def odd(place: Path, name: str, weights_of: str = "") -> dict[str, object]:
    """Its weights in a file, and how to name it."""
    state = getattr(odd_networks, weights_of or name)().state_dict()
    torch.save(state, place / "odd.pth")
    return {"checkpoint": "odd.pth", "arch": f"{ODD}:{name}"}


# --- architectures that cannot be built ----------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "arch", "words"),
    [
        ("import nowhere", "mine.py:net", ["mine.py failed while it was imported", "nowhere"]),
        ("x = 1 / 0", "mine.py:net", ["ZeroDivisionError", "mine.py, line 1"]),
        ("def net(:", "mine.py:net", ["SyntaxError", "line 1"]),
        ("raise SystemExit(3)", "mine.py:net", ["mine.py failed", "SystemExit: 3"]),
        ("import nowhere", "mine:net", ["mine failed while it was imported", "nowhere"]),
        ("x = 1 / 0", "mine:net", ["mine failed while it was imported", "ZeroDivisionError"]),
        ("def net(): pass", "mine:ent", ["mine has no function 'ent'", "Did you mean net"]),
        ("def net(): pass", "mine.py", ["name its function too", "Write mine.py:net"]),
        ("", "mine.py:net", ["has no function 'net'", "defines no functions"]),
        ("net = 3", "mine.py:net", ["has no function 'net'"]),
        ("def net(): pass", "mine.py:net", ["returned a NoneType"]),
        ("def net(): 1 / 0", "mine.py:net", ["net failed", "mine.py, line 1"]),
        ("def net(a, *, b): pass", "mine.py:net", ["needs arguments: a, b"]),
    ],
)
def test_code_that_builds_no_network(
    normstats: Callable[..., Any],
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    arch: str,
    words: list[str],
) -> None:
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (place / "mine.py").write_text(file)
    assert_refused(normstats(*analyze(arch=arch)), *words)


@pytest.mark.usefixtures("without_timm")
def test_a_name_that_torchvision_does_not_have(normstats: Callable[..., Any], place: Path) -> None:
    words = ["torchvision has no architecture 'resnet_18'", "timm is not installed", "resnet18"]
    assert_refused(normstats(*analyze(arch="resnet_18")), *words, "normstats[timm]")
    assert_refused(normstats(*analyze(arch="?")), "An architecture is a torchvision or timm name")


# --- networks that cannot be observed ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "weights_of", "words"),
    [
        ("without_layers", "", ["neither normalization layers nor convolutions"]),
        ("of_one_odd_size", "", ["The model failed on images of shape (4, 3, 12, 12)", "--crop"]),
        ("hungry", "", ["not enough memory", "batch of 4 images", "--batch-size"]),
        ("traced", "", ["traced graph", "batch_norm"]),
        ("idle", "", ["No layer ran when the model was called"]),
        ("tokens", "", ["No layer could be captured. norm: ", "tokens", "normstats layers"]),
        ("two_tensors", "", ["norm (Norm) was called with 2 tensors", "--layers"]),
        ("quantized", "", ["'1' (ReLU6) is quantized"]),
        ("lazy", "of_four_channels", ["'0' (LazyConv2d) is lazy"]),
    ],
)
def test_networks_that_cannot_be_observed(
    normstats: Callable[..., Any], place: Path, name: str, weights_of: str, words: list[str]
) -> None:
    assert_refused(normstats(*analyze(**odd(place, name, weights_of))), *words)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_a_scripted_network(normstats: Callable[..., Any], place: Path) -> None:
    assert_refused(normstats(*analyze(**odd(place, "scripted"))), "TorchScript", "eager")


def test_a_network_without_weights(normstats: Callable[..., Any], place: Path) -> None:
    arguments = analyze(arch=f"{ODD}:without_weights")
    assert_refused(normstats(*arguments), "on the meta device", "no weights")


def test_channels_that_could_be_on_two_axes(normstats: Callable[..., Any], place: Path) -> None:
    bring(place, size=(10, 10))
    words = ["Which axis of norm (LayerNorm)", "(4, 8, 8, 8)", "--channel-dim"]
    assert_refused(normstats(*analyze(**odd(place, "ambiguous"))), *words)


@pytest.mark.parametrize(
    ("axis", "words"), [(0, ["Axis 0", "holds the images"]), (7, ["Axis 7", "does not exist"])]
)
def test_no_axis_of_channels(
    normstats: Callable[..., Any], place: Path, axis: int, words: list[str]
) -> None:
    assert_refused(normstats(*analyze(**odd(place, "tokens"), channel_dim=axis)), *words)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("without_convolution", [], ["no convolution", "shape of its input is not known"]),
        ("of_one_odd_size", [], ["accepts none of the", "(2, 3, 224, 224)", "--size"]),
        ("of_one_odd_size", ["--size", 9], ["failed on images of shape (2, 3, 9, 9)"]),
        ("idle", ["--layers", "bn*"], ["No layer matches 'bn*'"]),
        ("idle", ["--size", 0], ["--size 0"]),
    ],
)
def test_layers_of_networks_that_do_not_run(
    normstats: Callable[..., Any], place: Path, name: str, options: list[object], words: list[str]
) -> None:
    given = odd(place, name)
    outcome = normstats("layers", given["checkpoint"], "--arch", given["arch"], *options)
    assert_refused(outcome, *words)
