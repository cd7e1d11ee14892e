"""The zoos' own weights: found by name, cached, fetched, and refused."""

from __future__ import annotations

import hashlib
import http.server
import json
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

import normstats
from normstats.errors import ArchitectureError, CheckpointError
from normstats.inputs import Preprocessing, load
from normstats.inputs.zoos.downloads import fetch_url
from normstats.inputs.zoos.named import find_weights

NOWHERE = "https://nowhere.invalid"  # a name that is reserved for never being found
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for proxy in PROXIES:
        monkeypatch.delenv(proxy, raising=False)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def timm(timm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "ENDPOINT", NOWHERE)
    return timm


def seeded(model: nn.Module) -> nn.Module:
    """Random weights and running statistics that no other model has."""
    generator = torch.Generator().manual_seed(len(list(model.parameters())))
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data = torch.rand(tensor.shape, generator=generator)
    return model


def assert_same_weights(model: nn.Module, expected: nn.Module) -> None:
    state = expected.state_dict()
    loaded = model.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def cached(weights: Any, model: nn.Module, caches: Path) -> Path:
    """The weights where torch.hub looks for them."""
    caches.mkdir(parents=True, exist_ok=True)
    path = caches / weights.url.rpartition("/")[2]
    torch.save(model.state_dict(), path)
    return path


def on_hub(place: Path, repository: str, model: nn.Module, name: str = "model.safetensors") -> Path:
    """The weights where huggingface_hub looks for them."""
    home = place / "hf" / f"models--{repository.replace('/', '--')}"
    revision = "0123456789abcdef" * 2 + "01234567"
    (home / "refs").mkdir(parents=True, exist_ok=True)
    (home / "refs" / "main").write_text(revision)
    path = home / "snapshots" / revision / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".safetensors"):
        save_file(model.state_dict(), path)
    else:
        torch.save(model.state_dict(), path)
    return path


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "description"),
    [
        ("resnet50", "torchvision resnet50, IMAGENET1K_V2"),
        ("ResNet50", "torchvision resnet50, IMAGENET1K_V2"),
        ("torchvision:resnet50", "torchvision resnet50, IMAGENET1K_V2"),
        ("torchvision:resnet50:IMAGENET1K_V1", "torchvision resnet50, IMAGENET1K_V1"),
        (
            "torchvision:resnet50:ResNet50_Weights.IMAGENET1K_V1",
            "torchvision resnet50, IMAGENET1K_V1",
        ),
        (
            "torchvision:fcn_resnet50",
            "torchvision fcn_resnet50, COCO_WITH_VOC_LABELS_V1",
        ),
    ],
)
def test_torchvision_names(name: str, description: str) -> None:
    weights = find_weights(name)
    assert weights is not None
    assert weights.description == description
    assert weights.arch == "torchvision:" + description.split()[1].removesuffix(",")


@pytest.mark.parametrize(
    ("name", "description"),
    [
        ("convnext_atto", "timm convnext_atto.d2_in1k"),
        ("resnet50.a1_in1k", "timm resnet50.a1_in1k"),
        ("timm:resnet50.a2_in1k", "timm resnet50.a2_in1k"),
        ("timm:resnet50", "timm resnet50.a1_in1k"),
        ("timm:hf-hub:someone/net", "timm hf-hub:someone/net"),
    ],
)
def test_timm_names(timm: Any, name: str, description: str) -> None:
    weights = find_weights(name)
    assert weights is not None
    assert weights.description == description


@pytest.mark.parametrize("name", ["net.pth", "folder/resnet50", "C:\\resnet50", Path("resnet50")])
def test_paths(name: str | Path) -> None:
    assert find_weights(name) is None


def test_a_file_of_that_name_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = seeded(models.shufflenet_v2_x0_5(weights=None))
    torch.save(model.state_dict(), "resnet50")
    assert_same_weights(load("resnet50", "shufflenet_v2_x0_5").model, model)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("resnet05", CheckpointError, ["no file resnet05", "resnet50"]),
        ("torchvision:resnet05", ArchitectureError, ["resnet05", "resnet50"]),
        ("torchvision:resnet50:IMAGENET1K_V3", CheckpointError, ["IMAGENET1K_V3", "IMAGENET1K_V1"]),
        ("torchvision:quantized_resnet50", ArchitectureError, ["integers", "Analyze resnet50"]),
        ("missing.pth", CheckpointError, ["no file missing.pth"]),
    ],
)
def test_names_that_are_none(name: str, kind: type[Exception], words: list[str]) -> None:
    with pytest.raises(kind) as caught:
        load(name)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("timm:convnext_ato", ArchitectureError, ["convnext_ato", "convnext_atto"]),
        ("timm:resnet50.a1_in1", CheckpointError, ["a1_in1", "a1_in1k"]),
        ("timm:cspresnet50d", CheckpointError, ["no weights", "--arch timm:cspresnet50d"]),
    ],
)
def test_timm_names_that_are_none(
    timm: Any, name: str, kind: type[Exception], words: list[str]
) -> None:
    with pytest.raises(kind) as caught:
        load(name)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.usefixtures("without_timm")
