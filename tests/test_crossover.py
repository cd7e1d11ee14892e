"""Where BatchNorm's curve meets a level."""

import math

import pytest

from normstats.crossover import crossover

SIZES = [1, 2, 4, 8, 16]


@pytest.mark.parametrize("power", [1.0, 0.5, 1.7])
def test_exact_on_power_laws(power: float) -> None:
    curve = [3.0 * size**-power for size in SIZES]
    assert crossover(SIZES, curve, 3.0 * 5.3**-power).batch == pytest.approx(5.3)


@pytest.mark.parametrize(
    ("level", "batch", "text"),
    [(2.0, 0.0, "<1"), (1.0, 1.0, "1"), (0.25, 4.0, "4"), (0.01, math.inf, ">16")],
)
def test_ends(level: float, batch: float, text: str) -> None:
    found = crossover(SIZES, [1 / size for size in SIZES], level)
    assert found.batch == pytest.approx(batch)
    assert str(found) == text


def test_what_is_unknown_stays_unknown() -> None:
    curve = [math.nan, 1 / 2, 1 / 4, 1 / 8, 1 / 16]
    assert str(crossover(SIZES, curve, math.nan)) == ""
    assert str(crossover(SIZES, [math.nan] * 5, 1.0)) == ""
    # Undefined at 1: cannot be better below 2.
    assert crossover(SIZES, curve, 0.9).batch == 2
    assert crossover(SIZES, curve, 0.2).batch == pytest.approx(5.0)


def test_a_constant_without_error_is_never_met() -> None:
    assert str(crossover(SIZES, [1 / size for size in SIZES], 0.0)) == ">16"
