"""The small drawings of every layer: that they show what matplotlib's figures show."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from helpers.pages import HOSTILE, make_study
from matplotlib.axes import Axes

import normstats as ns
from normstats_reports import figures, page_sketches
from normstats_reports.figures.batches import inside
from normstats_reports.figures.scales import Decades
from normstats_reports.figures.style import look
from normstats_reports.page_drawing import HEIGHT, LEFT, PIXELS_PER_POINT, TOP, WIDTH, Scale

LAYER = "body.0"
FRAME = np.array([LEFT, TOP, WIDTH, HEIGHT]) * PIXELS_PER_POINT


@pytest.fixture(scope="module")
def study() -> ns.Study:
    return make_study()


@pytest.fixture(scope="module")
def rows(study: ns.Study) -> pd.DataFrame:
    return study.errors().query("layer == @LAYER")


@pytest.fixture(scope="module")
def meets(study: ns.Study) -> pd.DataFrame:
    return inside(study.crossovers().query("layer == @LAYER and quantity == 'error'"))


def on_paper(ax: Axes, places: np.ndarray) -> np.ndarray:
    """Where matplotlib's axes have these values, in the pixels of a drawing."""
    x, y = ax.transAxes.inverted().transform(ax.transData.transform(places)).T
    left, top, width, height = FRAME
    return np.column_stack([left + x * width, top + (1 - y) * height])


def courses(svg: str, color: str, **attributes: str) -> list[np.ndarray]:
    """The corners of the paths of a colour."""
    found = []
    for path in ElementTree.fromstring(svg).iter():
        has = all(path.attrib.get(key) == value for key, value in attributes.items())
        if path.tag.endswith("path") and color in path.attrib.values() and has:
            moves = re.findall(r"(?:^M|M| )(-?\d+) (-?\d+)", path.attrib["d"])
            found.append(np.array(moves, dtype=float))
    return found


def words(svg: str) -> list[str]:
    return [
        text.text or "" for text in ElementTree.fromstring(svg).iter() if text.tag.endswith("text")
    ]


def test_marks_are_where_matplotlib_has_them(study: ns.Study, rows: pd.DataFrame) -> None:
    svg = page_sketches.tradeoff(rows)
    ax = figures.tradeoff(study, LAYER)
    for method in ("bn@1", "gn:4", "ln", "running"):
        of_family = rows[[look(name) == look(method) for name in rows["method"]]]
        bias = of_family["mean_bias_sq"] + of_family["std_bias_sq"]
        variance = of_family["mean_variance"] + of_family["std_variance"]
        expected = on_paper(ax, np.column_stack([variance, bias]))
        marks = courses(svg, look(method).color)[-1]
        np.testing.assert_allclose(marks, expected, atol=1.01)
    assert set(rows["method"]) - {"bn@2", "bn@8"} <= set(words(svg))
    assert {"variance [σ²]", "bias² [σ²]"} <= set(words(svg))
    ticks = [label.get_text() for label in ax.get_xticklabels()]
    assert set(ticks) <= set(words(svg))


def test_the_curve_and_levels_are_where_matplotlib_has_them(
    study: ns.Study, rows: pd.DataFrame, meets: pd.DataFrame
) -> None:
    svg = page_sketches.batch_curve(rows, meets)
    ax = figures.batch_curve(study, LAYER)
    curve = rows[rows["method"].str.startswith("bn@")].sort_values("batch")
    expected = on_paper(ax, curve[["batch", "error"]].to_numpy(dtype=float))
    (drawn,) = courses(svg, look("bn@1").color, **{"stroke-width": "2.4"})
    np.testing.assert_allclose(drawn, expected, atol=1.01)
    bottom = ax.get_ylim()[0]
    for method in ("in", "ln"):
        error = max(float(rows.set_index("method").loc[method, "error"]), bottom)
        down = on_paper(ax, np.array([[1.0, error]]))[0, 1]
        group = re.search(rf'<g stroke="{look(method).color}">.*?</g>', svg)
        assert group is not None
        lines = re.findall(r'M\d+ (\d+)h\d+"? ?(?=stroke-dash)', group[0])
        assert [abs(float(line) - down) <= 1.01 for line in lines] == [True]
    rings = [float(x) for x in re.findall(r'<circle cx="(\d+)"', svg)]
    places = meets[["batch_number"]].astype(float).assign(error=1.0)
    np.testing.assert_allclose(rings, on_paper(ax, places.to_numpy(dtype=float))[:, 0], atol=1.01)
    assert {"BatchNorm", "batch size B", "error [σ²]", "1", "2", "8", "32"} <= set(words(svg))


def test_a_level_far_below_is_written_with_its_number(rows: pd.DataFrame) -> None:
    far = rows.copy()
    far.loc[far["method"] == "running", "error"] = 1e-9
    svg = page_sketches.batch_curve(far, far.iloc[:0])
    assert "running: 1.0e-9" in words(svg)


def test_all_is_inside_the_drawing(rows: pd.DataFrame, meets: pd.DataFrame) -> None:
    for svg in (page_sketches.tradeoff(rows), page_sketches.batch_curve(rows, meets)):
        root = ElementTree.fromstring(svg)
        *_, width, height = map(float, root.attrib["viewBox"].split())
        for text in root.iter():
            if text.tag.endswith("text") and "x" in text.attrib:
                assert 0 <= float(text.attrib["x"]) <= width
                assert 0 < float(text.attrib["y"]) <= height


def test_what_has_no_value_is_said(rows: pd.DataFrame) -> None:
    terms = [name for name in rows.select_dtypes(float) if name not in ("batch", "groups")]
    empty = rows.assign(**dict.fromkeys(terms, np.nan))
    for svg in (
        page_sketches.tradeoff(empty),
        page_sketches.batch_curve(empty, empty.iloc[:0]),
        page_sketches.batch_curve(rows[rows["method"] == "ln"], rows.iloc[:0]),
    ):
        assert words(svg) == ["no method has a value here"]


def test_names_that_others_chose_are_text(rows: pd.DataFrame) -> None:
    svg = page_sketches.tradeoff(rows.replace({"method": {"ln": HOSTILE}}))
    assert "<img" not in svg
    assert HOSTILE in words(svg)


@pytest.mark.parametrize("values", [[1e-4, 0.5], [0.0, 0.3, 2.0]])
def test_a_scale_is_matplotlibs(values: list[float]) -> None:
    from matplotlib.figure import Figure

    from normstats_reports.figures.scales import decades_axis

    ax = Figure().add_subplot()
    decades_axis(ax.yaxis, values)
    ax.set_xlim(0, 1)
    scale = Scale.upwards(Decades.over(values))
    for value in (*values, 0.1, 0.02):
        (place,) = on_paper(ax, np.array([[0.0, value]]))
        assert scale(value) * PIXELS_PER_POINT == pytest.approx(place[1], abs=0.01)
    assert scale(math.inf) == TOP
    assert scale(-math.inf) == TOP + HEIGHT
