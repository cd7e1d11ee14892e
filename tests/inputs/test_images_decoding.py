"""Image files of every kind, as upright RGB or grey."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from helpers.pictures import noise as noises
from PIL import Image

from normstats.inputs.images.decoding import decode


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    return Image.fromarray(noises(1, height, width)[0]).convert(mode)


def written(image: Image.Image, form: str = "PNG", **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, form, **options)
    file.seek(0)
    return file


def pixels(image: Any) -> Any:
    assert isinstance(image, Image.Image)
    return np.asarray(image)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("channels", [1, 3])
def test_modes_become_rgb_or_grey(mode: str, channels: int) -> None:
    form = "TIFF" if mode in {"CMYK", "YCbCr"} else "PNG"
    source = noise(6, 4, mode)
    image = pixels(decode(written(source, form), channels))
    assert image.shape == ((4, 6, 3) if channels == 3 else (4, 6))
    expected = np.asarray(source.convert("RGB").convert("RGB" if channels == 3 else "L"), int)
    # YCbCr to grey may take the luma as it is.
    assert np.abs(image - expected).max() <= (1 if mode == "YCbCr" else 0)


def test_palette_with_transparency() -> None:
    palette = noise(6, 4, "P")
    image = decode(written(palette, transparency=bytes(range(256))), 3)
    np.testing.assert_array_equal(pixels(image), np.asarray(palette.convert("RGB")))


# What the orientations mean, in turns by 90 degrees against the clock and mirrorings.
@pytest.mark.parametrize(
    ("orientation", "turns", "mirrored"),
    [(1, 0, 0), (2, 0, 1), (3, 2, 0), (4, 2, 1), (5, 1, 1), (6, 3, 0), (7, 3, 1), (8, 1, 0)],
)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(
    orientation: int, turns: int, mirrored: int, form: str
) -> None:
    image = noise(6, 4)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    out = pixels(decode(written(image, form, exif=exif, **options), 3))
    stored = np.asarray(image)
    expected = np.rot90(stored[:, ::-1] if mirrored else stored, k=turns)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_pixels_are_scaled_and_not_clipped(form: str, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (4, 6), dtype=np.uint16)
    image = decode(written(Image.fromarray(values), form), channels)
    assert isinstance(image, torch.Tensor)
    assert image.shape == (1, 4, 6)
    np.testing.assert_allclose(image[0], values / 65535, rtol=1e-6)


def test_16_bit_colours() -> None:
    """Pillow keeps the upper byte."""
    values = np.random.default_rng(0).integers(0, 65536, (4, 6, 3), dtype=np.uint16)
    header = b"P6 6 4 65535\n"
    image = pixels(decode(io.BytesIO(header + values.astype(">u2").tobytes()), 3))
    np.testing.assert_allclose(image / 255, values / 65535, atol=1 / 255)


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="range"):
        decode(written(Image.new("F", (4, 4)), "TIFF"), 3)
    with pytest.raises(ValueError, match="range"):
        decode(written(Image.new("I", (4, 4), 1 << 20), "TIFF"), 3)


def test_postscript_is_not_opened() -> None:
    with pytest.raises(Image.UnidentifiedImageError):
        decode(written(noise(4, 4), "EPS"), 3)


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "PNG"])
def test_of_several_pictures_the_first(form: str) -> None:
    first, second = Image.new("RGB", (4, 4), (250, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 250))
    options = {"lossless": True} if form == "WEBP" else {}
    file = written(first, form, save_all=True, append_images=[second], **options)
    assert getattr(Image.open(file), "n_frames", 1) == 2
    file.seek(0)
    np.testing.assert_array_equal(pixels(decode(file, 3)), np.asarray(first))


def test_a_photograph_with_a_preview() -> None:
    """Cameras and telephones write MPO: a JPEG with another behind it."""
    file = io.BytesIO()
    noise(16, 16).save(file, "MPO", save_all=True, append_images=[noise(8, 8)])
    file.seek(0)
    assert pixels(decode(file, 3)).shape == (16, 16, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM"])
def test_truncated_files_are_not_read(form: str) -> None:
    whole = written(noise(64, 64), form).getvalue()
    for size in (1, len(whole) // 3, len(whole) * 9 // 10):
        with pytest.raises(Exception, match=r"."):
            decode(io.BytesIO(whole[:size]), 3)


@pytest.mark.parametrize("size", ["0 0", "0 5", "5 0"])
def test_images_of_no_size_are_not_read(size: str) -> None:
    with pytest.raises((OSError, ValueError)):
        decode(io.BytesIO(f"P6 {size} 255\n".encode()), 3)
