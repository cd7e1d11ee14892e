from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import ConvNeXt
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.googlenet import GoogLeNet

from normstats.capturing import capture, describe_layers
from normstats.errors import CaptureError, LayerError


def names(model: nn.Module, example: Tensor, *, captured: bool) -> set[str]:
    return {row.name for row in describe_layers(model, example) if row.captured == captured}


def test_a_plain_network() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GroupNorm(4, 8))
    before = [module.training for module in model.modules()]
    first, second = describe_layers(model, torch.randn(2, 3, 10, 12))
    assert (first.name, first.kind, first.input_shape) == ("1", "BatchNorm2d", (2, 8, 8, 10))
    assert (first.channels, first.spatial, first.captured, first.reason) == (8, (8, 10), True, "")
    assert (first.groups, second.groups) == (None, 4)
    assert [module.training for module in model.modules()] == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_it_says_what_capture_does() -> None:
    model = GoogLeNet(init_weights=False)
    images = torch.randn(2, 3, 64, 64)
    moments = capture(model, [images])
    assert names(model, images, captured=True) == set(moments)
    rows = {row.name: row for row in describe_layers(model, images) if not row.captured}
    assert {name: row.reason for name, row in rows.items()} == moments.left_out
    assert rows["aux1.conv.bn"].input_shape is None
    assert rows["aux1.conv.bn"].channels == 128
    assert [row.name for row in describe_layers(model, images, layers="conv1.*")] == ["conv1.bn"]
    with pytest.raises(LayerError, match="No layer matches"):
        describe_layers(model, images, layers="nothing*")


def test_the_two_meanings_of_ln() -> None:
    model = nn.Sequential(
        nn.LayerNorm((4, 6, 6)), nn.GroupNorm(1, 4), nn.GroupNorm(2, 4), nn.BatchNorm2d(4)
    )
    rows = describe_layers(model, torch.randn(2, 4, 6, 6))
    assert [row.over for row in rows] == ["(C, H, W)", "(C, H, W)", "", ""]
    convnext = ConvNeXt([CNBlockConfig(8, None, 2)])
    rows = describe_layers(convnext, torch.randn(2, 3, 32, 32))
    assert {row.over for row in rows} == {"C at each position"}
    assert [row.kind for row in rows] == ["LayerNorm2d", "LayerNorm", "LayerNorm", "LayerNorm2d"]
    assert [row.spatial for row in rows] == [(8, 8), (8, 8), (8, 8), (1, 1)]


def test_what_is_an_error_in_a_capture_is_a_reason_here() -> None:
    class Odd(nn.LayerNorm):
        def forward(self, x: Tensor) -> Tensor:
            return x

    class Two(nn.BatchNorm2d):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return super().forward(x)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.odd, self.two, self.tokens = Odd(4), Two(4), nn.LayerNorm(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.tokens(self.two(self.odd(x), x).flatten(2))

    odd, two, tokens = describe_layers(Net(), torch.randn(2, 4, 1, 4))
    assert [row.captured for row in (odd, two, tokens)] == [False] * 3
    assert "Which axis of odd" in odd.reason
    assert odd.input_shape == (2, 4, 1, 4)
    assert "two (Two) was called with 2 tensors" in two.reason
    assert two.input_shape is None
    assert "looks like tokens" in tokens.reason
    assert [row.channels for row in (odd, two, tokens)] == [4, 4, 4]
    rows = describe_layers(Net(), torch.randn(2, 4, 1, 4), channel_dim=1)
    assert [row.captured for row in rows] == [True, False, True]


def test_repeated_calls_and_aliases() -> None:
    norm = nn.BatchNorm2d(3)
    rows = describe_layers(nn.Sequential(norm, norm), torch.randn(2, 3, 4, 4))
    assert [(row.name, row.aliases) for row in rows] == [("0", ("1",)), ("0#2", ("1",))]


class _StandardizedConv(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = functional.batch_norm(flat, None, None, training=True).reshape_as(self.weight)
        return functional.conv2d(x, weight, self.bias)


class _Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = _StandardizedConv(3, 4, 3)
        self.norm = nn.GroupNorm(2, 4)  # calls F.group_norm itself, which is not news

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        x = functional.instance_norm(x)
        return torch.ops.aten.group_norm.default(x, 2)


def test_functional_norms() -> None:
    model = nn.Sequential(_Functional())
    rows = describe_layers(model, torch.randn(2, 3, 8, 8))
    assert [row.name for row in rows] == [
        "0.norm",
        "0.conv.F.batch_norm",
        "0.F.instance_norm",
        "0.F.group_norm",
    ]
    assert [row.captured for row in rows] == [True, False, False, False]
    assert "weight standardization" in rows[1].reason
    assert rows[1].input_shape == (1, 4, 27)
    assert "no hook can see it" in rows[2].reason
    assert rows[2].input_shape == (2, 4, 6, 6)
    assert rows[3].kind == "F.group_norm"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_functional_norms_are_left_out_of_a_capture_and_named() -> None:
    images = torch.randn(4, 3, 8, 8).split(2)
    moments = capture(nn.Sequential(_Functional()), images)
    assert list(moments) == ["0.norm"]
    assert set(moments.left_out) == {"0.F.instance_norm", "0.F.group_norm"}

    class OnlyFunctional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return functional.layer_norm(self.conv(x), (4, 6, 6))

    moments = capture(OnlyFunctional(), images)
    assert list(moments) == ["conv"]
    assert set(moments.left_out) == {"F.layer_norm"}
    assert not capture(OnlyFunctional(), images, layers="conv").left_out


def test_an_example_that_does_not_fit() -> None:
    with pytest.raises(CaptureError, match=r"failed on images of shape \(2, 1, 8, 8\)"):
        describe_layers(nn.Sequential(nn.Conv2d(3, 4, 3)), torch.randn(2, 1, 8, 8))
