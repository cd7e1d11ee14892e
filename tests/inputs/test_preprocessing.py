"""From an image file to the numbers a network takes."""

from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models
from torchvision.transforms._presets import ImageClassification

from normstats.errors import ImagesError, SettingError
from normstats.inputs import Preprocessing
from normstats.inputs.zoos import timm_zoo, torchvision_zoo


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def written(image: Image.Image, form: str = "PNG", **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, form, **options)
    file.seek(0)
    return file


def pixels(image: Any) -> Any:
    assert isinstance(image, Image.Image)
    return np.asarray(image)


def test_default_is_imagenet_at_native_size() -> None:
    image = noise(7, 5)
    expected = (np.asarray(image) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    out = Preprocessing()(image)
    assert out.dtype == torch.float32
    np.testing.assert_allclose(out.permute(1, 2, 0), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(300, 200), (40, 90)])
def test_resize_and_crop_as_torchvision_does(size: tuple[int, int]) -> None:
    image = noise(*size)
    expected = ImageClassification(resize_size=64, crop_size=56)(image)
    torch.testing.assert_close(Preprocessing(resize=64, crop=56)(image), expected)


def test_grey_takes_the_average_of_three_channels() -> None:
    settings = Preprocessing().for_channels(1)
    assert settings.mean == pytest.approx((0.449,), abs=1e-3)
    assert settings.std == pytest.approx((0.226,), abs=1e-3)
    assert settings(noise(4, 4, "L")).shape == (1, 4, 4)


def test_one_mean_serves_three_channels() -> None:
    settings = Preprocessing(mean=(0.5,), std=(0.25,)).for_channels(3)
    assert settings == Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3)
    assert settings.for_channels(3) is settings


