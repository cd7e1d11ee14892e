"""What a pickle asks for is found out without granting any of it."""

from __future__ import annotations

import argparse
import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from normstats.inputs.checkpoints.pickles import Global, PickleRefusedError, first_global, follow


class Payload:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


def test_plain_values_are_what_pickle_makes_of_them() -> None:
    value = [1, 2**40, -3.5, "text", None, True, False, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]
    assert follow(pickle.dumps(value, 2)).value == value


def test_shared_values_are_shared() -> None:
    shared = [1]
    found = follow(pickle.dumps([shared, shared], 2)).value
    assert found[0] is found[1]


def test_dictionaries_are_keys_and_values_in_turn() -> None:
    assert follow(pickle.dumps({"a": 1, "b": {"c": 2}}, 2)).value == ["a", 1, "b", ["c", 2]]


def test_calls_are_noted_and_not_made(tmp_path: Path) -> None:
    content = [Payload(tmp_path / "trace"), argparse.Namespace(lr=0.1), len]
    asked = follow(pickle.dumps(content, 2))
    assert asked.names == {f"{os.mkdir.__module__}.mkdir", "argparse.Namespace", "builtins.len"}
    made, space, function = asked.value
    assert made.called
    assert made.arguments == (str(tmp_path / "trace"),)
    assert not space.called
    assert space.built
    assert space.attributes == ["lr"]
    assert function == Global("builtins.len")
    assert asked.made == [made, space]
    assert not (tmp_path / "trace").exists()


def test_several_pickles_in_a_stream_are_followed_one_by_one() -> None:
    stream = io.BytesIO(b"".join(pickle.dumps(value, 2) for value in ("a", [1], {"b": 2})))
    assert [follow(stream).value for _ in range(3)] == ["a", [1], ["b", 2]]


def test_items_put_into_objects_are_noted() -> None:
    items = b"\x80\x02cmine\nSettings\n)\x81(U\x01aK\x01u."
    parts = b"\x80\x02cmine\nNames\n)\x81(K\x01K\x02e."
    assert follow(items).value.container is dict
    assert follow(parts).value.container is list


@pytest.mark.parametrize(
    ("pickled", "told"),
    [
        (pickle.dumps("a", 4), "protocol 4"),
        (pickle.dumps("a", 0), "instruction UNICODE"),
        (b"\x80\x02X\x05\0\0\0posixX\x05\0\0\0mkdir\x93.", "STACK_GLOBAL"),
        (b"\x80\x02K\x01)R.", "not a function"),
        (b"\x80\x02K\x01}b.", "has none"),
        (b"\x80\x02" + b"0" * 10, "instruction POP"),
        (b"\x80\x02}(K\x02\x85\x85K\x03u.", "tuples"),
    ],
)
def test_what_torch_save_does_not_write_is_refused(pickled: bytes, told: str) -> None:
    with pytest.raises(PickleRefusedError, match=told):
        follow(pickled)


@pytest.mark.parametrize("protocol", range(6))
def test_the_first_name_is_found_in_any_protocol(tmp_path: Path, protocol: int) -> None:
    pickled = pickle.dumps({"a": Payload(tmp_path / "trace")}, protocol)
    assert first_global(pickled) == f"{os.mkdir.__module__}.mkdir"
    assert first_global(pickled[:12]) is None
    assert not (tmp_path / "trace").exists()
