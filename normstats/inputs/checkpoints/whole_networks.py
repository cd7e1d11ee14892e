"""Whole networks in a checkpoint, saved with ``torch.save(model)``: their weights, without them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from torch import Tensor

from normstats.errors import CheckpointError
from normstats.inputs.checkpoints.hints import SAVE_WEIGHTS
from normstats.inputs.checkpoints.inert import Inert

_MOST_MODULES = 50_000
_LONGEST_NAME = 1000
_PARTS = ("_parameters", "_buffers", "_modules")


def is_network(value: Any) -> TypeGuard[Inert]:
    """Whether a stand-in has the attributes of a ``torch.nn.Module``."""
    return isinstance(value, Inert) and all(
        isinstance(value.attributes.get(part), Mapping) for part in _PARTS
    )


def network_weights(network: Inert, shown: str) -> dict[str, Tensor]:
    """What the network's ``state_dict()`` would return.

    Raises:
        CheckpointError: the network contains itself.
    """
    weights: dict[str, Tensor] = {}
    waiting: list[tuple[str, Any]] = [("", network)]
    visited = 0
    while waiting:
        prefix, module = waiting.pop()
        if not is_network(module):
            continue
        visited += 1
        if visited > _MOST_MODULES or len(prefix) > _LONGEST_NAME:
            raise CheckpointError(f"{shown} holds a network that contains itself.", SAVE_WEIGHTS)
        weights.update(_own_weights(prefix, module))
        children = module.attributes["_modules"].items()
        waiting += [(f"{prefix}{name}.", child) for name, child in reversed(children)]
    return weights


def _own_weights(prefix: str, module: Inert) -> Iterator[tuple[str, Tensor]]:
    temporary = module.attributes.get("_non_persistent_buffers_set") or ()
    for part in ("_parameters", "_buffers"):
        for name, tensor in module.attributes[part].items():
            if isinstance(tensor, Tensor) and name not in temporary:
                yield f"{prefix}{name}", tensor.detach()
