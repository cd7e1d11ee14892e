"""From a checkpoint to a model ready to be looked at."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.cifar_resnet import resnet20
from torch import nn

import normstats
from normstats.errors import ArchitectureError, CheckpointError, SettingError
from normstats.inputs import Preprocessing, input_channels, load, load_model, open_images

REPOSITORY = Path(__file__).parents[2]
REAL = REPOSITORY.parent / "shared" / "data" / "resnet20-cifar10"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real network in {REAL}")
ARCH = f"{REPOSITORY / 'tests' / 'helpers' / 'cifar_resnet.py'}:resnet20"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save({"state_dict": resnet20().state_dict()}, tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def test_load_tells_where_the_model_comes_from(weights: Path) -> None:
    loaded = load(weights, ARCH)
    assert loaded.name == "weights.pt"
    assert loaded.arch == ARCH
    assert loaded.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert loaded.notes == ()
    assert loaded.description == f"weights.pt, {ARCH}"
    assert not any(module.training for module in loaded.model.modules())


def test_load_model_takes_specs_functions_and_networks(weights: Path) -> None:
    model = resnet20()
    assert load_model(weights, model) is model
    expected = model.state_dict()
    for arch in (ARCH, resnet20, lambda: resnet20()):
        state = normstats.load_model(str(weights), arch=arch).state_dict()
        assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_function_that_returns_no_network(weights: Path) -> None:
    with pytest.raises(ArchitectureError, match="returned a int"):
        load_model(weights, lambda: 3)  # type: ignore[arg-type,return-value]


def test_stored_architecture(tmp_path: Path) -> None:
    model = build_shufflenet()
    content = {"arch": "shufflenet_v2_x0_5", "state_dict": model.state_dict()}
    torch.save(content, tmp_path / "weights.pt")
    loaded = load(tmp_path / "weights.pt")
    assert loaded.arch == "torchvision:shufflenet_v2_x0_5"
    assert any("shufflenet_v2_x0_5" in note for note in loaded.notes)


def build_shufflenet() -> nn.Module:
    from torchvision.models import shufflenet_v2_x0_5

    return shufflenet_v2_x0_5(weights=None)


@pytest.mark.usefixtures("without_timm")
def test_no_architecture(weights: Path) -> None:
    with pytest.raises(ArchitectureError, match="does not say") as caught:
        load(weights)
    assert "--arch" in (caught.value.hint or "")


@pytest.mark.usefixtures("without_timm")
def test_checkpoint_cannot_choose_the_code_that_runs(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    (tmp_path / "evil.py").write_text(f"import pathlib\npathlib.Path({str(trace)!r}).touch()\n")
    for arch in (f"{tmp_path / 'evil.py'}:net", "os.path:join", "my_resnet"):
        content = {"arch": arch, "state_dict": resnet20().state_dict()}
        torch.save(content, tmp_path / "weights.pt")
        with pytest.raises(ArchitectureError, match="cannot be built") as caught:
            load(tmp_path / "weights.pt")
        assert "--arch" in (caught.value.hint or "")
    assert not trace.exists()


def test_images_are_prepared_as_by_the_zoo_of_the_architecture(tmp_path: Path) -> None:
    torch.save(build_shufflenet().state_dict(), tmp_path / "weights.pt")
    loaded = load(tmp_path / "weights.pt", "shufflenet_v2_x0_5")
    assert loaded.arch == "torchvision:shufflenet_v2_x0_5"
    assert loaded.preprocessing == Preprocessing(256, 224)
    assert loaded.notes == (
        "Unless told otherwise, images are prepared as for torchvision shufflenet_v2_x0_5, "
        "IMAGENET1K_V1.",
    )


def test_images_are_prepared_as_by_timm(timm: Any, tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "weights.pt")
    loaded = load(tmp_path / "weights.pt", "timm:test_resnet")
    settings = timm.get_pretrained_cfg("test_resnet")
    assert loaded.preprocessing == Preprocessing(168, 160, settings.mean, settings.std)


def test_own_architectures_have_no_preprocessing(weights: Path) -> None:
    assert load(weights, ARCH).preprocessing is None
    assert load(weights, resnet20).preprocessing is None


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
def test_half_precision_is_loaded_as_float32(tmp_path: Path, stored: torch.dtype) -> None:
    state = resnet20().state_dict()
    half = {n: t.to(stored) if t.is_floating_point() else t for n, t in state.items()}
    torch.save(half, tmp_path / "weights.pt")
    for arch in (ARCH, resnet20().half()):
        loaded = load(tmp_path / "weights.pt", arch)
        kept = loaded.model.state_dict()
        assert {t.dtype for t in kept.values()} == {torch.float32, torch.int64}
    precise = load(tmp_path / "weights.pt", ARCH).model.state_dict()
    assert all(torch.equal(precise[n], half[n].to(precise[n].dtype)) for n in state)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_other_precision_where_asked(weights: Path, dtype: str) -> None:
    model = load_model(weights, ARCH, dtype=dtype)
    assert {p.dtype for p in model.parameters()} == {getattr(torch, dtype)}
    with pytest.raises(SettingError, match="float8"):
        load(weights, ARCH, dtype="float8")


@pytest.mark.parametrize(
    ("model", "channels"),
    [
        (nn.Sequential(nn.ReLU(), nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3)), 1),
        (nn.Sequential(nn.Conv2d(6, 12, 3, groups=3)), 6),
        (nn.Sequential(nn.Linear(4, 4)), 3),
    ],
)
def test_input_channels(model: nn.Module, channels: int) -> None:
    assert input_channels(model) == channels


@needs_real
def test_real_checkpoint_fits_exactly() -> None:
    loaded = load(REAL / "resnet20-12fca82f.th", ARCH)
    assert loaded.notes == (
        "The prefix 'module.' was removed from the names of the checkpoint's weights.",
    )


@needs_real
def test_real_checkpoint_in_another_architecture() -> None:
    with pytest.raises(CheckpointError, match=r"12fca82f\.th does not fit") as caught:
        load(REAL / "resnet20-12fca82f.th", "resnet18")
    assert "layer1.2.conv1.weight (16, 16, 3, 3)" in caught.value.message
    assert (
        "conv1.weight is (16, 3, 3, 3), the architecture has (64, 3, 7, 7)" in caught.value.message
    )


@needs_real
@pytest.mark.slow
def test_real_accuracy() -> None:
    model = load_model(REAL / "resnet20-12fca82f.th", ARCH)
    images = open_images(REAL / "images")
    correct = 0
    with torch.inference_mode():
        for batch, labels in images.batches(100):
            correct += int((model(batch).argmax(1) == labels).sum())
    assert len(images) == 2000
    assert correct / len(images) == pytest.approx(0.81, abs=0.005)
