"""Every weight in its place, or an error that says why not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from normstats.errors import CheckpointError
from normstats.inputs import Checkpoint, load_into


class Net(nn.Module):
    def __init__(self, classes: int = 10, width: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.body = nn.Sequential(nn.Conv2d(width, width, 3), nn.BatchNorm2d(width), nn.ReLU())
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        features = self.body(self.bn1(self.conv1(x)))
        return self.fc(features.mean((2, 3)))


def trained(seed: int = 1, **options: int) -> dict[str, Tensor]:
    """Weights that no initialisation gives."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(t.shape, generator=generator) + 1 if t.is_floating_point() else t + 7
        for name, t in Net(**options).state_dict().items()
    }


def checkpoint(tensors: dict[str, Tensor]) -> Checkpoint:
    return Checkpoint(Path("weights.pt"), "0" * 64, tensors)


def assert_loaded(model: nn.Module, expected: dict[str, Tensor]) -> None:
    state = model.state_dict()
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor.to(state[name].dtype)), name


def test_plain() -> None:
    model = Net()
    assert load_into(model, checkpoint(trained())) == ()
    assert_loaded(model, trained())


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "model.",
        "backbone.",
        "encoder.",
        "module._orig_mod.",
        "model.backbone.",
        "_orig_mod.module.model.",
        "student.",
        "module.my_network.",
    ],
)
def test_prefixes_are_stripped(prefix: str) -> None:
    model = Net()
    notes = load_into(model, checkpoint({prefix + n: t for n, t in trained().items()}))
    assert_loaded(model, trained())
    assert len(notes) == 1
    assert repr(prefix) in notes[0]


def test_prefix_of_the_model_itself_stays() -> None:
    model = nn.ModuleDict({"backbone": Net()})
    given = {f"backbone.{name}": tensor for name, tensor in trained().items()}
    assert load_into(model, checkpoint(given)) == ()
    assert_loaded(model, given)


def test_prefix_before_the_prefix_of_the_model() -> None:
    model = nn.ModuleDict({"model": Net()})
    given = {f"model.{name}": tensor for name, tensor in trained().items()}
    load_into(model, checkpoint({f"model.{name}": tensor for name, tensor in given.items()}))
    assert_loaded(model, given)


def test_of_two_networks_the_one_that_fits_is_taken() -> None:
    given = {f"encoder.{n}": t for n, t in trained(1, width=6).items()}
    given |= {f"backbone.{n}": t for n, t in trained(2).items()}
    model = Net()
    notes = load_into(model, checkpoint(given))
    assert_loaded(model, trained(2))
    assert any("left aside" in note and "encoder.conv1.weight" in note for note in notes)


def test_head_beside_the_backbone() -> None:
    given = {n if n.startswith("fc") else f"backbone.{n}": t for n, t in trained().items()}
    model = Net()
    load_into(model, checkpoint(given))
    assert_loaded(model, trained())


def test_harmless_keys_are_ignored() -> None:
    extra = {"total_ops": torch.ones(1), "body.total_params": torch.ones(1)}
    extra |= {"n_averaged": torch.tensor(4), "fc.num_batches_tracked": torch.tensor(1)}
    model = Net()
    assert load_into(model, checkpoint(trained() | extra)) == ()
    assert_loaded(model, trained())


def test_averaged_model() -> None:
    source = Net()
    source.load_state_dict(trained())
    model = Net()
    averaged = torch.optim.swa_utils.AveragedModel(source).state_dict()
    load_into(model, checkpoint(dict(averaged)))
    assert_loaded(model, trained())


def test_num_batches_tracked_may_be_missing_or_odd() -> None:
    given = {n: t for n, t in trained().items() if not n.endswith("num_batches_tracked")}
    model = Net()
    assert load_into(model, checkpoint(given)) == ()
    odd = {"bn1.num_batches_tracked": torch.tensor([3.0])}
    assert load_into(Net(), checkpoint(trained() | odd)) == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_converted(dtype: torch.dtype) -> None:
    given = {n: t.to(dtype) if t.is_floating_point() else t for n, t in trained().items()}
    model = Net()
    notes = load_into(model, checkpoint(given))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert_loaded(model, given)
    assert len(notes) == 1
    assert str(dtype).removeprefix("torch.") in notes[0]
    assert "float32" in notes[0]


