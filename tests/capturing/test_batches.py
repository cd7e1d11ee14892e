from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from normstats.capturing import capture
from normstats.errors import CaptureError


def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


IMAGES = torch.randn(5, 3, 8, 8)
LABELS = torch.tensor([2, 0, 1, 1, 2])


def test_a_loader_with_labels() -> None:
    loader = DataLoader(TensorDataset(IMAGES, LABELS), batch_size=2)
    moments = capture(model(), loader, classes=["a", "b", "c"])
    assert moments.images == 5
    assert moments.labels is not None
    assert moments.labels.dtype == np.int64
    assert moments.labels.tolist() == [2, 0, 1, 1, 2]
    assert moments.classes == ("a", "b", "c")


@pytest.mark.parametrize(
    "labels", [LABELS.to(torch.int32), LABELS.numpy(), LABELS.tolist(), tuple(LABELS.tolist())]
)
def test_labels_of_every_kind(labels: Any) -> None:
    moments = capture(model(), [[IMAGES, labels]])
    assert moments.labels is not None
    assert moments.labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    "targets",
    [
        torch.rand(5),
        torch.zeros(5, 8, 8, dtype=torch.int64),
        torch.zeros(4, dtype=torch.int64),
        ["a", "b", "c", "d", "e"],
        [[1], [1, 2], [], [3], [4]],
        None,
    ],
)
def test_targets_that_are_no_labels(targets: Any) -> None:
    assert capture(model(), [(IMAGES, targets)]).labels is None


def test_images_alone_and_mixed() -> None:
    assert capture(model(), DataLoader(TensorDataset(IMAGES), batch_size=2)).labels is None
    assert capture(model(), [IMAGES, (IMAGES, LABELS)]).labels is None


def test_labels_beyond_the_classes() -> None:
    with pytest.raises(CaptureError, match=r"from 0 to 2, but there are 2"):
        capture(model(), [(IMAGES, LABELS)], classes=["a", "b"])


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([{"image": IMAGES}], "Batch 0 is a dict"),
        ([(IMAGES, LABELS, LABELS)], r"Batch 0 is a tuple of 3 \(Tensor, Tensor, Tensor\)"),
        ([IMAGES, IMAGES.numpy()], "Batch 1 is a ndarray"),
        ("images/", "Batch 0 is a str"),
        (IMAGES, "what was given is one tensor"),
        (7, "what was given is a int"),
        ([IMAGES[:0]], "Batch 0 holds no images"),
        ([(torch.tensor(1.0), 1)], "Batch 0 holds no images"),
        ([IMAGES.to(torch.uint8)], "torch.uint8, not floating-point"),
    ],
)
def test_batches_of_a_wrong_kind(batches: Any, message: str) -> None:
    with pytest.raises(CaptureError, match=message) as caught:
        capture(model(), batches)
    assert caught.value.hint


def test_too_few_images() -> None:
    with pytest.raises(CaptureError, match="no images") as caught:
        capture(model(), [])
    assert caught.value.hint
    with pytest.raises(CaptureError, match="only one image") as caught:
        capture(model(), [IMAGES[:1]])
    assert "at least two" in str(caught.value.hint)
    assert capture(model(), [IMAGES[:1], IMAGES[1:2]]).images == 2


def test_a_generator_and_another_precision() -> None:
    moments = capture(model(), (batch.double() for batch in IMAGES.split(2)))
    assert moments.images == 5
    assert moments["1"].mean.dtype == np.float32


def test_images_that_do_not_fit_the_network() -> None:
    with pytest.raises(CaptureError, match=r"shape \(2, 1, 8, 8\).*RuntimeError") as caught:
        capture(model(), [torch.randn(2, 1, 8, 8)])
    assert "channels" in str(caught.value.hint)


def test_out_of_memory_says_what_helps() -> None:
    class Huge(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory.")  # no GPU is needed to say so

    with pytest.raises(CaptureError, match=r"not enough memory.*5 images") as caught:
        capture(nn.Sequential(model(), Huge()), [IMAGES])
    assert "smaller batch" in str(caught.value.hint)
