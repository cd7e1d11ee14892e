"""Running what builds a network, and saying what went wrong where it fails."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from normstats.errors import ArchitectureError
from normstats.printable import first_few, printable

# What torchvision, timm, segmentation_models_pytorch and their like call the weights they fetch.
_NO_WEIGHTS = {
    "weights": None,
    "weights_backbone": None,
    "encoder_weights": None,
    "pretrained": False,
    "pretrained_backbone": False,
}


def build_with(builder: Callable[..., Any], shown: str, **options: Any) -> nn.Module:
    """The network that ``builder()`` returns; asked for no pretrained weights.

    Args:
        builder: a function or class that needs no arguments but ``options``.
        shown: what to call it in messages.

    Raises:
        ArchitectureError: it needs arguments, fails, or returns something else.
    """
    arguments = {**_arguments(builder, shown), **options}
    try:
        model = builder(**arguments)
    except (Exception, SystemExit) as error:
        raise ArchitectureError(
            f"{shown} failed: {what_happened(error)}.", "Mend the function, or give another."
        ) from error
    if not isinstance(model, nn.Module):
        raise ArchitectureError(
            f"{shown} returned a {type(model).__name__}, not a torch.nn.Module.",
            "Give a function that returns the network.",
        )
    return model


def _arguments(builder: Callable[..., Any], shown: str) -> dict[str, Any]:
    try:
        signature = inspect.signature(builder)
    except (TypeError, ValueError):  # some builtins have none
        return {}
    arguments = {name: _NO_WEIGHTS[name] for name in signature.parameters if name in _NO_WEIGHTS}
    needed = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and name not in arguments
    ]
    if needed:
        raise ArchitectureError(
            f"{shown} needs arguments: {first_few(needed)}.",
            "Write a function without arguments that calls it with them, and give that.",
        )
    return arguments


def what_happened(error: BaseException) -> str:
    """The error, and the line it came from."""
    told = f"{type(error).__name__}: {printable(error)}".removesuffix(": ").removesuffix(".")
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames:  # a syntax error names its line itself
        return told
    return f"{told} ({printable(Path(frames[-1].filename).name)}, line {frames[-1].lineno})"
