from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normstats.capturing import Way, fastest, trial
from normstats.capturing.layout import laid_out


class Slow(nn.Module):
    """Takes a time, on a clock of its own, that depends on its layout and on the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.batches: list[int] = []
        self.seconds = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(len(x))
        channels_last = self.conv.weight.is_contiguous(memory_format=torch.channels_last)
        # A call costs as much as eight images: up to 32 larger batches pay.
        an_image = 0.001 if channels_last else 0.003
        self.seconds += an_image * (8 + max(len(x), 2 * len(x) - 32))
        return self.norm(self.conv(x))


def test_the_faster_layout_and_batch_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Slow()
    monkeypatch.setattr(trial, "time", SimpleNamespace(perf_counter=lambda: model.seconds))
    found = fastest(model, torch.randn(100, 3, 5, 5))
    assert found.way == Way("channels_last", 32)
    assert found.seconds[Way("contiguous", 4)] == pytest.approx(0.009)
    assert found.seconds[Way("channels_last", 4)] == pytest.approx(0.003)
    assert str(found) == (
        "channels_last, batches of 32 (contiguous 9 ms an image, channels_last 1.25 ms an image)"
    )
    assert max(model.batches) == 64


@pytest.mark.parametrize(
    ("more", "runs", "layout"),
    [
        ({}, 4, "channels_last"),
        ({1: 0.5, 3: 0.028}, 6, "channels_last"),
        ({1: 1, 3: 1, 5: 1, 7: 0.0276}, 8, "channels_last"),
        ({1: 1, 3: 1, 5: 1, 7: 0.042}, 8, "contiguous"),
    ],
    ids=["undisturbed", "disturbed", "hardly slower", "clearly slower"],
)
def test_contiguous_is_taken_only_where_it_is_clearly_faster(
    more: dict[int, float], runs: int, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``more``: by how many seconds a run, in turn contiguous and channels_last, is disturbed."""
    model = Slow()
    calls: list[None] = []

    def seconds() -> float:
        calls.append(None)
        run, ends = divmod(len(calls) - 1, 2)
        return model.seconds + sum(more.get(k, 0) for k in range(run + ends))

    monkeypatch.setattr(trial, "time", SimpleNamespace(perf_counter=seconds))
    monkeypatch.setattr(trial, "_ENOUGH", 1e-9)
    found = fastest(model, torch.randn(4, 3, 5, 5))
    assert found.way == Way(layout, 64)  # type: ignore[arg-type]
    assert len(model.batches) == runs


@pytest.mark.parametrize(("images", "tried"), [(3, 3), (500, 4), (3000, 23), (10**6, 64)])
def test_a_trial_takes_few_of_the_images(images: int, tried: int) -> None:
    assert trial.images_to_try(images) == tried


@pytest.mark.parametrize(
    ("size", "batch"),
    [((3, 32, 32), 64), ((3, 224, 224), 16), ((3, 448, 300), 5), ((3, 8, 224, 224), 2)],
)
def test_the_larger_the_images_the_fewer_are_a_batch(size: tuple[int, ...], batch: int) -> None:
    network = nn.Flatten()
    for count in (1, 4):
        found = fastest(network, torch.zeros(count, *size), memory_format="contiguous")
        assert found.way.batch_size == max(count, batch)
        assert str(found) == f"contiguous, batches of {found.way.batch_size}"


def test_what_is_asked_for_is_not_tried() -> None:
    model = Slow()
    found = fastest(model, torch.randn(9, 3, 5, 5), memory_format="contiguous", batch_size=5)
    assert found.way == Way("contiguous", 5)
    assert not model.batches


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
