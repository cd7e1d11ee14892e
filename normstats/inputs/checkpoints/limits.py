"""Whether what a pickle asks ``torch.load`` to make is within what the file holds.

Every call is looked at: tensors, whose extent must lie within their storage; storages, which must
be there in full; and what copies its arguments, which a pickle can repeat at will.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from normstats.inputs.checkpoints.inert import MADE_BY_TORCH
from normstats.inputs.checkpoints.pickles import (
    Asked,
    Global,
    Made,
    Persistent,
    PickleRefusedError,
    check_keys,
)

_ITEM_BYTES = {
    "ComplexDouble": 16,
    **dict.fromkeys(("ComplexFloat", "Double", "Long"), 8),
    **dict.fromkeys(("Float", "Int", "QInt32"), 4),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Bool", "Byte", "Char", "QInt8", "QUInt8", "QUInt4x2", "QUInt2x4"), 1),
    "Untyped": 1,
}
_REBUILD_TENSOR = "torch._utils._rebuild_tensor"
_UNTYPED_TENSOR = f"{_REBUILD_TENSOR}_v3"
_TENSORS = {_REBUILD_TENSOR, f"{_REBUILD_TENSOR}_v2", _UNTYPED_TENSOR}
_TYPED = "torch._tensor._rebuild_from_type_v2"
_TENSOR_CLASSES = ("Tensor", "Storage", "Parameter", "Buffer", ".Size", ".device")
_STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")
_COPYING = {"collections.Counter", "collections.OrderedDict", "builtins.set", "torch.Size"}
# A state dict's own is _metadata; any other could hide a method.
_ATTRIBUTE = re.compile(r"_[a-z]")
# Other encodings are slow, or import what they are named after.
_ENCODINGS = ("latin1", "latin-1", "ascii", "utf-8", "utf8")
_BYTES_AN_ITEM = 64
_MOST_COPIED = 256 << 20


def check_limits(asked: Asked, sizes: Mapping[str, int] | None) -> int:
    """Refuse a pickle that asks for more than its file can hold; how much it asks for, in bytes.

    Args:
        asked: all names in it are welcome.
        sizes: how many bytes each storage has, where that is known.

    Raises:
        PickleRefusedError: for sizes that lie, or calls that torch.save writes otherwise.
    """
    needed: dict[object, tuple[int, int]] = {}
    for persistent in asked.persistent:
        storage = _storage(persistent)
        described = storage.size, storage.item_bytes
        if storage.size and needed.setdefault(storage.key, described) != described:
            raise PickleRefusedError(f"it describes storage {storage.key!r} in two ways")
        if sizes is not None and storage.size > sizes.get(str(storage.key), -1):
            raise PickleRefusedError(
                f"it asks for {storage.size:,} bytes of storage {storage.key!r}, which has "
                f"{sizes.get(str(storage.key), 0):,}"
            )
    copied = 0
    for made in asked.made:
        copied += _copied(made)
        if copied > _MOST_COPIED:
            raise PickleRefusedError("its pickle copies the same values again and again")
    return sum(size for size, _ in needed.values())


@dataclass(frozen=True)
class _Storage:
    """A storage, of which a tensor may see a part: ``visible`` of all its ``items``."""

    key: object
    items: int
    visible: int
    item_bytes: int

    @property
    def size(self) -> int:
        return self.items * self.item_bytes


def _storage(persistent: Persistent) -> _Storage:
    match persistent.description:
        case ["storage" | b"storage", Global(kind), str() | int() as key, _, int(items), *view]:
            module, _, name = kind.rpartition(".")
            item_bytes = _ITEM_BYTES.get(name.removesuffix("Storage"))
            visible = _visible(items, view)
            if module in _STORAGE_MODULES and item_bytes and visible is not None:
                return _Storage(key, items, visible, item_bytes)
    raise PickleRefusedError("it describes a storage in a way that torch.save does not")


def _visible(items: int, view: list[Any]) -> int | None:
    match view:
        case [] | [None] if items >= 0:
            return items
        case [(_, int(start), int(length))] if start >= 0 and 0 <= length <= items - start:
            return length  # only in the format before zip archives
    return None


def _copied(made: Made) -> int:
    """About how many bytes a call copies, after a look at what it is given."""
    if not made.called:
        _refuse_bare_tensors(made)
    elif made.built and made.name in MADE_BY_TORCH - _COPYING:
        raise PickleRefusedError(f"it gives a state to what {made.name} returns")
    elif made.name in _TENSORS:
        _check_tensor(made)
    elif made.name == _TYPED:
        return _copied_by_typed(made)
    elif made.name in _COPYING:
        return _copied_by_container(made)
    elif made.name == "_codecs.encode":
        return _copied_by_encoding(made)
    return 0


def _refuse_bare_tensors(made: Made) -> None:
    """torch.load would make them, of any size; torch.save has them rebuilt from a storage."""
    if made.name.startswith("torch.") and made.name.endswith(_TENSOR_CLASSES):
        raise PickleRefusedError(f"it makes a {made.name} in another way than torch.save")


def _check_tensor(made: Made) -> None:
    match made.arguments:
        case (Persistent() as persistent, int(offset), size, stride, *rest):
            storage = _storage(persistent)
            lengths, strides = _integers(size), _integers(stride)
            available = storage.visible
            if made.name == _UNTYPED_TENSOR:
                available = available * storage.item_bytes // _item_bytes(rest)
            if min((offset, *lengths, *strides)) < 0 or (
                _extent(offset, lengths, strides) > available
            ):
                raise PickleRefusedError(
                    f"it has a tensor of shape {lengths[:9]} and strides {strides[:9]} from item "
                    f"{offset} on in a storage of {available:,}"
                )
        case _:
            raise PickleRefusedError("it rebuilds a tensor in a way that torch.save does not")


def _integers(value: Any) -> tuple[int, ...]:
    match value:
        case Made("torch.Size", (items,)):
            value = items
    if not isinstance(value, (tuple, list)) or not all(isinstance(item, int) for item in value):
        raise PickleRefusedError("it has a tensor whose shape is not made of numbers")
    return tuple(value)


def _extent(offset: int, lengths: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """How many items from the beginning of its storage a tensor reaches."""
    if len(lengths) != len(strides):
        raise PickleRefusedError("it has a tensor with more strides than dimensions, or fewer")
    if 0 in lengths:
        return 0
    return offset + 1 + sum((n - 1) * s for n, s in zip(lengths, strides, strict=True))


def _item_bytes(rest: list[Any]) -> int:
    match rest:
        case [_, _, Global(name), *_]:
            dtype = getattr(torch, name.removeprefix("torch."), None)
            if isinstance(dtype, torch.dtype):
                return dtype.itemsize
    raise PickleRefusedError("it has a tensor of a type that this version of torch does not know")


def _copied_by_typed(made: Made) -> int:
    match made.arguments:
        case (Global(name), Global(), tuple(arguments), _) if name in MADE_BY_TORCH - {_TYPED}:
            return _copied(Made(name, arguments, called=True))
    raise PickleRefusedError("it rebuilds a tensor in a way that torch.save does not")


def _copied_by_container(made: Made) -> int:
    if not all(isinstance(name, str) and _ATTRIBUTE.match(name) for name in made.attributes):
        raise PickleRefusedError(f"it gives a {made.name} attributes that it does not have")
    match made.arguments:
        case ():
            return 0
        case [tuple(items) | list(items)]:
            pairs = made.name == "collections.OrderedDict"
            check_keys([next(iter(item), None) if pairs else item for item in items])
            return _BYTES_AN_ITEM * len(items)
    raise PickleRefusedError(f"it makes a {made.name} of something else than items")


def _copied_by_encoding(made: Made) -> int:
    match made.arguments:
        case (str(text), *encoding) if encoding in [[], *([name] for name in _ENCODINGS)]:
            return 2 * len(text)
    raise PickleRefusedError("it encodes a text in a way that pickle does not")
