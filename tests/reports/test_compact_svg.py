"""SVG said more shortly: the same lines, marks and words."""

import base64
import io
import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from normstats_reports.figures.compact_svg import shorter
from normstats_reports.figures.svg import figure_svg

NUMBERS = st.sampled_from([0.0, 1.0, -1.5, 12.25, 12.255, 300.0])


def corners(path: str) -> list[tuple[str, tuple[float, ...]]]:
    """A path step by step, every letter said and all in L."""
    found: list[tuple[str, tuple[float, ...]]] = []
    at = (0.0, 0.0)
    counts = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "Q": 4, "z": 0}
    for letter, numbers in re.findall(r"([MLHVCQz])([^MLHVCQz]*)", path):
        values = [float(number) for number in numbers.split()]
        size = counts[letter]
        for start in range(0, len(values), size) if size else [0]:
            some = values[start : start + size]
            step = "L" if letter == "M" and start else letter
            if letter in "HV":
                some, step = ([some[0], at[1]] if letter == "H" else [at[0], some[0]]), "L"
            found.append((step, tuple(some)))
            at = (some[-2], some[-1]) if some else at
    return found


def without_repeats(
    steps: list[tuple[str, tuple[float, ...]]],
) -> list[tuple[str, tuple[float, ...]]]:
    kept = steps[:1]
    for before, (step, place) in pairwise(steps):
        if step != "L" or before[0] != "L" or place != before[1]:
            kept.append((step, place))
    return kept


@given(st.lists(st.tuples(st.sampled_from("MLLLCQz"), st.lists(NUMBERS, min_size=6, max_size=6))))
def test_a_shorter_path_takes_the_same_course(steps: list[tuple[str, list[float]]]) -> None:
    counts = {"M": 2, "L": 2, "C": 6, "Q": 4, "z": 0}
    written = "M 5 5 " + " ".join(
        " ".join([step, *(f"{value:g}" for value in values[: counts[step]])])
        for step, values in steps
    )
    rounded = [
        (step, tuple(float(f"{value:.2f}") for value in place)) for step, place in corners(written)
    ]
    assert corners(shorter(written)) == without_repeats(rounded)
    assert len(shorter(written)) <= len(written)


def test_many_marks_are_the_corners_of_a_path() -> None:
    figure = Figure()
    ax = figure.add_subplot()
    ax.plot([1, 2, 3, 4], [1, 4, 2, 3], linestyle="none", marker="o", color="#123456")
    ax.plot([1.5], [2], linestyle="none", marker="s")
    ax.set_axis_off()
    root = ElementTree.fromstring(figure_svg(figure, "a"))
    svg = "{http://www.w3.org/2000/svg}"
    (path,) = [path for path in root.iter(f"{svg}path") if "marker-mid" in path.attrib]
    (marker,) = root.iter(f"{svg}marker")
    assert path.attrib["marker-mid"] == f"url(#{marker.attrib['id']})"
    places = np.array(path.attrib["d"][1:].split(), dtype=float).reshape(-1, 2)
    expected = ax.transData.transform([(1, 1), (2, 4), (3, 2), (4, 3)]) * 72 / figure.dpi
    expected[:, 1] = figure.get_figheight() * 72 - expected[:, 1]
    np.testing.assert_allclose(places, expected, atol=0.006)
    assert len(list(root.iter(f"{svg}use"))) == 2  # that of the marker, and the single mark


def test_no_style_sheet_is_left_to_change_the_rest_of_the_page() -> None:
    figure = Figure()
    figure.add_subplot().plot([1, 2])
    assert "<style" not in figure_svg(figure, "a")


@pytest.mark.parametrize("points", [3, 20_000])
def test_only_large_images_have_fewer_colors(points: int) -> None:
    figure = Figure(figsize=(6, 5))
    generator = np.random.default_rng(0)
    ax = figure.add_subplot()
    ax.scatter(*generator.normal(size=(2, points)), c=generator.random(points), rasterized=True)
    svg = figure_svg(figure, "a")
    image = re.search(r"data:image/png;base64,([^\"]*)", svg)
    assert image is not None
    opened = Image.open(io.BytesIO(base64.b64decode(image[1])))
    assert (opened.mode == "P") == (points > 3)
    assert opened.convert("RGBA").getpixel((0, 0))[3] == 0
