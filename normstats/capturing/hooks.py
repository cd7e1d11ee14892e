"""Watching one forward pass: hooks that leave nothing behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from normstats.capturing.calling import Images, call, shapes_in_words
from normstats.capturing.layers import Layer
from normstats.capturing.wrappers import running_eagerly
from normstats.errors import CaptureError, NormstatsError

# Called with the layer, its key, and what it was called with (or returned, for convolutions).
Read = Callable[[Layer, str, Sequence[Any]], None]


@contextmanager
def observed(model: nn.Module, layers: Sequence[Layer], read: Read) -> Iterator[None]:
    """Inside the block the model is in eval mode and ``read`` is called as its layers run.

    The key of a layer's first call in a forward pass is its name, of the second ``name#2``, and
    so on. One forward pass a block. Afterwards hooks are gone and every module is in its own mode
    again, whatever happened.
    """
    calls: Counter[str] = Counter()

    def key(layer: Layer) -> str:
        calls[layer.name] += 1
        again = calls[layer.name]
        return layer.name if again == 1 else f"{layer.name}#{again}"

    def hook(layer: Layer) -> RemovableHandle:
        # Registered last, so that what other hooks change is seen; and before a norm layer runs,
        # as the next layer may overwrite its output in place.
        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            read(layer, key(layer), (*args, *kwargs.values()))

        def after(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            read(layer, key(layer), (output,))

        if layer.reads_output:
            return layer.module.register_forward_hook(after)
        return layer.module.register_forward_pre_hook(before, with_kwargs=True)

    with ExitStack() as stack:
        stack.enter_context(eval_mode(model))
        for layer in layers:
            stack.enter_context(hook(layer))
        yield


def forward(model: nn.Module, images: Images, *, amp: bool = False) -> None:
    """One forward pass without gradients, in full precision unless ``amp``; no result is kept.

    Raises:
        CaptureError: the model failed on these images.
    """
    device = images[0].device
    try:
        # Not inference_mode: tensors that a model caches in passing must stay usable in training.
        with (
            torch.no_grad(),
            _precision(device, amp=amp),
            running_eagerly(model),
        ):
            call(model, images)
    except NormstatsError:
        raise
    except torch.OutOfMemoryError as error:
        raise CaptureError(
            f"There was not enough memory on {device} for a batch of {len(images)} images.",
            "Use a smaller batch: it changes no result (--batch-size).",
        ) from error
    except Exception as error:
        raise CaptureError(
            f"The model failed on {shapes_in_words(images)}: {type(error).__name__}: {error}",
            "Check that it takes images with this number of channels and of this size (--size for "
            "a trial, --resize and --crop for images), and nothing else; if it takes more, wrap "
            "it in a module whose forward takes one batch (N, C, H, W).",
        ) from error


def _precision(device: torch.device, *, amp: bool) -> AbstractContextManager[object]:
    # Autocast may be on around the call; on a device that does not know it, it cannot be.
    if not amp and not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=amp)


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Inside the block every module is in eval mode; afterwards each is in its own again."""
    # The attribute itself: an overridden train() may refuse, or merge weights on the way.
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, training in modes:
            module.training = training
