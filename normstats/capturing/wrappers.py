"""From what wraps a network to the eager modules inside, which hooks can see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

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
        CaptureError: ``model`` is no module, or it is TorchScript, entirely or in part.
    """
    if not isinstance(model, nn.Module):
        raise CaptureError(
            f"The model is a {type(model).__name__}, not a torch.nn.Module.",
            "Build the network first and load the weights into it.",
        )
    model = unwrap(model)
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            what = f"Its part {name!r}" if name else "The model"
            raise CaptureError(
                f"{what} is TorchScript: its layers have lost their classes and run no hooks.",
                "Give the eager torch.nn.Module that it was scripted or traced from.",
            )
    return model


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
