from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normstats.capturing import Way, fastest
from normstats.capturing.layout import laid_out


class Slow(nn.Module):
    """Takes a time that depends on its layout and on the batch, as networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.batches: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(len(x))
        channels_last = self.conv.weight.is_contiguous(memory_format=torch.channels_last)
        # A call costs as much as eight images: up to 32 larger batches pay.
        time.sleep((0.001 if channels_last else 0.003) * (8 + max(len(x), 2 * len(x) - 32)))
        return self.norm(self.conv(x))


def test_the_faster_layout_and_batch_are_found() -> None:
    model = Slow()
    trial = fastest(model, torch.randn(100, 3, 5, 5))
    assert trial.way == Way("channels_last", 32)
    assert trial.seconds[Way("contiguous", 4)] > 2 * trial.seconds[Way("channels_last", 4)]
    assert str(trial).startswith("channels_last, batches of 32 (")
    assert "contiguous" in str(trial)
    assert max(model.batches) == 64


def test_what_is_asked_for_is_not_tried() -> None:
    model = Slow()
    trial = fastest(model, torch.randn(9, 3, 5, 5), memory_formats=("contiguous",), batch_size=5)
    assert trial.way == Way("contiguous", 5)
    assert set(model.batches) == {5}


def test_a_trial_leaves_nothing_behind() -> None:
    model = Slow().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weight = model.conv.weight
    fastest(model, torch.randn(4, 3, 5, 5))
    assert model.training
    assert model.conv.weight is weight
    assert weight.is_contiguous()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_layout_is_put_back_whatever_happens() -> None:
    conv = nn.Conv2d(3, 4, 3)
    strides = conv.weight.stride()

    def fail() -> Any:
        with laid_out(nn.Sequential(conv), "channels_last"):
            assert conv.weight.is_contiguous(memory_format=torch.channels_last)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert conv.weight.stride() == strides
