"""Where in a checkpoint the weights are, and what it says of their architecture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from normstats.errors import CheckpointError
from normstats.inputs.checkpoints.hints import SAVE_WEIGHTS
from normstats.inputs.checkpoints.inert import Inert, class_of
from normstats.inputs.checkpoints.whole_networks import is_network, network_weights
from normstats.printable import first_few, printable

# Where training programs put the weights; of several, the first is used. Those that were trained
# come before their running averages: it is they that the normalization layers were trained with.
ENTRIES = (
    *("state_dict", "model", "model_state_dict", "net", "module", "network", "weights", "params"),
    *("state_dict_ema", "model_ema", "ema_state_dict", "params_ema", "ema"),
)
_DEEPEST = 3

# Where they put their settings, and what they call the architecture there.
_SETTINGS = ("args", "hyper_parameters", "hparams", "config", "opt")
_ARCHITECTURE = ("arch", "architecture", "model_name", "model")


def find_weights(content: Any, shown: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The weights in what a training program saved, and notes on where they were.

    Raises:
        CheckpointError: there are none, or no telling which.
    """
    if is_network(content):
        return network_weights(content, shown), (_whole(content),)
    if not isinstance(content, Mapping):
        what = class_of(content) if isinstance(content, Inert) else type(content).__name__
        raise CheckpointError(
            f"{shown} holds a {printable(what)}, not a dictionary of weights.", SAVE_WEIGHTS
        )
    found = list(_state_dicts(content, (), shown))
    if not found:
        found = [
            ((_key(name),), tensors)
            for name, value in content.items()
            if (tensors := _tensors(value, shown))
        ]
        if len(found) > 1:
            raise CheckpointError(
                f"{shown} holds weights under several unknown names: "
                f"{first_few(trail[0] for trail, _ in found)}.",
                'Save the ones to analyze under "state_dict".',
            )
    if not found:
        raise CheckpointError(
            f"{shown} holds no weights; its entries are "
            f"{first_few(map(_key, content)) or 'none at all'}.",
            SAVE_WEIGHTS,
        )
    (trail, tensors), *others = found
    return tensors, tuple(_notes(content, trail, [".".join(other) for other, _ in others]))


def find_architecture(content: Any) -> str | None:
    """The architecture's name, where it is stored beside the weights or among the settings."""
    if not isinstance(content, Mapping):
        return None
    settings = [content.get(name) for name in _SETTINGS]
    for holder, names in [(content, ("arch",)), *((held, _ARCHITECTURE) for held in settings)]:
        values = holder.attributes if isinstance(holder, Inert) else holder
        for name in names:
            value = values.get(name) if isinstance(values, Mapping) else None
            if isinstance(value, str) and value:
                return value
    return None


def _state_dicts(
    content: Mapping[Any, Any], trail: tuple[str, ...], shown: str
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Every state dict under the usual entries, nested too, in the order of ``ENTRIES``."""
    inside = []
    for name in ENTRIES:
        value = content.get(name)
        if is_network(value):
            inside.append(((*trail, name), network_weights(value, shown)))
        elif isinstance(value, Mapping) and len(trail) < _DEEPEST:
            inside += _state_dicts(value, (*trail, name), shown)
    if inside:
        yield from inside
    elif tensors := _tensors(content, shown):
        yield trail, tensors


def _tensors(value: Any, shown: str) -> dict[str, Tensor]:
    if is_network(value):
        return network_weights(value, shown)
    if not isinstance(value, Mapping):
        return {}
    tensors = {
        name: tensor.detach()
        for name, tensor in value.items()
        if isinstance(name, str) and isinstance(tensor, Tensor)
    }
    # Random states are tensors too, of whole numbers.
    return tensors if any(t.is_floating_point() for t in tensors.values()) else {}


def _notes(content: Mapping[Any, Any], trail: tuple[str, ...], others: list[str]) -> Iterator[str]:
    if others or (trail and trail[0] not in ENTRIES):
        also = f"; it also holds {first_few(others)}" if others else ""
        yield f"The weights were taken from {printable('.'.join(trail))!r}{also}."
    inner: Any = content
    for name in trail:
        inner = inner[name]
    if is_network(inner):
        yield _whole(inner)


def _whole(network: Inert) -> str:
    return (
        f"The file holds a whole network of the class {printable(class_of(network))}: its weights "
        "were read, its code was not run."
    )


def _key(name: object) -> str:
    return name[:80] if isinstance(name, str) else type(name).__name__
