"""From what wraps a network to the eager modules inside, which hooks can see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from normstats.errors import CaptureError


def unwrap(module: nn.Module) -> nn.Module:
    """The network inside DataParallel, DistributedDataParallel and ``torch.compile`` wrappers."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def eager_module(model: nn.Module) -> nn.Module:
    """The unwrapped network, if its modules are the Python objects that hooks need.

    Raises:
        CaptureError: ``model`` is no module, or some part of it cannot be observed: TorchScript,
            quantized modules, and lazy ones that have no size yet.
    """
    if not isinstance(model, nn.Module):
        raise CaptureError(
            f"The model is a {type(model).__name__}, not a torch.nn.Module.",
            "Build the network first and load the weights into it.",
        )
    model = unwrap(model)
    for name, module in model.named_modules():
        _check_observable(module, f"Its part {name!r}" if name else "The model")
    return model


def _check_observable(module: nn.Module, what: str) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise CaptureError(
            f"{what} is TorchScript: its layers have lost their classes and run no hooks.",
            "Give the eager torch.nn.Module that it was scripted or traced from.",
        )
    if _is_quantized(module):
        raise CaptureError(
            f"{what} ({type(module).__name__}) is quantized: its activations are whole numbers, "
            "and normalization has been folded into its convolutions.",
            "Give the floating-point model that it was converted from.",
        )
    own = chain(module.parameters(recurse=False), module.buffers(recurse=False))
    if any(is_lazy(tensor) for tensor in own):
        raise CaptureError(
            f"{what} ({type(module).__name__}) is lazy and has no weights yet: their sizes come "
            "with the first batch.",
            "Run the model once on a batch, then load its weights.",
        )


def _is_quantized(module: nn.Module) -> bool:
    # Dynamically quantized modules take and return floating point, as do those that wait for
    # quantization (FloatFunctional).
    home, kind = type(module).__module__, type(module).__name__
    quantized = home.startswith(("torch.ao.nn.quantized.", "torch.ao.nn.intrinsic.quantized."))
    floating = ".dynamic." in home or kind.endswith(("FloatFunctional", "PackedParams"))
    return quantized and not floating


def walk(model: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Every (name, module), a shared module under each of its names; wrappers leave no trace."""
    model = unwrap(model)
    yield name, model
    for child, module in model._modules.items():  # named_children() drops shared modules
        if module is not None:
            yield from walk(module, f"{name}.{child}" if name else child)


def running_eagerly(model: nn.Module) -> AbstractContextManager[object]:
    """Inside the block, compiled parts of ``model`` run as plain Python, so that hooks fire."""
    compiled = any(
        hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )
    # Entering it imports the compiler, which takes seconds: only where something is compiled.
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()