def test_names_without_timm() -> None:
    with pytest.raises(ArchitectureError, match="not installed"):
        load("timm:convnext_atto")
    with pytest.raises(CheckpointError, match="no zoo"):
        load("convnext_atto")


def test_architecture_beside_a_zoo_name() -> None:
    with pytest.raises(ArchitectureError, match="an architecture was given too") as caught:
        load("torchvision:resnet50", "resnet50")
    assert "Leave --arch out" in caught.value.hint


# --- cached weights ------------------------------------------------------------------------------


def test_torchvision_from_the_cache(caches: Path) -> None:
    model = seeded(models.mobilenet_v3_small(weights=None))
    path = cached(models.MobileNet_V3_Small_Weights.IMAGENET1K_V1, model, caches)
    loaded = load("mobilenet_v3_small")
    assert_same_weights(loaded.model, model)
    assert not loaded.model.training
    assert loaded.name == path.name
    assert loaded.arch == "torchvision:mobilenet_v3_small"
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.description == "torchvision mobilenet_v3_small, IMAGENET1K_V1"
    assert loaded.preprocessing == Preprocessing(256, 224)
    assert any("not the original" in note for note in loaded.notes)
    assert_same_weights(normstats.load_model("torchvision:mobilenet_v3_small"), model)


def test_each_of_several_weights_has_its_preprocessing(caches: Path) -> None:
    model = seeded(models.mobilenet_v2(weights=None))
    kind = models.MobileNet_V2_Weights
    for weights, resize in ((kind.IMAGENET1K_V1, 256), (kind.IMAGENET1K_V2, 232)):
        cached(weights, model, caches)
        loaded = load(f"torchvision:mobilenet_v2:{weights.name}")
        assert loaded.preprocessing == Preprocessing(resize, 224)


def test_torchvision_builds_some_networks_otherwise_with_weights(caches: Path) -> None:
    stored = seeded(models.googlenet(weights=None, init_weights=False))
    cached(models.GoogLeNet_Weights.IMAGENET1K_V1, stored, caches)
    model = load("googlenet").model
    assert model.transform_input
    assert model.aux1 is None
    assert torch.equal(model.conv1.conv.weight, stored.conv1.conv.weight)


def test_detection_normalizes_itself(caches: Path) -> None:
    stored = models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    cached(models.detection.SSDLite320_MobileNet_V3_Large_Weights.COCO_V1, seeded(stored), caches)
    loaded = load("ssdlite320_mobilenet_v3_large")
    assert loaded.preprocessing == Preprocessing(mean=(0.0,) * 3, std=(1.0,) * 3)


