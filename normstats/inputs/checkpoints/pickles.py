"""What a pickle asks for, found out without granting it.

A pickle is a program: its instructions name functions, call them and fill what they return. Here
the instructions are followed as ``torch.load`` follows them, but with nothing behind the names: a
call leaves a note of what was to be called, with what. Nothing is imported and nothing is run.
"""

from __future__ import annotations

import pickletools

# As torch.load maps them: the names that Python 2 had for what is meant.
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

# A ResNet-152 with its optimizer takes 70,000. A byte of instructions can make an object of a
# hundred, so that this is also what keeps the memory within bounds.
_MOST_INSTRUCTIONS = 1_000_000
_MOST_BYTES = 256 << 20
_MOST_NAMES = 500
_LONGEST_KEY = 100


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function, by name."""

    name: str


@dataclass(slots=True, eq=False)
class Made:
    """Something that the pickle wants made.

    Attributes:
        name: of the class or function.
        arguments: what it is given.
        called: whether it is called (what ``__reduce__`` leads to), not only instantiated.
        built: whether the result is given a state.
        attributes: the names in that state.
        container: ``list`` or ``dict`` where items are put into it.
    """

    name: str
    arguments: tuple[Any, ...]
    called: bool
    built: bool = False
    attributes: list[Any] = field(default_factory=list)
    container: type | None = None


@dataclass(slots=True, eq=False)
class Persistent:
    """What the pickle leaves to its reader: a storage, by its description."""

    description: Any


class Items(list[Any]):
    """A dictionary, as a list of its keys and values in turn."""


@dataclass(slots=True)
class Asked:
    """All that a pickle asks for, and what it would return."""

    names: set[str] = field(default_factory=set)
    made: list[Made] = field(default_factory=list)
    persistent: list[Persistent] = field(default_factory=list)
    value: Any = None


class PickleRefusedError(Exception):
    """The pickle is sound, but no checkpoint would have written it; the message says why."""


def follow(stream: BinaryIO | bytes) -> Asked:
    """Follow a pickle's instructions to their end, leaving the stream behind it.

    Raises:
        PickleRefusedError: it has instructions that torch.save does not write, or too many.
        Exception: of many kinds, where it is cut off or damaged.
    """
    machine = _Machine()
    for count, (instruction, argument, place) in enumerate(pickletools.genops(stream)):
        if count > _MOST_INSTRUCTIONS:
            raise PickleRefusedError(
                f"its pickle has more than {_MOST_INSTRUCTIONS:,} instructions"
            )
        if place is not None and place > _MOST_BYTES:
            raise PickleRefusedError(f"its pickle is longer than {_MOST_BYTES >> 20} MB")
        literal = _LITERALS.get(instruction.name)
        if literal is not None:
            machine.stack.append(literal(argument))
            continue
        step = _STEPS.get(instruction.name)
        if step is None:
            raise PickleRefusedError(
                f"its pickle uses the instruction {instruction.name} (of protocol "
                f"{instruction.proto}), which torch.save does not write by default"
            )
        step(machine, argument)
    machine.asked.value = machine.stack.pop()
    return machine.asked


def check_keys(keys: Sequence[Any]) -> None:
    """Refuse keys that take long to hash, or overflow the stack: long tuples, tuples in tuples.

    Raises:
        PickleRefusedError: there is one.
    """
    for key in keys:
        if isinstance(key, tuple) and (
            len(key) > _LONGEST_KEY or any(isinstance(part, tuple) for part in key)
        ):
            raise PickleRefusedError("its pickle has long or nested tuples for a dictionary's keys")


def first_global(stream: BinaryIO | bytes) -> str | None:
    """The first class or function that any pickle names, of whatever protocol, if it is legible."""
    words: list[str] = []
    try:
        for instruction, argument, _ in pickletools.genops(stream):
            if instruction.name in {"GLOBAL", "INST"}:
                return _mapped(str(argument))
            if instruction.name == "STACK_GLOBAL":
                return ".".join(words)
            if isinstance(argument, str):
                words = [*words[-1:], argument]
    except Exception:  # a damaged pickle fails in many ways, and is refused all the same
        return None
    return None


def _mapped(argument: str) -> str:
    module, _, name = argument.partition(" ")
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


_LITERALS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"),
        lambda value: value,
    ),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: Items(),
}


class _Machine:
    def __init__(self) -> None:
        self.asked = Asked()
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def mark(self, _: Any) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marked.pop()
        return items

    def tuple_since_mark(self, _: Any) -> None:
        items = self.since_mark()
        self.stack.append(tuple(items))

    def put(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def get(self, place: int) -> None:
        self.stack.append(self.memo[place])

    def name(self, argument: str) -> None:
        name = _mapped(argument)
        self.asked.names.add(name)
        if len(self.asked.names) > _MOST_NAMES:
            raise PickleRefusedError(f"its pickle names more than {_MOST_NAMES} classes")
        self.stack.append(Global(name))

    def persistent(self, _: Any) -> None:
        found = Persistent(self.stack.pop())
        match found.description:
            case ["module", Global(name), *_]:
                raise PickleRefusedError(
                    f"it holds a whole network, of the class {name}, in the format before PyTorch "
                    "1.6, which keeps its code beside it"
                )
        self.asked.persistent.append(found)
        self.stack.append(found)

    def call(self, _: Any) -> None:
        self.make(called=True)

    def instantiate(self, _: Any) -> None:
        self.make(called=False)

    def make(self, *, called: bool) -> None:
        arguments, target = self.stack.pop(), self.stack.pop()
        if not isinstance(target, Global) or not isinstance(arguments, tuple):
            raise PickleRefusedError("its pickle calls something that is not a function")
        made = Made(target.name, arguments, called)
        self.asked.made.append(made)
        self.stack.append(made)

    def build(self, _: Any) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, Made):
            raise PickleRefusedError("its pickle gives a state to something that has none")
        target.built = True
        target.attributes += state[::2] if isinstance(state, Items) else [None]

    def append(self, _: Any) -> None:
        item = self.stack.pop()
        self.fill(list, [item])

    def appends(self, _: Any) -> None:
        items = self.since_mark()
        self.fill(list, items)

    def set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        check_keys([key])
        self.fill(dict, [key, value])

    def set_items(self, _: Any) -> None:
        items = self.since_mark()
        check_keys(items[::2])
        self.fill(dict, items)

    def fill(self, container: type[Any], items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Made):
            target.container = container
        else:
            target.extend(items)


def _tuple_of(length: int) -> Callable[[_Machine, Any], None]:
    def step(machine: _Machine, _: Any) -> None:
        items = [machine.stack.pop() for _ in range(length)]
        machine.stack.append(tuple(reversed(items)))

    return step


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "STOP": lambda machine, _: None,
    "MARK": _Machine.mark,
    "TUPLE": _Machine.tuple_since_mark,
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.name,
    "BINPERSID": _Machine.persistent,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.instantiate,
    "BUILD": _Machine.build,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
}
