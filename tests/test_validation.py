"""Statistics replaced inside a network, against a network built with a layer that has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import normstats as ns
from normstats.errors import CaptureError, LayerError, MethodError, SettingError
from normstats.methods import Method
from normstats.study import Study
from normstats.validation import Experiment, validate

N, C, EPSILON = 24, 8, 1e-3
METHODS = "bn@2,bn@4,in,gn:2,ln"
GROUPS = {"bn@2": C, "bn@4": C, "in": C, "gn:2": 2, "ln": 1}
IMAGES = torch.randn(N, 3, 9, 9, generator=torch.Generator().manual_seed(1)).cumsum(dim=2)


def network(norm: Callable[[int], nn.Module], classes: int = 5) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, C, 3),
        norm(C),
        nn.ReLU(),
        nn.Conv2d(C, 6, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, classes),
    )
    with torch.no_grad():
        for name, tensor in model[1].state_dict().items():
            if name in ("weight", "running_var"):
                tensor.uniform_(0.5, 2.0)
            elif name in ("bias", "running_mean"):
                tensor.normal_()
        model[6].weight.mul_(10)
    return model.double().eval()


def study_of(model: nn.Module, methods: str = METHODS, **options: Any) -> Study:
    return ns.analyze(ns.capture(model, IMAGES.split(7), **options), methods)


def batch_norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=EPSILON)


def with_statistics(model: nn.Sequential, act: nn.Module, mean: Tensor, std: Tensor) -> np.ndarray:
    """Probabilities of all images in the order of the deal, with that normalization."""
    norm = model[1]
    gamma = norm.weight if getattr(norm, "weight", None) is not None else torch.ones(C)
    beta = norm.bias if getattr(norm, "bias", None) is not None else torch.zeros(C)
    with torch.no_grad():
        x = model[0](dealt())
        y = act((x - mean) / std * gamma[:, None, None] + beta[:, None, None])
        logits = model[2:](y).numpy()
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def dealt() -> Tensor:
    return IMAGES[np.random.default_rng(0).permutation(N)].double()


def truth(model: nn.Sequential, act: nn.Module, method: str) -> tuple[float, float]:
    """KL and agreement, from the layer's input itself."""
    with torch.no_grad():
        x = model[0](dealt())
    axes = (0, 2, 3)
    mu, sigma = x.mean(axes), (x.var(axes, correction=0) + EPSILON).sqrt()
    reference = with_statistics(model, act, mu[:, None, None], sigma[:, None, None])
    batch = int(method[3:]) if method.startswith("bn") else 1
    pooled = x.reshape(N // batch, batch, GROUPS[method], -1, x.shape[2] * x.shape[3])
    mean = pooled.mean((1, 3, 4)).repeat_interleave(C // GROUPS[method], 1)
    variance = pooled.var((1, 3, 4), correction=0).repeat_interleave(C // GROUPS[method], 1)
    mean, variance = (
        part.repeat_interleave(batch, 0)[:, :, None, None] for part in (mean, variance)
    )
    changed = with_statistics(model, act, mean, (variance + EPSILON).sqrt())
    divergence = (reference * (np.log(reference) - np.log(changed))).sum(axis=1).mean()
    return divergence, (reference.argmax(1) == changed.argmax(1)).mean()


def timm_norm(name: str, **options: Any) -> Callable[[int], nn.Module]:
    def build(channels: int) -> nn.Module:
        layers = pytest.importorskip("timm.layers", reason="timm is an extra")
        return getattr(layers, name)(channels, eps=EPSILON, **options)

    return build


@pytest.mark.parametrize(
    ("norm", "act"),
    [
        (batch_norm, nn.Identity()),
        (lambda c: nn.BatchNorm2d(c, eps=EPSILON, affine=False), nn.Identity()),
        (lambda c: nn.GroupNorm(2, c, eps=EPSILON), nn.Identity()),
        (lambda c: nn.InstanceNorm2d(c, eps=EPSILON), nn.Identity()),
        (lambda c: nn.InstanceNorm2d(c, eps=EPSILON, track_running_stats=True), nn.Identity()),
        pytest.param(timm_norm("LayerNorm2d"), nn.Identity(), marks=pytest.mark.extra),
        pytest.param(
            timm_norm("BatchNormAct2d", act_layer=nn.SiLU), nn.SiLU(), marks=pytest.mark.extra
        ),
        pytest.param(
            timm_norm("GroupNormAct", num_groups=2, act_layer=nn.SiLU),
            nn.SiLU(),
            marks=pytest.mark.extra,
        ),
        pytest.param(
            timm_norm("FrozenBatchNormAct2d", act_layer=nn.SiLU), nn.SiLU(), marks=pytest.mark.extra
        ),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_the_output_is_that_of_a_network_built_with_these_statistics(
    norm: Callable[[int], nn.Module], act: nn.Module
) -> None:
    model = network(norm)
    study = study_of(model)
    found = validate(study, model, IMAGES.split(5), batch_size=7)
    assert list(found.table["method"]) == METHODS.split(",")
    for row in found.table.itertuples():
        divergence, agreement = truth(model, act, row.method)
        assert row.kl == pytest.approx(divergence, rel=1e-4)
        assert row.agreement == pytest.approx(agreement)
        assert divergence > 1e-4
    errors = study.errors().set_index("method")
    for column in ("error", "residual"):
        np.testing.assert_allclose(found.table[column], errors.loc[found.table["method"], column])


def test_re_fitting_undoes_what_an_affine_can_undo() -> None:
    """Constant statistics are a constant scale and shift: nothing is left of their error."""
    model = network(batch_norm)
    row = validate(study_of(model, "running"), model, IMAGES.split(8)).table.iloc[0]
    assert row["kl"] > 1e-3
    assert row["kl_refit"] == pytest.approx(0, abs=1e-8)
    assert row["agreement_refit"] == 1


def test_accuracy_is_of_the_labels_of_the_chosen_images() -> None:
    model = network(batch_norm)
    with torch.no_grad():
        labels = model(IMAGES.double()).argmax(1)
    labels[::4] = (labels[::4] + 1) % 5
    batches = [(IMAGES[:13], labels[:13]), (IMAGES[13:], labels[13:])]
    study = ns.analyze(ns.capture(model, batches), "running")
    # With its own affine re-fitted to the ideal, the network is that of the reference.
    found = validate(study, model, batches, limit=10)
    assert found.images == 10
    assert found.table["accuracy_refit"].iloc[0] == pytest.approx(found.accuracy)
    with torch.no_grad():
        model[1].running_mean[:] = torch.tensor(study.channels()["mean"].to_list())
        model[1].running_var[:] = torch.tensor(study.channels()["variance"].to_list())
        right = model(IMAGES.double()).argmax(1) == labels
    chosen = np.random.default_rng(0).permutation(N)[:10]
    assert found.accuracy == pytest.approx(right.numpy()[chosen].mean())

    unlike = ns.capture(model, batches, classes=[*"abcdefg"])  # not the network's five
    found = validate(ns.analyze(unlike, "bn@2"), model, batches)
    assert found.table["accuracy"].isna().all()
    assert np.isnan(found.accuracy)
    assert found.notes == ("Accuracy is left out: the images are of 7 classes, the network of 5.",)


class Twice(nn.Module):
    """One norm at two places, which takes its input by keyword the second time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, C, 3)
        self.norm = nn.BatchNorm2d(C)
        self.head = nn.Linear(C, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)).relu()
        return self.head(self.norm(input=x * 3 + 1).mean(dim=(2, 3)))


def test_each_call_of_a_module_is_changed_by_itself() -> None:
    torch.manual_seed(0)
    model = Twice().eval()
    study = study_of(model, "running,bn@2")
    found = validate(study, model, IMAGES.split(8)).table.set_index(["layer", "method"])
    assert found.loc[("norm", "running"), "kl"] > found.loc[("norm", "running"), "kl_refit"]
    # Nothing comes between the second call and the head but a mean: its ideal output is known.
    with torch.no_grad():
        x = 3 * nn.functional.relu(model.norm(model.conv(IMAGES))) + 1
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        pooled = x.mean((2, 3))
        ideal = model.head((pooled - mean) / (variance + 1e-5).sqrt()).log_softmax(1)
        own = model.head(model.norm(x).mean((2, 3))).log_softmax(1)
    divergence = (ideal.exp() * (ideal - own)).sum(1).mean()
    # "running" corrects the stored variance as if it were unbiased: hence the tolerance.
    assert found.loc[("norm#2", "running"), "kl"] == pytest.approx(float(divergence), rel=0.01)


class Segments(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.norm = nn.BatchNorm2d(5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.norm(self.conv(x)), "aux": x}


def test_class_scores_at_every_position_are_averaged() -> None:
    torch.manual_seed(0)
    model = Segments().eval()
    found = validate(study_of(model, "running"), model, IMAGES.split(8)).table.iloc[0]
    with torch.no_grad():
        x = model.conv(IMAGES)
        own = model.norm(x).log_softmax(1)
        mean, variance = (part[:, None, None] for part in (x.mean((0, 2, 3)), x.var((0, 2, 3))))
        ideal = ((x - mean) / (variance + 1e-5).sqrt()).log_softmax(1)
    divergence = (ideal.exp() * (ideal - own)).sum(1).mean()
    assert found["kl"] == pytest.approx(float(divergence), rel=0.01)
    assert found["agreement"] == pytest.approx(
        float((ideal.argmax(1) == own.argmax(1)).float().mean()), abs=0.01
    )
    assert np.isnan(found["accuracy"])


def test_batch_size_changes_no_result_and_seeds_repeat_it() -> None:
    model = network(batch_norm)
    study = study_of(model)
    one, other = (
        validate(study, model, IMAGES.split(size), limit=11, batch_size=size) for size in (3, 24)
    )
    for column in ("kl", "agreement", "kl_refit"):
        np.testing.assert_allclose(one.table[column], other.table[column], rtol=1e-6)
    changed = validate(study, model, IMAGES.split(3), limit=11, seed=1)
    assert not np.allclose(one.table["kl"], changed.table["kl"], rtol=1e-3)


def test_the_network_is_left_as_it_was_and_progress_is_told() -> None:
    model = network(batch_norm).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    study = study_of(model)
    experiment = Experiment(study, model, IMAGES.split(5), batch_size=10)
    told: list[int] = []
    experiment.run(told.append)
    assert told == list(range(1, experiment.estimate.passes + 1))
    assert experiment.estimate.passes == 3 * (1 + 2 * 5)
    assert experiment.estimate.layers == 1
    assert experiment.estimate.images == N
    assert all(module.training for module in model.modules())
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_method_of_ones_own_is_tried_like_the_others() -> None:
    model = network(batch_norm)
    own = Method.from_function(
        "mine@2",
        lambda mean, variance, layer: Method.parse("bn@2").statistics(mean, variance, layer),
        batch=2,
    )
    moments = ns.capture(model, IMAGES.split(8))
    study = ns.analyze(moments, ["bn@2", own])
    found = validate(study, model, IMAGES.split(8), methods=["bn@2", own]).table
    assert found["kl"].iloc[0] == found["kl"].iloc[1]
    by_name = validate(study, model, IMAGES.split(8))
    assert list(by_name.table["method"]) == ["bn@2"]
    assert "mine@2 is left out" in by_name.notes[0]


def test_what_a_layer_cannot_have_is_left_out_by_name() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 8, 3),
        nn.LayerNorm((8, 5, 5)),
        nn.Conv2d(8, 8, 3),
        nn.GroupNorm(2, 8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).eval()
    found = validate(study_of(model, "gn:4,bn@2,bn@16"), model, IMAGES.split(8), limit=12)
    assert list(found.table["layer"]) == ["1", "1", "5", "5", "5"]
    assert found.notes == (
        "3 is left out: its affine is not one scale and one shift a channel.",
        "gn:4 is left out of 1: 4 groups do not divide the layer's channels.",
    )
    only = validate(study_of(model, "bn@2"), model, IMAGES.split(8), layers="1")
    assert list(only.table["layer"]) == ["1"]


def refused(model: nn.Module, images: Any = None, **options: Any) -> Experiment:
    return Experiment(study_of(model), model, images or IMAGES.split(8), **options)


def test_other_images_or_another_network_are_noticed() -> None:
    model = network(batch_norm)
    study = study_of(model)
    with pytest.raises(CaptureError, match="not the network and the images"):
        validate(study, model, IMAGES.flip(0).split(8))
    with pytest.raises(CaptureError, match="24 images, and 20 were given"):
        validate(study, model, IMAGES[:20].split(8))
    with pytest.raises(CaptureError, match="24 images, and more"):
        validate(study, model, [*IMAGES.split(8), IMAGES])
    with pytest.raises(CaptureError, match="no layer 1"):
        validate(study, model[:1], IMAGES.split(8))
    with torch.no_grad():
        model[0].weight.mul_(1.5)
    with pytest.raises(CaptureError, match="not the network and the images"):
        validate(study, model, IMAGES.split(8))


@pytest.mark.parametrize(
    ("tail", "what"),
    [
        (nn.Linear(5, 1), r"\(24, 1\)"),
        (nn.Unflatten(1, (5, 1)), r"\(24, 5, 1\)"),
        (nn.Flatten(0), r"\(120,\)"),
    ],
)
def test_what_are_no_class_scores_is_refused(tail: nn.Module, what: str) -> None:
    with pytest.raises(CaptureError, match=f"tensor of shape {what} for 24 images"):
        refused(network(batch_norm).append(tail.double()))


def test_what_makes_no_sense_is_refused() -> None:
    model = network(batch_norm)
    with pytest.raises(MethodError, match="Nothing is predicted for bn@64"):
        refused(model, methods="bn@64")
    with pytest.raises(LayerError, match="No layer matches"):
        refused(model, layers="nothing")
    with pytest.raises(SettingError, match="limit is 1"):
        refused(model, limit=1)
    with pytest.raises(SettingError, match="batch size is 0"):
        refused(model, batch_size=0)
    with pytest.raises(LayerError, match="0 is left out: it is a convolution"):
        refused(nn.Sequential(nn.Conv2d(3, C, 3), nn.Flatten()))
