"""Images in arrays: NumPy's files and safetensors, pixels and values, in both layouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.pictures import PLAIN, noise, read
from PIL import Image
from safetensors.torch import save_file

from normstats.errors import ImagesError, SettingError
from normstats.inputs import Preprocessing, open_images
from normstats.inputs.images import arrayfiles


def save_npy(path: Path, values: Any) -> str:
    np.save(path / "x.npy", values)
    return str(path / "x.npy")


def save_npz(path: Path, values: Any) -> str:
    np.savez(path / "x.npz", values)
    return str(path / "x.npz")


def save_compressed(path: Path, values: Any) -> str:
    np.savez_compressed(path / "x.npz", values)
    return str(path / "x.npz")


def save_safetensors(path: Path, values: Any) -> str:
    save_file({"pictures": torch.from_numpy(np.ascontiguousarray(values))}, path / "x.safetensors")
    return str(path / "x.safetensors")


FORMATS = [save_npy, save_npz, save_compressed, save_safetensors]
Save = Callable[[Path, Any], str]


@pytest.mark.parametrize("save", FORMATS)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_read_as_from_image_files(
    tmp_path: Path, save: Save, layout: str, channels: int
) -> None:
    pixels = noise(5, 9, 12, channels)
    for index, image in enumerate(pixels):
        (tmp_path / "files").mkdir(exist_ok=True)
        Image.fromarray(image.squeeze()).save(tmp_path / "files" / f"{index}.png")
    options: dict[str, Any] = {"input_channels": channels, "resize": 8, "crop": 6}
    expected = read(open_images(tmp_path / "files", **options))[0]
    values = pixels if layout == "nhwc" else pixels.transpose(0, 3, 1, 2)
    images = open_images(save(tmp_path, values), **options)
    assert len(images) == 5
    assert images.notes == ()
    assert images.preprocessing == Preprocessing(resize=8, crop=6).for_channels(channels)
    assert torch.equal(read(images)[0], expected)


@pytest.mark.parametrize("save", FORMATS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_floating_point_values_stay_as_they_are(
    tmp_path: Path, save: Save, dtype: Any, layout: str
) -> None:
    values = np.random.default_rng(0).normal(size=(4, 3, 5, 6)).astype(dtype)
    stored = values if layout == "nchw" else values.transpose(0, 2, 3, 1)
    images = open_images(save(tmp_path, stored), preprocessing=Preprocessing(crop=2))
    out = read(images)[0]
    assert out.dtype == torch.float32
    np.testing.assert_array_equal(out, values.astype(np.float32))
    assert images.preprocessing == PLAIN.for_channels(3)
    [note] = images.notes
    assert "ready for the network" in note
    assert f"{values[0].min():.4g} to {values[0].max():.4g}" in note


def test_options_given_apply_to_floating_point_values_too(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(size=(4, 3, 8, 8)).astype(np.float32)
    path = save_npy(tmp_path, values)
    mean, std = (0.1, 0.2, 0.3), (1.0, 2.0, 4.0)
    out = read(open_images(path, crop=4, mean=mean, std=std))[0]
    expected = (values[:, :, 2:6, 2:6] - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-7)
    assert read(open_images(path, resize=4))[0].shape == (4, 3, 4, 4)
    with pytest.raises(ImagesError, match=r"^\[0\]: values from -\d.* cannot be resized"):
        read(open_images(save_npy(tmp_path, values - 0.5), resize=4))


def test_bfloat16(tmp_path: Path) -> None:
    values = torch.randn(3, 3, 4, 4).to(torch.bfloat16)
    save_file({"x": values}, tmp_path / "x.safetensors")
    assert torch.equal(read(open_images(tmp_path / "x.safetensors"))[0], values.float())


def test_16_bit_pixels_are_scaled(tmp_path: Path) -> None:
    values = noise(4).astype(np.uint16) * 256 + 3
    images = open_images(save_npy(tmp_path, values), preprocessing=PLAIN)
    expected = values.transpose(0, 3, 1, 2) / 65535
    np.testing.assert_allclose(read(images)[0], expected, rtol=1e-6)
    assert "65535" in images.notes[0]


@pytest.mark.parametrize("channels", [2, 4, 6])
def test_other_numbers_of_channels(tmp_path: Path, channels: int) -> None:
    pixels = noise(4, channels=channels)
    path = save_npy(tmp_path, pixels)
    with pytest.raises(ImagesError, match=f"{channels} channels") as caught:
        open_images(path, input_channels=channels)
    assert "--mean" in caught.value.hint
    images = open_images(path, input_channels=channels, mean=(0.0,), std=(1.0,))
    np.testing.assert_allclose(read(images)[0], pixels.transpose(0, 3, 1, 2) / 255, rtol=1e-6)
    floats = open_images(save_npy(tmp_path, pixels / 255), input_channels=channels)
    np.testing.assert_allclose(read(floats)[0], pixels.transpose(0, 3, 1, 2) / 255, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_grey_images_without_an_axis_of_channels(tmp_path: Path, dtype: str) -> None:
    values = noise(4)[..., 0].astype(dtype)
    images = open_images(save_npy(tmp_path, values), input_channels=1, mean=(0.0,), std=(1.0,))
    scale = 255 if dtype == "uint8" else 1
    np.testing.assert_allclose(read(images)[0], values[:, None] / scale, rtol=1e-6)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("fortran", [True, False])
@pytest.mark.parametrize("save", FORMATS[:3])
def test_byte_and_axis_orders(tmp_path: Path, order: str, fortran: bool, save: Save) -> None:
    values = np.random.default_rng(0).normal(size=(4, 3, 5, 6)).astype(f"{order}f4")
    stored = np.asfortranarray(values) if fortran else values
    np.testing.assert_array_equal(read(open_images(save(tmp_path, stored)))[0], values)


def test_the_axis_of_channels_may_be_ambiguous(tmp_path: Path) -> None:
    pixels = noise(4, 5, 3)  # (4, 5, 3, 3) is both, as (N, H, W, C) and, moved, (N, C, H, W)
    channels_first = pixels.transpose(0, 3, 1, 2)  # (4, 3, 5, 3)
    path = save_npy(tmp_path, channels_first)
    with pytest.raises(ImagesError, match=r"\(4, 3, 5, 3\)") as caught:
        open_images(path)
    assert "--layout nchw" in caught.value.hint
    images = open_images(path, layout="nchw", preprocessing=PLAIN)
    np.testing.assert_allclose(read(images)[0], channels_first / 255, rtol=1e-6)
    images = open_images(path, layout="nhwc", preprocessing=PLAIN)
    np.testing.assert_allclose(
        read(images)[0], channels_first.transpose(0, 3, 1, 2) / 255, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("shape", "layout", "words"),
    [
        ((4, 5, 6, 7), None, "no axis 1 or 3"),
        ((4, 5, 6, 3), "nchw", "has 5"),
        ((4, 3, 6, 7), "nhwc", "has 7"),
        ((6, 7, 3), None, "3 axes"),
        ((2, 3, 4, 5, 6), None, "5 axes"),
        ((), None, "0 axes"),
        ((0, 3, 4, 5), None, "no pixels"),
        ((4, 3, 0, 5), None, "no pixels"),
    ],
)
def test_shapes_that_are_no_images(
    tmp_path: Path, shape: tuple[int, ...], layout: str | None, words: str
) -> None:
    with pytest.raises(ImagesError, match=words) as caught:
        open_images(save_npy(tmp_path, np.zeros(shape, np.uint8)), layout=layout)
    assert str(shape) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("dtype", ["int64", "int8", "bool", "complex64", "<U3", "datetime64[s]"])
def test_types_that_are_no_images(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(ImagesError, match="type") as caught:
        open_images(save_npy(tmp_path, np.zeros((2, 3, 4, 4), dtype)))
    assert "uint8" in caught.value.hint


@pytest.mark.parametrize("name", ["images", "x", "Data"])
def test_the_array_that_is_called_images(tmp_path: Path, name: str) -> None:
    arrays = {name: noise(4), "other": noise(4, seed=1), "labels": np.array([7, 3, 3, 10])}
    np.savez(tmp_path / "a.npz", **arrays)
    images = open_images(tmp_path / "a.npz", preprocessing=PLAIN)
    values, labels = read(images)
    np.testing.assert_allclose(values, noise(4).transpose(0, 3, 1, 2) / 255, rtol=1e-6)
    assert images.classes == ("3", "7", "10")
    assert labels == [1, 0, 0, 2]


def test_one_of_several_arrays(tmp_path: Path) -> None:
    arrays = {
        "train_images": noise(4),
        "train_labels": np.zeros((4, 1), np.uint8),
        "test_images": noise(3),
        "test_labels": np.array([[1], [0], [1]]),
        "labels": np.zeros(3, int),
    }
    path = tmp_path / "medmnist.npz"
    np.savez(path, **arrays)
    with pytest.raises(ImagesError, match="5 arrays") as caught:
        open_images(path)
    assert "train_labels (4, 1) uint8" in caught.value.message
    assert f"{path}:train_images" in caught.value.hint
    images = open_images(f"{path}:test_images")
    assert images.classes == ("0", "1")
    assert read(images)[1] == [1, 0, 1]
    with pytest.raises(ImagesError, match="test_image'") as caught:
        open_images(f"{path}:test_image")
    assert "Did you mean test_images" in caught.value.hint


def test_keras_names(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "mnist.npz",
        x_train=noise(4)[..., 0], y_train=[0, 1, 2, 3], x_test=noise(2)[..., 0], y_test=[5, 9],
    )  # fmt: skip
    images = open_images(f"{tmp_path / 'mnist.npz'}:x_test", input_channels=1)
    assert images.classes == ("5", "9")
    assert read(images)[0].shape == (2, 1, 5, 7)


def test_the_only_array_of_four_axes(tmp_path: Path) -> None:
    tensors = {"pictures": torch.from_numpy(noise(4)), "y": torch.tensor([1, 1, 0, 1])}
    save_file(tensors, tmp_path / "a.safetensors")
    images = open_images(tmp_path / "a.safetensors")
    assert read(images)[1] == [1, 1, 0, 1]
    assert len(open_images(f"{tmp_path / 'a.safetensors'}:pictures")) == 4


@pytest.mark.parametrize("labels", [np.zeros(3, int), np.zeros(4), np.eye(4, dtype=int)])
def test_labels_that_do_not_fit_are_told(tmp_path: Path, labels: Any) -> None:
    np.savez(tmp_path / "a.npz", images=noise(4), labels=labels)
    images = open_images(tmp_path / "a.npz")
    assert images.labels is None
    [note] = images.notes
    assert str(labels.shape) in note
    assert "not used" in note


def test_archives_without_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "none.npz")
    with pytest.raises(ImagesError, match="holds no array"):
        open_images(tmp_path / "none.npz")


def test_a_key_of_what_is_no_array(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(bytes(1024))
    with pytest.raises(ImagesError, match="'key'"):
        open_images(f"{tmp_path / 'x.tar'}:key")


@pytest.mark.parametrize("save", FORMATS)
def test_files_cut_off(tmp_path: Path, save: Save) -> None:
    path = Path(save(tmp_path, noise(50)))
    whole = path.read_bytes()
    for size in (7, 20, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ImagesError, match=path.name) as caught:
            open_images(path)
        assert caught.value.hint


def test_a_byte_that_changed_in_a_compressed_array(tmp_path: Path) -> None:
    path = Path(save_compressed(tmp_path, noise(50)))
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(ImagesError, match="damaged"):
        open_images(path)


def test_compressed_arrays_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_compressed(tmp_path, noise(50))
    monkeypatch.setattr(arrayfiles, "_LARGEST_UNPACKED", noise(50).nbytes - 1)
    with pytest.raises(ImagesError, match="compressed") as caught:
        open_images(path)
    assert "numpy.savez" in caught.value.hint
    assert len(open_images(save_npz(tmp_path, noise(50)))) == 50


def test_not_finite_values_are_skipped(tmp_path: Path) -> None:
    values = np.zeros((40, 3, 2, 2), np.float32)
    values[3, 1, 0, 1] = np.nan
    values[5, 1, 0, 1] = np.inf
    images = open_images(save_npy(tmp_path, values))
    assert len(read(images)[0]) == 38
    assert images.skipped == [("[3]", "holds NaN or infinity"), ("[5]", "holds NaN or infinity")]


def test_samples_and_processes(tmp_path: Path) -> None:
    path = save_npy(tmp_path, noise(60))
    results = []
    for workers in (0, 2):
        images = open_images(path, limit=20, seed=3)
        results.append((read(images, 7, workers)[0], images.names, images.fingerprint))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1:] == results[1][1:]
    indices = [int(name[1:-1]) for name in results[0][1]]
    everything = read(open_images(path))[0]
    assert torch.equal(everything[indices], results[0][0])


def test_the_fingerprint_is_of_the_values(tmp_path: Path) -> None:
    def fingerprint(values: Any, save: Save = save_npy) -> str | None:
        images = open_images(save(tmp_path, values))
        read(images)
        return images.fingerprint

    values = noise(4)
    first = fingerprint(values)
    assert first is not None
    assert fingerprint(values.transpose(0, 3, 1, 2)) == first
    assert fingerprint(values, save_safetensors) == first
    values[2, 0, 0, 0] ^= 1
    assert fingerprint(values) != first


def test_only_what_is_read_is_in_memory(tmp_path: Path) -> None:
    """Of an array larger than memory, ten images."""
    shape = (300_000, 3, 256, 256)
    header = np.lib.format.header_data_from_array_1_0(np.zeros(1, np.uint8)) | {"shape": shape}
    with (tmp_path / "huge.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + int(np.prod(shape, dtype=np.int64)))  # 59 GB, of holes
    images = open_images(tmp_path / "huge.npy", limit=10)
    assert read(images)[0].shape == (10, 3, 256, 256)


def test_mean_without_std(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="mean has 3"):
        open_images(save_npy(tmp_path, noise(2) / 255), mean=(0.1, 0.2, 0.3))
