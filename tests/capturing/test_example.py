"""Inputs that a network accepts, found without any image."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.vision_transformer import VisionTransformer

from normstats.capturing import describe_layers, example_input
from normstats.errors import CaptureError


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_size_that_is_given(dims: int) -> None:
    convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](5, 4, 3)
    model = nn.DataParallel(nn.Sequential(convolution.double()))
    example = example_input(model, 16)
    assert example.shape == (2, 5, *[16] * dims)
    assert example.dtype == torch.float64
    assert torch.equal(example, example_input(model, 16))
    assert describe_layers(model, example)[0].captured


def test_the_channels_of_the_first_convolution() -> None:
    grey = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3))
    assert example_input(grey).shape == (2, 1, 224, 224)
    assert example_input(grey, 40, images=3).shape == (3, 1, 40, 40)
    with pytest.raises(CaptureError, match="no convolution"):
        example_input(nn.Linear(3, 3))


@pytest.mark.parametrize("channels", [3, 1])
def test_a_first_convolution_behind_a_rearrangement(channels: int) -> None:
    model = nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(16 * channels, 4, 3))
    assert example_input(model).shape == (2, channels, 224, 224)
    assert example_input(model, 32).shape == (2, channels, 32, 32)


@pytest.mark.parametrize("size", [32, 28, 64, 299])
def test_networks_that_take_one_size_only(size: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 5), nn.BatchNorm2d(2), nn.Flatten())
    model.append(nn.Linear(2 * (size - 4) ** 2, 3))
    model.train()
    example = example_input(model)
    assert example.shape == (2, 3, size, size)
    assert model.training
    assert model[1].num_batches_tracked == 0


def test_no_size_is_accepted() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(2 * 37 * 37, 3))
    with pytest.raises(
        CaptureError, match=r"none of the 12 shapes .* \(2, 3, 512, 512\)"
    ) as caught:
        example_input(model)
    assert "--size" in caught.value.hint
    assert example_input(model, 37).shape == (2, 3, 37, 37)
    with pytest.raises(CaptureError, match=r"failed on images of shape \(2, 3, 36, 36\)") as caught:
        describe_layers(model, example_input(model, 36))
    assert "--size" in caught.value.hint


def test_sizes_that_the_model_itself_names() -> None:
    vit = VisionTransformer(48, 16, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16)
    assert example_input(vit).shape == (2, 3, 48, 48)
    rows = describe_layers(vit, example_input(vit), channel_dim=-1)
    assert [row.spatial for row in rows] == [(10,)] * 3

    model = nn.Sequential(nn.Conv2d(3, 2, 1))
    model.config = SimpleNamespace(image_size=56)
    assert example_input(model).shape == (2, 3, 56, 56)
    model.config = SimpleNamespace(image_size=[56, 72])
    assert example_input(model).shape == (2, 3, 56, 72)
    assert example_input(model, 24).shape == (2, 3, 24, 24)


def test_sizes_that_timm_names(timm: Any) -> None:
    for name, changes, shape in (
        ("test_vit", {}, (3, 160, 160)),
        ("test_vit", {"img_size": 64, "in_chans": 1}, (1, 64, 64)),
        ("test_byobnet", {"in_chans": 5}, (5, 160, 160)),
        ("tresnet_m", {}, (3, 224, 224)),  # its first convolution stands behind space to depth
        ("test_maxvit", {"img_size": 96}, (3, 96, 96)),  # its configuration says 160
    ):
        model = timm.create_model(name, **changes).eval()
        assert example_input(model).shape == (2, *shape)
    naflex = timm.create_model(
        "naflexvit_base_patch16_gap", depth=1, embed_dim=32, num_heads=2
    )  # its patches go through a linear layer
    assert not any(isinstance(module, nn.Conv2d) for module in naflex.modules())
    assert example_input(naflex).shape == (2, 3, 384, 384)


def test_videos_and_volumes() -> None:
    def behind(convolution: nn.Module, features: int) -> nn.Module:
        return nn.Sequential(convolution, nn.AvgPool3d(8), nn.Flatten(), nn.Linear(features, 2))

    video = behind(nn.Conv3d(3, 1, 1), 2 * 28 * 28)
    assert example_input(video).shape == (2, 3, 16, 224, 224)
    assert example_input(video, 224).shape == (2, 3, 16, 224, 224)
    volume = behind(nn.Conv3d(1, 1, 1), 12**3)
    assert example_input(volume).shape == (2, 1, 96, 96, 96)
    assert example_input(volume, 96).shape == (2, 1, 96, 96, 96)
    assert example_input(nn.Conv3d(3, 1, 1)).shape == (2, 3, 16, 112, 112)


def test_a_model_that_has_shapes_but_no_weights() -> None:
    with torch.device("meta"):
        model = models.ConvNeXt([CNBlockConfig(8, None, 2)])
    assert example_input(model).shape == (2, 3, 224, 224)
    rows = describe_layers(model, example_input(model, 32))
    assert [row.spatial for row in rows] == [(8, 8), (8, 8), (8, 8), (1, 1)]


def test_a_trial_leaves_the_model_as_it_was() -> None:
    class Fussy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1)
            self.norm = nn.BatchNorm2d(2)
            self.modes: list[bool] = []

        def forward(self, x: Tensor) -> Tensor:
            self.modes.append(self.training)
            if x.shape[-1] != 28:
                raise RuntimeError("not my size")
            return self.norm(self.conv(x))

    model = Fussy().train()
    assert example_input(model).shape == (2, 3, 28, 28)
    assert model.modes == [False] * 3
    assert model.training
    assert torch.equal(model.norm.running_mean, torch.zeros(2))