@pytest.mark.parametrize("classes", [1, 7, 1000])
def test_head_of_other_size_is_replaced(classes: int) -> None:
    model = Net()
    notes = load_into(model, checkpoint(trained(classes=classes)))
    assert_loaded(model, trained(classes=classes))
    assert model.fc.out_features == classes
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, classes)
    assert notes == (
        f"The head fc has {classes} outputs in the checkpoint and 10 in the architecture; "
        "the checkpoint's was taken.",
    )


def test_convolution_as_head() -> None:
    def build(classes: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, classes, 1))

    source, model = build(21), build(10)
    load_into(model, checkpoint(dict(source.state_dict())))
    assert_loaded(model, source.state_dict())
    assert model(torch.zeros(2, 3, 8, 8)).shape[1] == 21


def test_tied_weights_may_be_stored_once() -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    given = {"a.weight": torch.ones(3, 3), "a.bias": torch.ones(3), "b.bias": torch.ones(3)}
    assert load_into(model, checkpoint(given)) == ()
    assert torch.equal(model["b"].weight, torch.ones(3, 3))


def without(*names: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda given: {n: t for n, t in given.items() if n not in names}


def renamed(prefix: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda given: {prefix + n: t for n, t in given.items()}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("fc.weight", "fc.bias"), ["2 weights missing", "fc.bias (10,)", "All but fc is"]),
        (without("bn1.running_mean"), ["1 weights missing", "bn1.running_mean (4,)"]),
        (lambda g: g | {"conv9.weight": torch.ones(2, 3)}, ["1 unexpected", "conv9.weight (2, 3)"]),
        (lambda g: trained(width=8), ["of another shape", "(8, 3, 3, 3)", "wider or narrower"]),
        (
            lambda g: renamed("student.")(g) | renamed("teacher.")(g),
            ["each of the prefixes student., teacher."],
        ),
        (lambda g: {"a.weight": torch.ones(3)}, ["not one name in common", "conv1.weight"]),
        (
            lambda g: g | {"fc.weight": g["fc.weight"].to(torch.int8)},
            ["int8", "1 of another", "quantized"],
        ),
        (lambda g: g | {"fc.weight": torch.ones(7, 4)}, ["1 of another shape", "(7, 4)"]),
        (lambda g: g | {"fc.weight": torch.ones(7, 9), "fc.bias": torch.ones(7)}, ["(7, 9)"]),
        (lambda g: g | {"bn1.weight": torch.ones(5)}, ["bn1.weight is (5,)"]),
        (lambda g: g | {"evil\x1b[2J": torch.ones(5)}, [r"evil\x1b[2J"]),
    ],
)
def test_misfits_say_why_and_leave_the_model_alone(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], told: list[str]
) -> None:
    model = Net()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CheckpointError) as caught:
        load_into(model, checkpoint(change(trained())))
    assert all(part in caught.value.message for part in told), caught.value.message
    assert caught.value.hint
    assert_loaded(model, before)


def test_prefix_of_the_architecture_is_named() -> None:
    model = nn.ModuleDict({"wrapped": Net()})
    with pytest.raises(CheckpointError, match=r"architecture's names carry the prefix 'wrapped\.'"):
        load_into(model, checkpoint(trained()))


def test_long_lists_are_shortened() -> None:
    given = trained() | {f"extra{i}": torch.ones(1) for i in range(500)}
    with pytest.raises(CheckpointError, match="500 unexpected") as caught:
        load_into(Net(), checkpoint(given))
    assert "and 495 more" in caught.value.message
    assert len(caught.value.message) < 1000