class Reduced:
    """Unpickling it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


def test_nothing_in_a_cache_is_unpickled(caches: Path, tmp_path: Path) -> None:
    caches.mkdir(parents=True)
    path = caches / models.MobileNet_V3_Small_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    for save in (torch.save, lambda content, file: file.write_bytes(pickle.dumps(content))):
        save({"weights": Reduced(tmp_path / "trace")}, path)
        with pytest.raises(CheckpointError):
            load("mobilenet_v3_small")
    assert not (tmp_path / "trace").exists()


def test_nothing_in_timms_cache_is_unpickled(timm: Any, tmp_path: Path) -> None:
    path = on_hub(tmp_path, "timm/test_resnet.r160_in1k", nn.Identity(), "pytorch_model.bin")
    torch.save({"weights": Reduced(tmp_path / "trace")}, path)
    with pytest.raises(CheckpointError):
        load("timm:test_resnet")
    assert not (tmp_path / "trace").exists()


def test_other_weights_in_the_cache(caches: Path) -> None:
    other = models.shufflenet_v2_x0_5(weights=None)
    path = cached(models.MobileNet_V3_Small_Weights.IMAGENET1K_V1, other, caches)
    with pytest.raises(CheckpointError, match="does not hold the weights") as caught:
        load("mobilenet_v3_small")
    assert path.name in caught.value.message
    assert "Delete it" in caught.value.hint


def test_file_that_is_torchvisions_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = seeded(models.mobilenet_v3_small(weights=None))
    torch.save(model.state_dict(), tmp_path / "renamed.pt")
    digest = hashlib.sha256((tmp_path / "renamed.pt").read_bytes()).hexdigest()
    weights = models.MobileNet_V3_Small_Weights.IMAGENET1K_V1
    monkeypatch.setattr(weights.value, "url", f"{NOWHERE}/mobilenet_v3_small-{digest[:8]}.pth")
    for arch in (None, "mobilenet_v3_small"):
        loaded = load(tmp_path / "renamed.pt", arch)
        assert_same_weights(loaded.model, model)
        assert loaded.arch == "torchvision:mobilenet_v3_small"
        told = "The file is that of torchvision mobilenet_v3_small, IMAGENET1K_V1."
        assert loaded.notes == (told,)
        assert loaded.preprocessing == Preprocessing(256, 224)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_timm_from_the_cache(timm: Any, tmp_path: Path, file: str) -> None:
    model = seeded(timm.create_model("test_resnet"))
    path = on_hub(tmp_path, "timm/test_resnet.r160_in1k", model, file)
    for name in ("test_resnet", "timm:test_resnet", "timm:test_resnet.r160_in1k"):
        loaded = load(name)
        assert_same_weights(loaded.model, model)
        assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert loaded.description == "timm test_resnet.r160_in1k"
        assert loaded.arch == "timm:test_resnet.r160_in1k"
        assert (loaded.preprocessing.resize, loaded.preprocessing.crop) == (168, 160)


def test_timm_from_torchs_cache(timm: Any, caches: Path) -> None:
    model = seeded(timm.create_model("legacy_seresnet18"))
    caches.mkdir(parents=True)
    url = timm.get_pretrained_cfg("legacy_seresnet18").url
    torch.save(model.state_dict(), caches / url.rpartition("/")[2])
    assert_same_weights(load("timm:legacy_seresnet18").model, model)


def test_timm_renames_weights_as_it_does(timm: Any, tmp_path: Path) -> None:
    model = seeded(timm.create_model("test_vit"))
    wrapped = nn.ModuleDict({"module": model})
    on_hub(tmp_path, "timm/test_vit.r160_in1k", wrapped, "pytorch_model.bin")
    assert_same_weights(load("timm:test_vit").model, model)


def test_hub_repository_of_anyone(timm: Any, tmp_path: Path) -> None:
    model = seeded(timm.create_model("test_resnet", num_classes=7))
    path = on_hub(tmp_path, "someone/net", model)
    settings = {"input_size": [3, 96, 96], "crop_pct": 0.8, "crop_mode": "squash"}
    settings |= {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear"}
    config = {
        "architecture": "test_resnet",
        "num_classes": 7,
        "pretrained_cfg": {**settings, "first_conv": "conv1.0", "classifier": "fc"},
    }
    path.with_name("config.json").write_text(json.dumps(config))
    loaded = load("timm:hf-hub:someone/net")
    assert_same_weights(loaded.model, model)
    assert loaded.preprocessing == Preprocessing(120, 96, (0.5,) * 3, (0.25,) * 3, squash=True)
    assert loaded.arch == "timm:hf-hub:someone/net"


# --- out of reach --------------------------------------------------------------------------------


def test_torchvision_offline(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = models.ResNet18_Weights.IMAGENET1K_V1
    monkeypatch.setattr(weights.value, "url", f"{NOWHERE}/models/resnet18-f37072fd.pth")
    before = time.monotonic()
    with pytest.raises(CheckpointError) as caught:
        load("resnet18")
    assert time.monotonic() - before < 15
    assert str(caches / "resnet18-f37072fd.pth") in caught.value.message
    assert "torchvision resnet18, IMAGENET1K_V1" in caught.value.message
    assert f"{NOWHERE}/models/resnet18-f37072fd.pth" in caught.value.hint
    assert "resnet18-f37072fd.pth --arch torchvision:resnet18" in caught.value.hint


@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:hf-hub:someone/net@v2"])
def test_timm_offline(timm: Any, tmp_path: Path, name: str) -> None:
    before = time.monotonic()
    with pytest.raises(CheckpointError) as caught:
        load(name)
    assert time.monotonic() - before < 15
    assert str(tmp_path / "hf" / "models--") in caught.value.message
    assert "--arch timm:" in caught.value.hint


def test_hub_name_that_cannot_be(timm: Any) -> None:
    with pytest.raises(CheckpointError, match="cannot be downloaded"):
        load("timm:hf-hub:a/b/c")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server on this machine that offers the folder ``offered``."""
    (tmp_path / "offered").mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "offered"))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_download_into_the_cache(
    server: str, tmp_path: Path, caches: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = b"weights" * 1000
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / "offered" / f"net-{digest[:8]}.pth").write_bytes(content)
    (tmp_path / "offered" / "net-00000000.pth").write_bytes(content)
    path = fetch_url(f"{server}/net-{digest[:8]}.pth", "net", "net")
    assert path == caches / f"net-{digest[:8]}.pth"
    assert path.read_bytes() == content
    with pytest.raises(CheckpointError, match="hash"):
        fetch_url(f"{server}/net-00000000.pth", "net", "net")
    with pytest.raises(CheckpointError, match="404"):
        fetch_url(f"{server}/other-00000000.pth", "net", "net")
    assert [file.name for file in caches.iterdir()] == [path.name]
    assert capsys.readouterr().out == ""
