"""Layers that are left out say why; what cannot be captured at all is an error with a way out."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.vision_transformer import VisionTransformer

from normstats.capturing import capture, describe_layers
from normstats.errors import CaptureError, LayerError


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU())


class _ByBatch(nn.Module):
    """Runs its layers, or not, depending on how often it was called."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.layers = nn.ModuleDict(layers)
        self.calls = 0

    def forward(self, x: Tensor) -> Any:
        self.norm(x)
        self.calls += 1
        return self.run(x)

    def run(self, x: Tensor) -> Any:
        raise NotImplementedError


def test_non_finite_activations() -> None:
    class Poisons(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = x.clone()
            for image in range(len(x)):
                if x[image, 0, 0, 0] > 90:
                    x[image, 5, 1, 1] = torch.nan
                    x[image, 0] = -torch.inf
            return x

    model = nn.Sequential(nn.BatchNorm2d(12), Poisons(), nn.BatchNorm2d(12))
    images = torch.randn(6, 12, 4, 4)
    images[[1, 4], 0, 0, 0] = 100
    moments = capture(model, images.split(2))
    assert list(moments) == ["0"]
    assert moments["0"].images == 6
    reason = moments.left_out["2"]
    assert "NaN or infinite in 2 of 6 images, 2 of 12 channels (0, 5)" in reason


def test_all_layers_non_finite() -> None:
    images = torch.full((4, 3, 8, 8), torch.nan)
    with pytest.raises(
        CaptureError, match=r"4 of 4 images, 12 of 12 channels \(0, 1, .*, \.\.\.\)"
    ):
        capture(small(), images.split(2))


def test_layers_that_run_in_some_batches_only() -> None:
    class Some(_ByBatch):
        def run(self, x: Tensor) -> Any:
            if self.calls != 2:
                self.layers["not_second"](x)
            if self.calls > 1:
                self.layers["late"](x)
                self.layers["twice_later"](x)
            return self.layers["twice_later"](x)

    layers = {name: nn.BatchNorm2d(3) for name in ("not_second", "late", "twice_later", "never")}
    moments = capture(Some(**layers), torch.randn(6, 3, 8, 8).split(2))
    assert list(moments) == ["norm", "layers.twice_later"]
    left_out = moments.left_out
    assert left_out["layers.not_second"] == "it ran in 2 of 3 batches"
    assert left_out["layers.late"] == "it ran in 2 of 3 batches"
    assert left_out["layers.twice_later#2"] == "it ran in 2 of 3 batches"
    assert "did not run in eval mode" in left_out["layers.never"]
    assert len(left_out) == 4


@pytest.mark.filterwarnings("ignore:input's size at dim=1")
def test_channels_that_change() -> None:
    class Changes(_ByBatch):
        def run(self, x: Tensor) -> Any:
            return self.layers["any"](x[:, : self.calls])

    moments = capture(Changes(any=nn.InstanceNorm2d(1)), torch.randn(6, 3, 8, 8).split(2))
    assert list(moments) == ["norm"]
    assert moments.left_out["layers.any"] == "its channels changed from 1 to 2"


def test_rows_that_are_not_images() -> None:
    class Folds(_ByBatch):
        def run(self, x: Tensor) -> Any:
            return self.layers["rows"](x.flatten(2).transpose(1, 2).flatten(0, 1))

    moments = capture(Folds(rows=nn.BatchNorm1d(3)), torch.randn(4, 3, 8, 8).split(2))
    assert list(moments) == ["norm"]
    assert "128 rows for 2 images" in moments.left_out["layers.rows"]


def test_tokens() -> None:
    model = VisionTransformer(32, 16, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16)
    images = torch.randn(2, 3, 32, 32)
    with pytest.raises(CaptureError, match=r"\(2, 5, 16\) looks like tokens .* --channel-dim -1"):
        capture(model, [images])
    assert len(capture(model, [images], channel_dim=-1)) == 3


class _Odd(nn.LayerNorm):
    """Nobody knows how it reads its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class LayerNormCopy(nn.Module):
    """As in ConvNeXt's own code, where one class does both."""

    def __init__(self, channels: int, data_format: str | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(channels))
        if data_format is not None:
            self.data_format = data_format

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_an_axis_that_the_shapes_settle() -> None:
    images = torch.randn(2, 3, 8, 5)
    for norm in (_Odd(3), LayerNormCopy(3)):
        assert capture(nn.Sequential(norm), [images])["0"].spatial == (8, 5)
    for norm in (_Odd(5), LayerNormCopy(5)):
        assert capture(nn.Sequential(norm), [images])["0"].spatial == (3, 8)


def test_an_axis_that_is_ambiguous() -> None:
    square = torch.randn(2, 6, 6, 6)
    for norm in (_Odd(6), LayerNormCopy(6), nn.LayerNorm((6, 6)), _Odd(7)):
        with pytest.raises(LayerError, match=r"Which axis of 0 \(\w+\) .*\(2, 6, 6, 6\)") as caught:
            capture(nn.Sequential(norm), [square])
        assert "--channel-dim" in str(caught.value.hint)
    first = capture(nn.Sequential(_Odd(6)), [square], channel_dim=1)["0"]
    last = capture(nn.Sequential(_Odd(6)), [square], channel_dim=-1)["0"]
    np.testing.assert_allclose(first.mean, square.mean((2, 3)), atol=1e-6)
    np.testing.assert_allclose(last.mean, square.mean((1, 2)), atol=1e-6)
    named = capture(nn.Sequential(LayerNormCopy(6, "channels_last")), [square])["0"]
    np.testing.assert_allclose(named.mean, square.mean((1, 2)), atol=1e-6)
    named = capture(nn.Sequential(LayerNormCopy(6, "channels_first")), [square])["0"]
    np.testing.assert_allclose(named.mean, square.mean((2, 3)), atol=1e-6)


def test_channel_dim_does_not_touch_what_the_class_settles() -> None:
    images = torch.randn(2, 4, 8, 5)
    model = nn.Sequential(nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4))
    moments = capture(model, [images], channel_dim=-1)
    assert {layer.spatial for layer in moments.values()} == {(8, 5)}


