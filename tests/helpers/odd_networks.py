"""Networks that cannot be observed; also what ``--arch .../odd_networks.py:NAME`` builds."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from helpers.networks import small
from torch import Tensor, fx, nn


class _Applies(nn.Module):
    """A convolution, then a layer, then whatever a subclass does with the two."""

    def __init__(self, layer: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        if layer is not None:
            self.norm = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class _Idle(_Applies):
    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class _Tokens(_Applies):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x).flatten(2).transpose(1, 2))


class _Functional(_Applies):
    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(self.conv(x), None, None, training=True)


class _Hungry(_Applies):
    def forward(self, x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")


class _TwoTensors(_Applies):
    class Norm(nn.BatchNorm2d):
        def forward(self, x: Tensor, skip: Tensor) -> Tensor:
            return super().forward(x + skip)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.norm(x, x)


class LayerNorm(nn.Module):
    """One of the many of that name; its code does not tell the axis of the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def without_convolution() -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(3))


def without_layers() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 2))


def of_one_odd_size() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(6, 2))


def of_four_channels() -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2))


def hungry() -> nn.Module:
    return _Hungry(nn.BatchNorm2d(8))


def traced() -> nn.Module:
    return fx.symbolic_trace(_Functional())


def idle() -> nn.Module:
    return _Idle(nn.BatchNorm2d(8))


def tokens() -> nn.Module:
    return _Tokens(nn.LayerNorm(8))


def two_tensors() -> nn.Module:
    return _TwoTensors(_TwoTensors.Norm(8))


def ambiguous() -> nn.Module:
    """Its maps are of 8 channels and, for images of 10 x 10, of 8 x 8 positions."""
    return _Applies(LayerNorm(8))


def scripted() -> nn.Module:
    return torch.jit.script(small())


def quantized() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 3), torch.ao.nn.quantized.ReLU6())


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d())


def without_weights() -> nn.Module:
    with torch.device("meta"):
        return small()
