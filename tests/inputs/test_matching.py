"""Names and shapes against an architecture's, without a network."""

from __future__ import annotations

import pytest

from normstats.inputs.checkpoints.matching import best_prefix, other_heads, prefixes, stripped

NET = {
    "conv.weight": (4, 3, 3, 3),
    "bn.weight": (4,),
    "bn.running_mean": (4,),
    "bn.num_batches_tracked": (),
    "fc.weight": (10, 4),
    "fc.bias": (10,),
}


def under(prefix: str, names: dict[str, tuple[int, ...]] = NET) -> dict[str, tuple[int, ...]]:
    return {prefix + name: shape for name, shape in names.items()}


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "_orig_mod.module.", "model.backbone.", "resnet.", "student.net.", "a.b.c.d."],
)
def test_the_prefix_is_found(prefix: str) -> None:
    given = under(prefix)
    assert best_prefix(given, NET) == prefix
    assert stripped(given, prefix, NET) == (NET, [])


def test_prefixes_are_listed_the_likeliest_first() -> None:
    given = [*under("mine.net."), *(f"module.model.{n}" for n in range(3)), "encoder.x", "loss"]
    assert prefixes(given) == ["", "module.", "encoder.", "module.model.", "mine.", "mine.net."]
    assert prefixes([]) == [""]
    assert prefixes(["a", "b"]) == [""]


def test_of_twins_under_unusual_prefixes_none_is_taken() -> None:
    assert best_prefix(under("student.") | under("teacher."), NET) == ""


def test_shapes_decide_between_equal_names() -> None:
    wide = {name: tuple(2 * n for n in shape) for name, shape in NET.items()}
    assert best_prefix(under("model.", wide) | under("net."), NET) == "net."


def test_what_has_no_prefix_stays_where_it_is_wanted() -> None:
    given = {("" if n.startswith("fc") else "backbone.") + n: n for n in NET} | {"loss": "loss"}
    given["total_ops"] = "counter"
    assert stripped(given, "backbone.", NET) == ({n: n for n in NET}, ["loss"])


@pytest.mark.parametrize(
    ("changes", "heads"),
    [
        ({}, {}),
        ({"fc.weight": (7, 4), "fc.bias": (7,)}, {"fc": 7}),
        ({"fc.weight": (7, 4)}, {}),
        ({"fc.weight": (7, 5), "fc.bias": (7,)}, {}),
        ({"fc.weight": (0, 4), "fc.bias": (0,)}, {}),
        ({"fc.weight": (), "fc.bias": ()}, {}),
        ({"bn.weight": (5,), "bn.running_mean": (5,)}, {}),
        ({"bn.num_batches_tracked": (1,)}, {}),
        ({"fc.weight": (7, 4), "fc.bias": (7,), "bn.weight": (5,)}, {}),
    ],
)
def test_heads(changes: dict[str, tuple[int, ...]], heads: dict[str, int]) -> None:
    assert other_heads(NET | changes, NET) == heads


def test_several_heads_and_convolutions() -> None:
    wanted = {"a.weight": (21, 8, 1, 1), "a.bias": (21,), "b.weight": (21, 9)}
    given = {"a.weight": (5, 8, 1, 1), "a.bias": (5,), "b.weight": (3, 9)}
    assert other_heads(given, wanted) == {"a": 5, "b": 3}
    assert other_heads({"b.weight": (3, 9)}, wanted) == {"b": 3}
