"""From an image file to the numbers a network takes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms._presets import ImageClassification

from normstats.errors import ImagesError, SettingError
from normstats.inputs import Preprocessing
from normstats.inputs.preprocessing import decode


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


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("channels", [1, 3])
def test_modes_become_rgb_or_grey(mode: str, channels: int) -> None:
    form = "TIFF" if mode in {"CMYK", "YCbCr"} else "PNG"
    image = decode(written(noise(6, 4, mode), form), channels)
    assert pixels(image).shape == ((4, 6, 3) if channels == 3 else (4, 6))


def test_palette_with_transparency() -> None:
    palette = noise(6, 4, "P")
    image = decode(written(palette, transparency=bytes(range(256))), 3)
    np.testing.assert_array_equal(pixels(image), np.asarray(palette.convert("RGB")))


def test_exif_orientation_is_applied() -> None:
    image = noise(6, 4)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    out = pixels(decode(written(image, exif=exif), 3))
    np.testing.assert_array_equal(out, np.rot90(np.asarray(image), k=-1))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_pixels_are_scaled_and_not_clipped(form: str, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (4, 6), dtype=np.uint16)
    image = decode(written(Image.fromarray(values), form), channels)
    assert isinstance(image, torch.Tensor)
    assert image.shape == (channels, 4, 6)
    for channel in image:
        np.testing.assert_allclose(channel, values / 65535, rtol=1e-6)
    assert Preprocessing(resize=8, crop=8).for_channels(channels)(image).shape == (channels, 8, 8)


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="range"):
        decode(written(Image.new("F", (4, 4)), "TIFF"), 3)
    with pytest.raises(ValueError, match="range"):
        decode(written(Image.new("I", (4, 4), 1 << 20), "TIFF"), 3)


def test_postscript_is_not_opened() -> None:
    with pytest.raises(Image.UnidentifiedImageError):
        decode(written(noise(4, 4), "EPS"), 3)
