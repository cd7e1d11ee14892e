"""Which architecture weights are of, judged by their names and shapes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.cifar_resnet import resnet20
from torch import Tensor, nn
from torchvision import models

from normstats.errors import ArchitectureError
from normstats.inputs import load, recognise
from normstats.inputs.building import build_with
from normstats.inputs.zoos import signatures

State = Mapping[str, Tensor]

CLASSIFICATION = models.list_models(module=models)


def state_of(name: str) -> dict[str, Tensor]:
    """The state dict of a network of torchvision, as built by it, without values."""
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    # RegNets compute their widths with tensors, so that they cannot be built on the meta device.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        model = build_with(models.get_model_builder(name), name, **options)
    return {key: tensor.to("meta") for key, tensor in model.state_dict().items()}


def prefixed(prefix: str) -> Callable[[State], dict[str, Tensor]]:
    return lambda state: {prefix + name: tensor for name, tensor in state.items()}


def with_head(name: str, classes: int, state: State) -> dict[str, Tensor]:
    head = {
        key: torch.empty(classes, *tensor.shape[1:], device="meta")
        for key, tensor in state.items()
        if key.startswith(name)
    }
    assert head
    return {**state, **head}


@pytest.mark.usefixtures("without_timm")
@pytest.mark.parametrize(
    "name",
    ["resnet18", "resnext50_32x4d", "vgg11_bn", "squeezenet1_1", "regnet_y_400mf", "vit_b_32"],
)
def test_bare_state_dicts(name: str) -> None:
    assert recognise(state_of(name)).exact == (f"torchvision:{name}",)


VARIANTS: dict[str, Callable[[State], State]] = {
    "DDP": prefixed("module."),
    "compiled": prefixed("_orig_mod."),
    "compiled DDP": prefixed("module._orig_mod."),
    "Lightning": prefixed("model."),
    "Lightning, a name of its own": prefixed("classifier_network."),
    "Lightning, with a loss": lambda state: {
        **prefixed("model.")(state),
        "loss.weight": torch.empty(1000, device="meta"),
    },
    "EMA": lambda state: {
        **prefixed("module.")(state),
        "n_averaged": torch.empty((), device="meta", dtype=torch.int64),
    },
    "10 classes": lambda state: with_head("fc.", 10, state),
    "10 classes, DDP": lambda state: prefixed("module.")(with_head("fc.", 10, state)),
    "without counters": lambda state: {
        name: tensor for name, tensor in state.items() if "num_batches" not in name
    },
    "counted by a profiler": lambda state: {
        **state,
        "layer1.total_ops": torch.empty(1, device="meta"),
    },
    "half precision": lambda state: {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    },
}


@pytest.mark.usefixtures("without_timm")
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_wrappers_and_heads(variant: Callable[[State], State]) -> None:
    assert recognise(variant(state_of("resnet18"))).exact == ("torchvision:resnet18",)


@pytest.mark.usefixtures("without_timm")
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("mobilenet_v3_small", "classifier.3"),
        ("densenet121", "classifier"),
        ("squeezenet1_0", "classifier.1"),
        ("swin_t", "head"),
        ("convnext_tiny", "classifier.2"),
        ("deeplabv3_mobilenet_v3_large", "classifier.4"),
    ],
)
def test_heads_of_other_networks(name: str, head: str) -> None:
    state = with_head(head + ".", 7, state_of(name))
    assert recognise(prefixed("module.")(state)).exact == (f"torchvision:{name}",)


@pytest.mark.usefixtures("without_timm")
@pytest.mark.parametrize("name", ["googlenet", "deeplabv3_mobilenet_v3_large"])
@pytest.mark.parametrize("auxiliary", [False, True])
def test_auxiliary_heads(name: str, auxiliary: bool, tmp_path: Path) -> None:
    options: dict[str, Any] = {"aux_loss": auxiliary}
    if name == "googlenet":
        options = {"aux_logits": auxiliary, "init_weights": False}
    model = build_with(models.get_model_builder(name), name, **options)
    torch.save(model.state_dict(), tmp_path / "net.pt")
    loaded = load(tmp_path / "net.pt")
    assert loaded.arch == f"torchvision:{name}"
    assert loaded.model.state_dict().keys() == model.state_dict().keys()


@pytest.mark.usefixtures("without_timm")
def test_twins_are_listed(tmp_path: Path) -> None:
    build = models.detection.fasterrcnn_mobilenet_v3_large_320_fpn
    model = build(weights=None, weights_backbone=None)
    twins = {
        "torchvision:fasterrcnn_mobilenet_v3_large_fpn",
        "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn",
    }
    assert set(recognise(model.state_dict()).exact) == twins
    for name, likelier in (
        ("net.pt", "torchvision:fasterrcnn_mobilenet_v3_large_fpn"),
        (
            "fasterrcnn_mobilenet_v3_large_320_fpn.pt",
            "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn",
        ),
    ):
        torch.save(model.state_dict(), tmp_path / name)
        with pytest.raises(ArchitectureError) as caught:
            load(tmp_path / name)
        assert all(twin in caught.value.message for twin in twins)
        assert f"--arch {likelier}, say" in caught.value.hint
    assert load(tmp_path / "net.pt", likelier).arch == likelier


@pytest.mark.usefixtures("without_timm")
def test_nearest() -> None:
    state = state_of("resnet18")
    del state["fc.weight"], state["fc.bias"]
    state["extra.weight"] = torch.empty(3, device="meta")
    state["bn1.weight"] = torch.empty(32, device="meta")
    recognition = recognise(state)
    assert recognition.exact == ()
    nearest = recognition.nearest[0]
    assert nearest.spec == "torchvision:resnet18"
    assert nearest.missing == ("fc.weight", "fc.bias")
    assert nearest.unexpected == ("extra.weight",)
    assert nearest.differing == ("bn1.weight",)
    assert str(nearest) == (
        "torchvision:resnet18: 2 missing (fc.weight, fc.bias); 1 unexpected (extra.weight); "
        "1 of another shape (bn1.weight)"
    )


@pytest.mark.usefixtures("without_timm")
def test_backbone_alone_is_named_with_what_it_lacks(tmp_path: Path) -> None:
    model = models.resnet18(weights=None)
    model.fc = nn.Identity()
    torch.save(model.state_dict(), tmp_path / "net.pt")
    with pytest.raises(ArchitectureError, match="does not say") as caught:
        load(tmp_path / "net.pt")
    assert "torchvision:resnet18: 2 missing (fc.weight, fc.bias)" in caught.value.message
    assert "--arch" in caught.value.hint


@pytest.mark.usefixtures("without_timm")
def test_nothing_like_it(tmp_path: Path) -> None:
    torch.save({"alpha": torch.ones(3), "beta": torch.ones(2, 2)}, tmp_path / "net.pt")
    with pytest.raises(ArchitectureError, match="none like it"):
        load(tmp_path / "net.pt")


@pytest.mark.usefixtures("without_timm")
def test_recognised_file(tmp_path: Path) -> None:
    model = models.shufflenet_v2_x0_5(weights=None)
    content = {"state_dict": {f"module.{n}": t for n, t in model.state_dict().items()}}
    torch.save(content, tmp_path / "net.pt")
    loaded = load(tmp_path / "net.pt")
    assert loaded.arch == "torchvision:shufflenet_v2_x0_5"
    assert loaded.description == "net.pt, torchvision:shufflenet_v2_x0_5"
    assert loaded.notes[0].startswith("The weights are those of torchvision:shufflenet_v2_x0_5")
    assert "torchvision shufflenet_v2_x0_5, IMAGENET1K_V1" in loaded.notes[-1]
    assert torch.equal(loaded.model.conv1[0].weight, model.conv1[0].weight)


@pytest.mark.usefixtures("without_timm")
def test_stored_name_of_no_zoo(tmp_path: Path) -> None:
    model = models.shufflenet_v2_x0_5(weights=None)
    torch.save({"arch": "my_net", "state_dict": model.state_dict()}, tmp_path / "net.pt")
    assert load(tmp_path / "net.pt").arch == "torchvision:shufflenet_v2_x0_5"
    torch.save({"arch": "my_net", "state_dict": resnet20().state_dict()}, tmp_path / "net.pt")
    with pytest.raises(ArchitectureError, match="'my_net', which cannot be built"):
        load(tmp_path / "net.pt")


@pytest.mark.parametrize("zoo_of_it", ["torchvision", "timm"])
def test_a_name_both_zoos_have_means_the_one_that_fits(
    zoo_of_it: str, timm: Any, tmp_path: Path
) -> None:
    build = {"torchvision": models.efficientnet_b0, "timm": timm.models.efficientnet_b0}[zoo_of_it]
    content = {"arch": "efficientnet_b0", "state_dict": build().state_dict()}
    torch.save(content, tmp_path / "net.pt")
    assert load(tmp_path / "net.pt").arch == f"{zoo_of_it}:efficientnet_b0"
    assert load(tmp_path / "net.pt", "efficientnet_b0").arch == f"{zoo_of_it}:efficientnet_b0"


# --- signatures and their cache ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "regnet_x_400mf", "swin_v2_t", "maxvit_t"])
def test_signatures_are_those_of_real_networks(name: str) -> None:
    state = build_with(models.get_model_builder(name), name).state_dict()
    signature = signatures.torchvision().signature(name)
    assert signature == {key: tuple(tensor.shape) for key, tensor in state.items()}


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NORMSTATS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def zoo() -> signatures.Zoo:
    """One family of torchvision."""
    whole = signatures.torchvision()
    family = "torchvision.models.squeezenet"
    return signatures.Zoo(whole.name, whole.version, {family: whole.families[family]}, whole.build)


FAMILY = "torchvision.models.squeezenet"


def never(name: str) -> nn.Module:
    raise AssertionError(f"{name} was built again")


def test_signatures_are_kept(zoo: signatures.Zoo, own_cache: Path) -> None:
    found = zoo.members(FAMILY)
    assert set(found) == {"squeezenet1_0", "squeezenet1_1"}
    again = signatures.Zoo(zoo.name, zoo.version, zoo.families, never)
    assert again.members(FAMILY) == found
    other = signatures.Zoo(zoo.name, zoo.version + ".1", zoo.families, never)
    with pytest.raises(AssertionError, match="built again"):
        other.members(FAMILY)
    assert not list(own_cache.rglob("*.part"))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"squeezenet1_0": 3}', b'{"x": {}}', b"\xff\xfe", b'{"a":{"b":["c"]}}'],
)
def test_damaged_cache_is_made_again(zoo: signatures.Zoo, own_cache: Path, content: bytes) -> None:
    found = zoo.members(FAMILY)
    (file,) = own_cache.rglob(f"{FAMILY}.json")
    file.write_bytes(content)
    assert zoo.members(FAMILY) == found
    assert set(json.loads(file.read_bytes())) == set(found)


def test_cache_that_cannot_be_written(
    zoo: signatures.Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NORMSTATS_CACHE", str(tmp_path / "file" / "cache"))
    assert set(zoo.members(FAMILY)) == {"squeezenet1_0", "squeezenet1_1"}


def test_place_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("NORMSTATS_CACHE", str(tmp_path / "own"))
    assert signatures.cache_folder() == tmp_path / "own"
    monkeypatch.delenv("NORMSTATS_CACHE")
    assert signatures.cache_folder() == tmp_path / "xdg" / "normstats"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path in signatures.cache_folder().parents


# --- everything ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("without_timm", "own_cache")
def test_every_classification_network_of_torchvision(own_cache: Path) -> None:
    families: set[str] = set()
    assert len(CLASSIFICATION) >= 80
    for name in CLASSIFICATION:
        state = state_of(name)
        family = models.get_model_builder(name).__module__
        cold = family not in families
        families.add(family)
        if cold:  # from nothing, once for each family
            for file in own_cache.rglob("*.json"):
                file.unlink()
        for limit in (20 if cold else 10, 2):
            before = time.process_time()
            assert recognise(state).exact == (f"torchvision:{name}",)
            assert time.process_time() - before < limit, (name, limit)


@pytest.mark.slow
def test_every_network_of_torchvision_is_built_without_memory() -> None:
    zoo = signatures.torchvision()
    for family, names in zoo.families.items():
        assert set(zoo.members(family)) == set(names)
        for name in names:
            with signatures._WithoutMemory():
                model = zoo.build(name)
            assert all(parameter.is_meta for parameter in model.parameters()), name


@pytest.mark.slow
def test_forty_families_of_timm(timm: Any) -> None:
    names = {
        timm.models.model_entrypoint(name).__module__: name
        for name in reversed(timm.list_models())
        if "_enc" not in name
    }
    chosen = list(names.values())[::2]
    assert len(chosen) >= 40
    unknown = []
    for name in chosen:
        with torch.device("meta"):
            state = timm.create_model(name).state_dict()
        exact = recognise(state).exact
        # Some are torchvision's own, layer by layer; then that is what they are called.
        if f"timm:{name}" not in exact and not any(
            spec.startswith("torchvision:") for spec in exact
        ):
            unknown.append((name, exact))
    assert unknown == []
