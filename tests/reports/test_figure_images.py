"""Figures compared as images; helpers/figure_images.py says how to make the baselines anew."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.figure_images import BASELINE, DRAWN, draw, save, settled_study
from matplotlib.axes import Axes
from matplotlib.testing.compare import compare_images

import normstats as ns

TOLERANCE = 3  # root mean square of the difference, of 255; the least of the changes below has 4


@pytest.fixture(scope="module")
def study() -> ns.Study:
    return settled_study()


def difference(ax: Axes, name: str, folder: Path) -> str | None:
    drawn = save(ax, folder / f"{name}.png")
    return compare_images(str(BASELINE / drawn.name), str(drawn), tol=TOLERANCE)


@pytest.mark.parametrize("name", DRAWN)
def test_it_looks_as_it_did(study: ns.Study, name: str, tmp_path: Path) -> None:
    assert difference(draw(study, name), name, tmp_path) is None


def test_there_is_a_baseline_for_each() -> None:
    assert {file.stem for file in BASELINE.iterdir()} == set(DRAWN)
    assert sum(file.stat().st_size for file in BASELINE.iterdir()) < 100_000


def _other_colors(ax: Axes) -> None:
    ax.images[0].set_cmap("viridis")


def _turned_over(ax: Axes) -> None:
    ax.images[0].set_data(ax.images[0].get_array()[::-1])


def _moved(ax: Axes) -> None:
    for line in ax.lines:
        line.set_ydata(np.asarray(line.get_ydata()) * 1.3)


def _without_markers(ax: Axes) -> None:
    for line in ax.lines:
        line.set_marker("None")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("heat-map", _other_colors),
        ("heat-map", _turned_over),
        ("batch-curve", _moved),
        ("batch-curve", _without_markers),
        ("tradeoff", _moved),
        ("channel-map", _moved),
        ("channel-map", _without_markers),
    ],
)
def test_a_change_would_be_seen(
    study: ns.Study, name: str, change: Callable[[Axes], None], tmp_path: Path
) -> None:
    ax = draw(study, name)
    change(ax)
    found = difference(ax, name, tmp_path)
    assert found is not None, f"{change.__name__} was not seen"
    assert "RMS" in found
