"""Methods as cells of the (images, channels) plane."""

import pytest

from normstats.errors import MethodError
from normstats.methods import DEFAULT_METHODS, Method, parse_methods


@pytest.mark.parametrize(
    ("text", "batch", "groups_of_32"),
    [
        ("bn@8", 8, 32),
        ("in", 1, 32),
        ("ln", 1, 1),
        ("gn:8", 1, 8),
        ("gn:16ch", 1, 2),
        ("bgn@4:8", 4, 8),
        ("bgn@4:8ch", 4, 4),
        ("running", None, 32),
    ],
)
def test_cells(text: str, batch: int | None, groups_of_32: int) -> None:
    method = Method.parse(text)
    assert str(method) == text
    assert method.batch == batch
    assert method.groups_in(32) == groups_of_32


@pytest.mark.parametrize(
    "text",
    [
        " ",
        "bn",
        "bn@",
        "bn@x",
        "bn@0",
        "bn@-1",
        "bn@2:4",
        "bn@1.5",
        "gn",
        "gn:",
        "gn:0",
        "gn:0ch",
        "gn@2:3",
        "gn:3 ch",
        "in@2",
        "ln:2",
        "bgn@2",
        "bgn:2",
        "bgn@0:2",
        "batchnorm",
        "running@2",
    ],
)
def test_what_is_no_method_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(MethodError) as caught:
        Method.parse(text)
    assert "bgn@B:G" in str(caught.value.hint)


@pytest.mark.parametrize(("text", "channels"), [("gn:5", 12), ("gn:64", 32), ("gn:5ch", 12)])
def test_groups_that_do_not_divide_are_refused(text: str, channels: int) -> None:
    with pytest.raises(MethodError, match="do not divide"):
        Method.parse(text).groups_in(channels)


def test_lists_keep_their_order_and_drop_repeats() -> None:
    assert [str(m) for m in parse_methods(" LN, bn@2,ln,")] == ["ln", "bn@2"]
    assert [str(m) for m in parse_methods(["ln", Method.parse("in")])] == ["ln", "in"]
    assert len(parse_methods(DEFAULT_METHODS)) == 13
    with pytest.raises(MethodError, match="No method"):
        parse_methods(",")


def test_a_near_miss_is_offered() -> None:
    with pytest.raises(MethodError) as caught:
        Method.parse("runing")
    assert "Did you mean running" in str(caught.value.hint)
