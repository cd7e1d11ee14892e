"""Captured moments against activations recorded without hooks and reduced by numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from capturing.truth import numpy_moments, randomized, traced_inputs
from torch import Tensor, nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.googlenet import GoogLeNet
from torchvision.models.mobilenetv3 import mobilenet_v3_small
from torchvision.ops import FrozenBatchNorm2d

from normstats.capturing import capture


def convnext() -> nn.Module:
    return models.ConvNeXt([CNBlockConfig(16, 32, 2), CNBlockConfig(32, None, 1)])


def frozen_resnet() -> nn.Module:
    return models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], norm_layer=FrozenBatchNorm2d)


def group_norm_resnet() -> nn.Module:
    return models.ResNet(
        models.resnet.BasicBlock, [1, 1, 1, 1], norm_layer=lambda c: nn.GroupNorm(8, c)
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": models.resnet18,
    "googlenet": lambda: GoogLeNet(init_weights=False, num_classes=10),
    "densenet": lambda: models.DenseNet(8, (2, 3), 16),
    "mobilenet": mobilenet_v3_small,
    "convnext": convnext,
    "frozen": frozen_resnet,
    "group norm": group_norm_resnet,
    "sync": lambda: nn.SyncBatchNorm.convert_sync_batchnorm(models.DenseNet(8, (2, 2), 16)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str) -> None:
    model = randomized(NETWORKS[name]())
    images = torch.randn(5, 3, 64, 64)
    moments = capture(model.train(), images.split(2))

    inputs = traced_inputs(model, images)
    modules = dict(model.named_modules())
    norms = [n for n in inputs if hasattr(modules[n], "eps")]
    assert list(moments) == norms  # in the order in which the graph runs them
    assert moments.images == 5
    for layer_name, layer in moments.items():
        module = modules[layer_name]
        (x,) = inputs[layer_name]
        nhwc = type(module) is nn.LayerNorm
        mean, variance = numpy_moments(x, 3 if nhwc else 1)
        scale = float(x.abs().max())
        np.testing.assert_allclose(layer.mean, mean, rtol=1e-4, atol=1e-5 * scale)
        np.testing.assert_allclose(layer.variance, variance, rtol=1e-4, atol=1e-5 * scale**2)
        assert layer.kind == type(module).__name__
        assert layer.spatial == tuple(x.shape[1:3] if nhwc else x.shape[2:])
        assert layer.epsilon == module.eps
        assert layer.gamma is not None
        assert layer.beta is not None
        assert np.array_equal(layer.gamma, module.weight.detach())
        assert np.array_equal(layer.beta, module.bias.detach())
        running = getattr(module, "running_mean", None)
        assert (layer.running_mean is None) == (running is None)
        if running is not None:
            assert np.array_equal(layer.running_mean, running)
            assert np.array_equal(layer.running_variance, module.running_var)
        assert layer.groups == (8 if name == "group norm" else None)


def test_layers_that_do_not_run_are_left_out() -> None:
    moments = capture(GoogLeNet(init_weights=False), torch.randn(2, 3, 64, 64).split(1))
    assert set(moments.left_out) == {"aux1.conv.bn", "aux2.conv.bn"}
    assert all("did not run in eval mode" in reason for reason in moments.left_out.values())


def test_layer_norm_over_the_whole_map_and_over_channels() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.LayerNorm((6, 8, 8)))
    images = torch.randn(3, 3, 8, 8)
    moments = capture(model, [images])
    mean, variance = numpy_moments(model[0](images))
    np.testing.assert_allclose(moments["1"].mean, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(moments["1"].variance, variance, rtol=1e-5)
    assert moments["1"].gamma is None  # one number a value, not a channel


@pytest.mark.parametrize(
    ("dims", "norm"),
    [
        (1, nn.BatchNorm1d(4)),
        (2, nn.BatchNorm2d(4, track_running_stats=False)),
        (3, nn.BatchNorm3d(4)),
        (1, nn.InstanceNorm1d(4)),
        (2, nn.InstanceNorm2d(4, affine=True, track_running_stats=True)),
        (3, nn.InstanceNorm3d(4)),
        (2, nn.GroupNorm(2, 4, eps=1e-3, affine=False)),
    ],
)
def test_every_kind_of_norm(dims: int, norm: nn.Module) -> None:
    convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](2, 4, 3)
    images = torch.randn(4, 2, *[8, 7, 6][:dims])
    moments = capture(nn.Sequential(convolution, norm), images.split(3))
    x = convolution(images)
    layer = moments["1"]
    np.testing.assert_allclose(layer.mean, numpy_moments(x)[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.variance, numpy_moments(x)[1], rtol=1e-5)
    assert layer.spatial == tuple(x.shape[2:])
    assert layer.epsilon == norm.eps
    assert (layer.gamma is None) == (norm.weight is None)
    assert (layer.running_mean is None) == (getattr(norm, "running_mean", None) is None)
    assert layer.groups == getattr(norm, "num_groups", None)


def test_norm_on_vectors() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.extend([nn.BatchNorm1d(4), nn.LayerNorm(4)])
    images = torch.randn(3, 3, 6, 6)
    moments = capture(model, [images])
    for name, x in (("3", model[:3](images)), ("4", model.eval()[:4](images))):
        np.testing.assert_allclose(moments[name].mean, x.detach(), rtol=1e-5, atol=1e-6)
        assert not moments[name].variance.any()
        assert moments[name].spatial == ()
        assert moments[name].positions == 1


def test_maps_of_one_position_are_captured() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 6), nn.BatchNorm2d(4))
    layer = capture(model, [torch.randn(3, 3, 6, 6)])["1"]
    assert layer.spatial == (1, 1)
    assert not layer.variance.any()


class _CopiedFrozenBatchNorm(nn.Module):
    """As in DETR: no eps attribute, buffers alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(channels) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        return x * scale[:, None, None] + (self.bias - self.running_mean * scale)[:, None, None]