@pytest.mark.parametrize(("axis", "why"), [(0, "holds the images"), (4, "does not exist")])
def test_channel_dim_that_is_no_such_axis(axis: int, why: str) -> None:
    with pytest.raises(LayerError, match=why):
        capture(nn.Sequential(nn.LayerNorm(6)), [torch.randn(2, 6, 6, 6)], channel_dim=axis)


def test_unknown_norms_are_named() -> None:
    class RmsNorm2d(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    model = nn.Sequential(nn.Conv2d(3, 4, 3), RmsNorm2d(), nn.LocalResponseNorm(2))
    moments = capture(model, [torch.randn(2, 3, 8, 8)])
    assert list(moments) == ["0"]  # so the convolutions are read
    assert "RmsNorm2d is not a kind" in moments.left_out["1"]
    assert "LocalResponseNorm is not a kind" in moments.left_out["2"]
    with pytest.raises(CaptureError, match="1: RmsNorm2d is not a kind"):
        capture(model, [torch.randn(2, 3, 8, 8)], layers="1")
    weight_norm = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)))
    assert not capture(weight_norm, [torch.randn(2, 3, 8, 8)]).left_out


def test_no_layer_ran() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return x

    with pytest.raises(CaptureError, match="No layer ran when the model was called") as caught:
        capture(Idle(), [torch.randn(2, 3, 8, 8)])
    assert "compiled, scripted and traced" in str(caught.value.hint)


class _Bypasses(nn.Module):
    """Three ways past the hooks of a layer, and one that is none."""

    def __init__(self) -> None:
        super().__init__()
        self.direct, self.function, self.both = (nn.BatchNorm2d(3) for _ in range(3))
        self.group = nn.GroupNorm(3, 3)
        self.ema = deepcopy(self.direct)

    def forward(self, x: Tensor) -> Tensor:
        x = self.both(self.direct.forward(x))
        norm = self.function
        x = functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        x = functional.group_norm(x, 3, weight=self.group.weight)
        return self.both.forward(x)


def test_layers_whose_hooks_are_passed_by() -> None:
    images = [torch.randn(2, 3, 8, 8)]
    moments = capture(_Bypasses(), images)
    assert list(moments) == ["both"]
    reasons = moments.left_out
    assert set(reasons) == {"direct", "function", "group", "ema"}
    for name, function in (("direct", "batch"), ("function", "batch"), ("group", "group")):
        assert f"F.{function}_norm is called with its weights, but the module" in reasons[name]
    assert "a copy kept aside (EMA)" in reasons["ema"]
    rows = describe_layers(_Bypasses(), images[0])
    assert {row.name: row.reason for row in rows if not row.captured} == reasons
    assert [row.input_shape for row in rows] == [(2, 3, 8, 8)] * 4 + [None]
    with pytest.raises(CaptureError, match=r"direct: F\.batch_norm is called"):
        capture(_Bypasses(), images, layers="direct")
    only = nn.Module()
    only.norm = nn.BatchNorm2d(3)
    only.forward = only.norm.forward  # type: ignore[method-assign]
    with pytest.raises(CaptureError, match=r"norm: F\.batch_norm is called with its weights"):
        capture(only, images)


def test_no_layer_at_all() -> None:
    with pytest.raises(LayerError, match="neither normalization layers nor convolutions"):
        capture(nn.Sequential(nn.Flatten(), nn.Linear(3, 3)), [torch.randn(2, 3, 1, 1)])


def test_globs() -> None:
    model = nn.Sequential(small(), nn.BatchNorm2d(12))
    images = [torch.randn(2, 3, 8, 8)]
    assert list(capture(model, images, layers="0.*")) == ["0.1"]
    assert list(capture(model, images, layers=["1", "0.1"])) == ["0.1", "1"]
    with pytest.raises(LayerError, match=r"No layer matches '0\.2'") as caught:
        capture(model, images, layers="0.2")
    assert "0.1" in str(caught.value.hint)
