"""Each trap of hooks that other tools fell into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from capturing.truth import numpy_moments, randomized
from torch import Tensor, nn

from normstats.capturing import capture
from normstats.errors import CaptureError, LayerError


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))


def hooks_of(model: nn.Module) -> list[int]:
    return [
        len(hooks)
        for module in model.modules()
        for hooks in (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._forward_hooks_with_kwargs,
            module._forward_pre_hooks_with_kwargs,
            module._forward_hooks_always_called,
        )
    ]


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def state_of(model: nn.Module) -> dict[str, Any]:
    return {
        "modes": [module.training for module in model.modules()],
        "hooks": hooks_of(model),
        "tensors": {name: (id(t), t._version) for name, t in tensors_of(model).items()},
        "momentum": [getattr(module, "momentum", None) for module in model.modules()],
    }


def test_in_place_activation_after_the_norm() -> None:
    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.zero_()

    class Identity(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return x  # its output is its input, which the next module overwrites

    model = nn.Sequential(nn.Conv2d(3, 4, 3), Identity(4), InPlace())
    images = torch.randn(2, 3, 8, 8)
    moments = capture(model, [images])
    np.testing.assert_allclose(
        moments["1"].mean, numpy_moments(model[0](images))[0], rtol=1e-5, atol=1e-6
    )


def test_what_another_pre_hook_changes_is_seen() -> None:
    model = small()
    model[1].register_forward_pre_hook(lambda _, args: (args[0] * 0 + 7,))
    moments = capture(model, torch.randn(4, 3, 8, 8).split(2))
    assert (moments["1"].mean == 7).all()


def test_a_module_called_twice_and_its_aliases() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.norm = nn.BatchNorm2d(3)
            self.same = nn.ModuleList([self.norm])

        def forward(self, x: Tensor) -> Tensor:
            return self.same[0](self.conv(self.norm(x)))

    model = randomized(Twice())
    images = torch.randn(4, 3, 6, 6)
    moments = capture(model, images.split(2))
    assert list(moments) == ["norm", "norm#2"]
    assert all(layer.aliases == ("same.0",) for layer in moments.values())
    second = model.conv(model.eval().norm(images))
    for name, x in (("norm", images), ("norm#2", second)):
        np.testing.assert_allclose(moments[name].mean, numpy_moments(x)[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(moments[name].variance, numpy_moments(x)[1], rtol=1e-4)
    assert list(capture(model, [images], layers="same.*")) == ["norm", "norm#2"]


def test_the_model_is_left_as_it_was() -> None:
    model = randomized(nn.Sequential(small(), nn.BatchNorm2d(4, momentum=None), nn.Dropout()))
    model[0][1].eval()  # each module has its own mode
    assert model.training
    before = state_of(model)
    values = {name: tensor.clone() for name, tensor in tensors_of(model).items()}
    capture(model, torch.randn(6, 3, 8, 8).split(2))
    assert state_of(model) == before  # no buffer was even written to: versions are the same
    assert all(torch.equal(values[name], t) for name, t in tensors_of(model).items())


@pytest.mark.parametrize("broken_batch", [0, 1])
def test_a_model_that_raises_is_left_as_it_was(broken_batch: int) -> None:
    class Fails(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            if self.calls == broken_batch:
                raise ValueError("no such thing")
            self.calls += 1
            return x

    model = nn.Sequential(small(), Fails())
    model[0][1].eval()
    before = state_of(model)
    with pytest.raises(CaptureError, match=r"\(2, 3, 8, 8\).*ValueError: no such thing") as caught:
        capture(model, torch.randn(6, 3, 8, 8).split(2))
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.hint
    assert state_of(model) == before


def test_between_batches_the_model_is_as_the_caller_left_it() -> None:
    model = small()
    before = state_of(model)
    seen = []

    def batches() -> Iterator[Tensor]:
        for _ in range(3):
            seen.append((state_of(model) == before, torch.is_grad_enabled()))
            model.eval()(torch.randn(2, 3, 8, 8))  # a call of its own is not recorded
            model.train()
            yield torch.randn(2, 3, 8, 8)

    assert capture(model, batches()).images == 6
    assert seen == [(True, True)] * 3


def test_eval_mode_and_no_gradients_inside() -> None:
    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((self.training, torch.is_grad_enabled(), torch.is_inference(x)))
            return x

    seen: list[tuple[bool, bool, bool]] = []
    capture(nn.Sequential(Spy(), small()).train(), [torch.randn(2, 3, 8, 8)])
    assert seen == [(False, False, False)]


def test_what_the_model_caches_can_be_trained_with() -> None:
    class Caches(nn.Module):
        cache: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            if self.cache is None:
                self.cache = torch.ones_like(x)
            return x * self.cache

    model = nn.Sequential(nn.Conv2d(3, 3, 1), Caches(), small())
    capture(model, [torch.randn(2, 3, 8, 8)])
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    assert model[0].weight.grad is not None


@pytest.mark.parametrize("amp", [False, True])
def test_autocast_only_if_asked(amp: bool) -> None:
    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.dtype)
            return x

    seen: list[torch.dtype] = []
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Spy(), nn.BatchNorm2d(4))
    with torch.autocast("cpu", enabled=not amp):
        moments = capture(model, [torch.randn(2, 3, 8, 8)], amp=amp)
    assert seen == [torch.bfloat16 if amp else torch.float32]
    assert moments["2"].mean.dtype == np.float32


def test_keyword_and_tuple_inputs() -> None:
    class InTuples(nn.BatchNorm2d):
        def forward(self, inputs: tuple[Tensor]) -> Tensor:
            return super().forward(inputs[0])

    class Keywords(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)
            self.other = InTuples(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.other((self.norm(input=x),))

    images = torch.randn(2, 3, 8, 8)
    moments = capture(Keywords(), [images])
    assert list(moments) == ["norm", "other"]
    np.testing.assert_allclose(moments["norm"].mean, numpy_moments(images)[0], rtol=1e-5, atol=1e-6)


def test_several_tensors_are_an_error_that_names_the_layer() -> None:
    class Conditional(nn.BatchNorm2d):
        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            return super().forward(x) * scale

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.plain = nn.BatchNorm2d(3)
            self.conditional = Conditional(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conditional(self.plain(x), scale=x)

    model, images = Net(), torch.randn(2, 3, 8, 8)
    before = state_of(model)
    with pytest.raises(LayerError, match=r"conditional \(Conditional\) was called with 2 tensors"):
        capture(model, [images])
    assert state_of(model) == before
    assert list(capture(model, [images], layers="plain")) == ["plain"]


def test_what_was_captured_does_not_change_with_the_model() -> None:
    model = randomized(small())
    layer = capture(model, [torch.randn(2, 3, 8, 8)])["1"]
    vectors = [layer.gamma, layer.beta, layer.running_mean, layer.running_variance]
    assert all(vector is not None and vector.all() for vector in vectors)
    for tensor in tensors_of(model).values():
        tensor.detach().zero_()
    assert all(vector is not None and vector.all() for vector in vectors)


def test_an_uneven_last_batch_changes_nothing() -> None:
    model, images = randomized(small()), torch.randn(7, 3, 8, 8)
    whole, parts = capture(model, [images]), capture(model, images.split(3))
    np.testing.assert_allclose(parts["1"].mean, whole["1"].mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(parts["1"].variance, whole["1"].variance, rtol=1e-5)


def test_activations_are_not_kept() -> None:
    """Between batches nothing of a batch is alive but its (n, C) moments."""
    from weakref import ref

    class Remembers(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x + 1
            alive.append(ref(y))
            return y

    alive: list[ref[Tensor]] = []
    still = []
    model = nn.Sequential(Remembers(), nn.BatchNorm2d(3))
    batches = (torch.randn(2, 3, 8, 8) for _ in range(3))
    capture(model, batches, progress=lambda _: still.append([a() is not None for a in alive]))
    assert still == [[False], [False] * 2, [False] * 3]


def test_spatial_is_the_smallest_map() -> None:
    images = [torch.randn(2, 3, size, size + 1) for size in (9, 6, 12)]
    moments = capture(nn.Sequential(nn.BatchNorm2d(3)), images)
    assert moments["0"].spatial == (6, 7)
    expected = np.concatenate([numpy_moments(batch)[0] for batch in images])
    np.testing.assert_allclose(moments["0"].mean, expected, rtol=1e-5, atol=1e-6)


def test_progress_counts_images() -> None:
    done: list[int] = []
    capture(small(), torch.randn(7, 3, 8, 8).split(3), progress=done.append)
    assert done == [3, 6, 7]