class _ChannelsLastBatchNorm(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class _ToChannelsLast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


def test_look_alikes_of_batch_norm() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        _CopiedFrozenBatchNorm(4),
        _ToChannelsLast(),
        _ChannelsLastBatchNorm(4),
    )
    images = torch.randn(3, 3, 8, 8)
    moments = capture(model, [images])
    x = model[0](images)
    np.testing.assert_allclose(moments["1"].mean, numpy_moments(x)[0], rtol=1e-5, atol=1e-6)
    assert moments["1"].epsilon == 1e-5
    assert np.array_equal(moments["1"].running_variance, model[1].running_var)
    x = model[1](x)
    np.testing.assert_allclose(moments["3"].mean, numpy_moments(x)[0], rtol=1e-5, atol=1e-6)
    assert moments["3"].spatial == (6, 6)


def test_timm_norms(timm: Any) -> None:
    norms = [
        timm.layers.BatchNormAct2d(8),
        timm.layers.FrozenBatchNormAct2d(8),
        timm.layers.GroupNorm(8, 4),
        timm.layers.GroupNorm1(8),
        timm.layers.GroupNormAct(8, 2),
        timm.layers.LayerNorm2d(8),
        timm.layers.LayerNormAct2d(8),
        _ToChannelsLast(),
        timm.layers.LayerNorm(8),
        timm.layers.LayerNormAct(8),
    ]
    model = randomized(nn.Sequential(nn.Conv2d(3, 8, 3), *norms))
    images = torch.randn(2, 3, 10, 10)
    moments = capture(model, [images])
    assert [moments[n].groups for n in ("3", "4", "5")] == [4, 1, 2]
    x = model[0](images)
    for index, norm in enumerate(norms, start=1):
        if index != 8:
            layer = moments[str(index)]
            mean, variance = numpy_moments(x, 1 if index < 8 else 3)
            np.testing.assert_allclose(layer.mean, mean, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(layer.variance, variance, rtol=1e-4, atol=1e-5)
            assert layer.spatial == (8, 8)
            assert layer.kind == type(norm).__name__
        x = norm.eval()(x)


def test_convolutions_where_there_is_no_norm() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(inplace=True),  # overwrites the convolution's output
        nn.ConvTranspose2d(4, 6, 3, stride=2),
        nn.ReLU(inplace=True),
    )
    images = torch.randn(3, 3, 8, 8)
    moments = capture(model, images.split(2))
    first = model[0](images)
    assert list(moments) == ["0", "2"]
    for name, x in (("0", first.clone()), ("2", model[2](first.clone().relu()))):
        np.testing.assert_allclose(moments[name].mean, numpy_moments(x)[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(moments[name].variance, numpy_moments(x)[1], rtol=1e-5)
        assert moments[name].spatial == tuple(x.shape[2:])
        assert moments[name].gamma is None
        assert moments[name].beta is None
    assert [moments[n].kind for n in moments] == ["Conv2d", "ConvTranspose2d"]


def test_tokens_with_a_channel_axis() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 4, stride=4)
            self.norm = nn.LayerNorm(8)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.patches(x).flatten(2).transpose(1, 2))

    model, images = Tokens(), torch.randn(3, 3, 16, 16)
    layer = capture(model, [images], channel_dim=-1)["norm"]
    mean, variance = numpy_moments(model.patches(images))
    np.testing.assert_allclose(layer.mean, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.variance, variance, rtol=1e-5)
    assert layer.spatial == (16,)


def test_half_precision_and_channels_last_models() -> None:
    model = randomized(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3)))
    model.append(nn.GroupNorm(2, 8))
    images = torch.randn(4, 3, 16, 16)
    full = capture(model, [images])
    last = capture(model.to(memory_format=torch.channels_last), [images])
    half = capture(model.half(), [images])
    double = capture(model.double(), [images])
    for name, layer in full.items():
        np.testing.assert_allclose(last[name].mean, layer.mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(last[name].variance, layer.variance, rtol=1e-4)
        np.testing.assert_allclose(half[name].mean, layer.mean, rtol=0.02, atol=0.01)
        np.testing.assert_allclose(half[name].variance, layer.variance, rtol=0.02)
        assert layer.mean.dtype == half[name].mean.dtype == np.float32
        assert double[name].mean.dtype == np.float64
        assert half[name].gamma.dtype == np.float32
        assert double[name].gamma.dtype == np.float64


def test_rms_norms() -> None:
    images = torch.randn(2, 3, 8, 5)
    norms = [nn.RMSNorm(5), nn.RMSNorm((3, 8, 5))]
    for norm, axis in zip(norms, (3, 1), strict=True):
        layer = capture(nn.Sequential(norm), [images])["0"]
        np.testing.assert_allclose(layer.mean, numpy_moments(images, axis)[0], rtol=1e-5, atol=1e-6)
        assert layer.epsilon == torch.finfo(torch.float32).eps


def test_rms_norms_of_timm(timm: Any) -> None:
    images = torch.randn(2, 3, 8, 5)
    for norm in (timm.layers.RmsNorm2d(3), timm.layers.RmsNormAct2d(3), timm.layers.RmsNorm(5)):
        layer = capture(nn.Sequential(norm), [images])["0"]
        axis = 3 if type(norm) is timm.layers.RmsNorm else 1
        np.testing.assert_allclose(layer.mean, numpy_moments(images, axis)[0], rtol=1e-5, atol=1e-6)
        assert layer.epsilon == 1e-6
        assert layer.beta is None
