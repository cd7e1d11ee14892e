"""The zoos' weights by name, refused as a user meets it: unknown, out of reach, or something else.

Nothing is downloaded: the caches are empty folders, and the addresses lead nowhere.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.networks import small
from helpers.refusals import analyze, assert_refused
from torchvision import models

NOWHERE = "https://nowhere.invalid"  # a name that is reserved for never being found
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the program is started; with empty caches, and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for proxy in PROXIES:
        monkeypatch.delenv(proxy, raising=False)
    return tmp_path


@pytest.fixture
def timm(timm: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place / "hf"))
    monkeypatch.setattr(constants, "ENDPOINT", NOWHERE)
    return timm


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_timm")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet05", ["no file resnet05, and no zoo has weights of that name", "resnet50"]),
        ("?", ["no file ?, and no zoo has weights of that name", "Paths are taken from"]),
        ("resnet50.pth", ["There is no file resnet50.pth", "Paths are taken from"]),
        ("torchvision:resnet05", ["torchvision has no architecture 'resnet05'", "resnet50"]),
        ("torchvision:", ["torchvision has no architecture ''", "list_models()"]),
        (
            "torchvision:resnet50:IMAGENET1K_V3",
            ["no weights 'IMAGENET1K_V3' of resnet50; it has IMAGENET1K_V1", "Did you mean"],
        ),
        (
            "torchvision:resnet50:x",
            ["no weights 'x' of resnet50", "Give torchvision:resnet50 for those it recommends"],
        ),
        ("torchvision:mnasnet0_75:x", ["no weights 'x' of mnasnet0_75; it has IMAGENET1K_V1"]),
        ("quantized_resnet50", ["weights of quantized_resnet50 are 8-bit", "Analyze resnet50,"]),
        ("timm:convnext_atto", ["timm:convnext_atto needs timm, which is not", "normstats[timm]"]),
        ("zoo:net", ["There is no file zoo:net", "Paths are taken from"]),
    ],
)
def test_names(normstats: Callable[..., Any], name: str, words: list[str]) -> None:
    assert_refused(normstats("layers", name), *words)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("convnext_ato", ["no zoo has weights of that name", "convnext_atto"]),
        ("timm:convnext_ato", ["timm has no architecture 'convnext_ato'", "convnext_atto"]),
        ("timm:?", ["timm has no architecture '?'", "timm.list_models() lists"]),
        ("timm:cspresnet50d", ["timm has no weights of cspresnet50d", "--arch timm:cspresnet50d"]),
        ("timm:resnet50.a1_in1", ["no weights 'a1_in1' of resnet50; it has", "a1_in1k"]),
        ("resnet50.???", ["no weights '???' of resnet50", "Give timm:resnet50 for those"]),
    ],
)
@pytest.mark.usefixtures("timm")
def test_timm_names(normstats: Callable[..., Any], name: str, words: list[str]) -> None:
    assert_refused(normstats("layers", name), *words)


def test_an_architecture_beside_a_name(normstats: Callable[..., Any]) -> None:
    words = ["torchvision resnet50, IMAGENET1K_V2 is a network with its weights", "Leave --arch"]
    assert_refused(normstats("layers", "torchvision:resnet50", "--arch", "resnet50"), *words)


@pytest.mark.parametrize(
    ("arch", "words"),
    [
        ("torchvision:resnet05", ["torchvision has no architecture 'resnet05'", "resnet50"]),
        ("timm:convnext_ato", ["timm has no architecture 'convnext_ato'", "convnext_atto"]),
        ("timm:???", ["timm has no architecture '???'", "timm.list_models() lists"]),
        ("convnext_ato", ["Neither torchvision nor timm has", "'convnext_ato'", "convnext_atto"]),
    ],
)
@pytest.mark.usefixtures("timm")
def test_architectures(
    normstats: Callable[..., Any], place: Path, arch: str, words: list[str]
) -> None:
    torch.save(small().state_dict(), place / "net.pth")
    assert_refused(normstats("layers", "net.pth", "--arch", arch), *words)


def test_timm_that_cannot_be_imported(
    normstats: Callable[..., Any], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "broken" / "timm").mkdir(parents=True)
    (place / "broken" / "timm" / "__init__.py").write_text("raise OSError('no libjpeg')")
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.syspath_prepend(place / "broken")
    words = ["timm is installed, but cannot be imported: OSError: no libjpeg", "pip install --upg"]
    assert_refused(normstats("layers", "timm:convnext_atto"), *words)


# --- out of reach, or something else -------------------------------------------------------------


def test_torchvision_out_of_reach(
    normstats: Callable[..., Any], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{NOWHERE}/models/resnet18-f37072fd.pth"
    monkeypatch.setattr(models.ResNet18_Weights.IMAGENET1K_V1.value, "url", url)
    outcome = normstats(*analyze("resnet18", arch=None))
    looked_for = place / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    assert_refused(
        outcome,
        f"torchvision resnet18, IMAGENET1K_V1 are not in torch's cache ({looked_for})",
        "cannot be downloaded",
        f"Download {url} elsewhere",
        "normstats analyze resnet18-f37072fd.pth --arch torchvision:resnet18",
    )
    assert list((place / "torch").rglob("*.pth*")) == []


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("timm:test_resnet", "models--timm--test_resnet.r160_in1k"),
        ("timm:hf-hub:someone/net", "models--someone--net"),
    ],
)
@pytest.mark.usefixtures("timm")
def test_timm_out_of_reach(
    normstats: Callable[..., Any], place: Path, name: str, folder: str
) -> None:
    words = ["not in Hugging Face's cache", str(place / "hf" / folder), "cannot be downloaded"]
    hint = [f"Download {NOWHERE}/", "normstats analyze FILE --arch timm:"]
    assert_refused(normstats(*analyze(name, arch=None)), *words, *hint)


def test_other_weights_in_torchs_cache(normstats: Callable[..., Any], place: Path) -> None:
    weights = models.MobileNet_V3_Small_Weights.IMAGENET1K_V1
    path = place / "torch" / "hub" / "checkpoints" / Path(weights.url).name
    path.parent.mkdir(parents=True)
    torch.save(small().state_dict(), path)
    words = [f"{path} does not hold the weights torchvision mobilenet_v3_small", "Delete it"]
    assert_refused(normstats("layers", "mobilenet_v3_small"), *words)


def test_other_weights_in_timms_cache(
    normstats: Callable[..., Any], place: Path, timm: Any
) -> None:
    url = timm.get_pretrained_cfg("legacy_seresnet18").url
    path = place / "torch" / "hub" / "checkpoints" / url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save(small().state_dict(), path)
    words = [f"{path} does not hold the weights timm legacy_seresnet18", "Delete it"]
    assert_refused(normstats("layers", "timm:legacy_seresnet18"), *words)