@pytest.mark.parametrize(
    "options",
    [
        {"resize": 0},
        {"resize": -3},
        {"crop": 0},
        {"resize": 32, "crop": 64},
        {"std": (0.1, 0.0, 0.1)},
        {"std": (0.1, -1.0, 0.1)},
        {"std": (0.1, float("nan"), 0.1)},
        {"mean": (0.1, float("inf"), 0.1)},
        {"mean": (0.5, 0.5)},
        {"mean": (0.5, 0.5), "std": (0.5, 0.5)},
        {"mean": (), "std": ()},
        {"interpolation": "lanczos"},
    ],
)
def test_senseless_settings(options: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        Preprocessing(**options)


def test_crop_larger_than_the_image_is_no_black_border() -> None:
    with pytest.raises(ImagesError, match="50x20 pixels are less than the crop of 32") as caught:
        Preprocessing(crop=32)(noise(50, 20))
    assert "--resize" in (caught.value.hint or "")


def test_resizing_does_not_make_an_enormous_image() -> None:
    with pytest.raises(ValueError, match="too long"):
        Preprocessing(resize=256)(Image.new("RGB", (1_000_000, 10)))


def photograph(width: int, height: int) -> Image.Image:
    """Smooth and sharp at once, so that ways to resize differ."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    waves = [127 + 127 * np.sin(40 * x * (1 + channel) + 90 * y**2) for channel in range(3)]
    return Image.fromarray(np.stack(waves, -1).astype(np.uint8))


PRESETS = {
    f"{weights}": weights
    for weights in (
        models.ResNet50_Weights.IMAGENET1K_V1,
        models.ResNet50_Weights.IMAGENET1K_V2,
        models.EfficientNet_B1_Weights.IMAGENET1K_V1,
        models.Swin_V2_T_Weights.IMAGENET1K_V1,
        models.ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1,
        models.Inception_V3_Weights.IMAGENET1K_V1,
        models.segmentation.FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1,
        models.detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
    )
}


@pytest.mark.parametrize("size", [(500, 375), (301, 640), (97, 130)])
@pytest.mark.parametrize("weights", PRESETS.values(), ids=PRESETS)
def test_torchvision_presets(weights: Any, size: tuple[int, int]) -> None:
    settings = torchvision_zoo.TorchvisionWeights("", weights).preprocessing()
    assert settings is not None
    image = photograph(*size)
    torch.testing.assert_close(settings(image), weights.transforms()(image), rtol=0, atol=1e-6)


def test_every_torchvision_preset_for_images_is_known() -> None:
    unknown = {
        type(weights.transforms()).__name__
        for name in models.list_models()
        for weights in models.get_model_weights(name)
        if torchvision_zoo.TorchvisionWeights(name, weights).preprocessing() is None
    }
    assert unknown == {"VideoClassification", "OpticalFlow"}


@pytest.mark.parametrize("size", [(500, 375), (301, 640), (97, 130)])
@pytest.mark.parametrize(
    "name",
    [
        "resnet50.a1_in1k",  # bicubic
        "resnet50.tv_in1k",  # bilinear
        "convnext_base.fb_in22k_ft_in1k_384",  # squash
        "vit_base_patch16_224.augreg_in21k",  # mean and std of 0.5
        "efficientnet_b1.ft_in1k",
        "inception_v3.tv_in1k",
    ],
)
def test_timm_presets(timm: Any, name: str, size: tuple[int, int]) -> None:
    network = nn.Module()
    network.pretrained_cfg = timm.get_pretrained_cfg(name).to_dict()
    settings = timm_zoo.preprocessing(network)
    assert settings is not None
    config = timm.data.resolve_data_config(pretrained_cfg=network.pretrained_cfg)
    theirs = timm.data.create_transform(**config, is_training=False)
    image = photograph(*size)
    torch.testing.assert_close(settings(image), theirs(image), rtol=0, atol=1e-6)


@pytest.mark.usefixtures("timm")
def test_timm_preprocessing_that_is_not_known_here() -> None:
    network = nn.Module()
    assert timm_zoo.preprocessing(network) is None
    for other in (
        {"crop_mode": "border"},
        {"input_size": (3, 1024, 768)},
        {"interpolation": "lanczos"},
    ):
        network.pretrained_cfg = {"input_size": (3, 224, 224), **other}
        assert timm_zoo.preprocessing(network) is None
    network.pretrained_cfg = {"input_size": (3, 224, 224)}
    assert timm_zoo.preprocessing(network) == Preprocessing(256, 224, interpolation="bicubic")


def test_interpolations_differ() -> None:
    image = photograph(90, 60)
    outputs = [
        Preprocessing(resize=32, crop=32, interpolation=how)(image)
        for how in ("bilinear", "bicubic", "nearest")
    ]
    for one, other in itertools.combinations(outputs, 2):
        assert not torch.allclose(one, other, atol=0.1)


def test_bicubic_does_not_leave_the_range() -> None:
    values = torch.zeros(1, 8, 8)
    values[:, :, 4:] = 1
    settings = Preprocessing(resize=32, mean=(0.0,), std=(1.0,), interpolation="bicubic")
    resized = settings(values)
    assert (resized.min(), resized.max()) == (0, 1)


def test_squash_ignores_the_aspect() -> None:
    image = photograph(90, 60)
    settings = Preprocessing(resize=32, squash=True, interpolation="bicubic")
    raw = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC)) / 255
    expected = (raw - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(settings(image).permute(1, 2, 0), expected, atol=1e-5)
    long = Image.new("RGB", (1_000_000, 10))
    assert settings(long).shape == (3, 32, 32)


def test_what_the_user_gives_overrides() -> None:
    own = Preprocessing(232, 224, interpolation="bicubic")
    assert own.overridden() == own
    assert own.overridden(resize=300) == Preprocessing(300, 224, interpolation="bicubic")
    assert own.overridden(resize=0, crop=0) == Preprocessing(interpolation="bicubic")
    assert own.overridden(crop=0) == Preprocessing(232, None, interpolation="bicubic")
    changed = own.overridden(mean=(0.5,) * 3, std=(0.25,) * 3)
    assert (changed.mean, changed.std) == ((0.5,) * 3, (0.25,) * 3)
    with pytest.raises(SettingError, match="crop of 224") as caught:
        own.overridden(resize=128)
    assert "--crop" in caught.value.hint
    with pytest.raises(SettingError, match="-1"):
        own.overridden(resize=-1)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            Preprocessing(232, 224),
            "resize 232 (bilinear), crop 224, mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225",
        ),
        (Preprocessing(mean=(0.0,), std=(1.0,)), "native size, mean 0, std 1"),
        (
            Preprocessing(384, 384, (0.5,), (0.5,), "bicubic", squash=True),
            "squash to 384 x 384 (bicubic), crop 384, mean 0.5, std 0.5",
        ),
    ],
)
def test_in_words(settings: Preprocessing, told: str) -> None:
    assert str(settings) == told
