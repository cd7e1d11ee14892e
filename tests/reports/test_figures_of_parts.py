"""The figures of further questions: what they draw, against the tables."""

import matplotlib as mpl
import numpy as np
import pytest
from helpers.pages import HOSTILE, make_study
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import normstats as ns
from normstats.errors import MethodError, SettingError
from normstats_reports import figures
from normstats_reports.figures.style import layer_label, look

LAYERS = [HOSTILE, "body.0", "body.1", "head"]
NAMES = ("composition", "mixing", "arrangements")


@pytest.fixture(scope="module")
def study() -> ns.Study:
    return make_study(tuple(LAYERS))


def lines(ax: Axes) -> dict[str, np.ndarray]:
    return {str(line.get_label()): np.asarray(line.get_ydata()) for line in ax.lines}


def named(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("name", NAMES)
def test_it_draws_into_the_axes_given_and_is_a_call_away(study: ns.Study, name: str) -> None:
    given = Figure(figsize=(9, 7)).add_subplot()
    before = dict(mpl.rcParams)
    assert getattr(study.plot, name)(ax=given) is given
    assert given.has_data()
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", NAMES)
def test_all_that_is_drawn_is_within_the_axes(study: ns.Study, name: str) -> None:
    ax = getattr(figures, name)(study)
    low, high = ax.get_ylim()
    for values in lines(ax).values():
        known = values[np.isfinite(values)]
        assert ((low <= known) & (known <= high)).all()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_cut_off(study: ns.Study, name: str) -> None:
    figure = getattr(figures, name)(study).figure
    figure.canvas.draw()
    drawn, whole = figure.get_tightbbox(), figure.bbox_inches
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= whole.x1
    assert drawn.y1 <= whole.y1


@pytest.mark.parametrize("batch", [None, 2])
def test_composition(study: ns.Study, batch: int | None) -> None:
    ax = figures.composition(study, batch)
    rows = study.composition().query("batch == @batch" if batch else "batch == 8")
    for name in ("iid", "single-class", "class-balanced"):
        errors = rows[rows["composition"] == name]["error"]
        np.testing.assert_array_equal(lines(ax)[name], errors)
    classes = study.classes()
    np.testing.assert_array_equal(lines(ax)["floor of single-class"], classes["floor"])
    np.testing.assert_array_equal(lines(ax)["floor by chance"], classes["floor_by_chance"])
    ticks = [label.get_text() for label in ax.get_xticklabels()]
    assert ticks == [layer_label(name) for name in LAYERS]
    assert ax.get_ylabel() == "error [σ²]"
    assert f"batches of {batch or 8}" in ax.get_title(loc="left")
    assert set(named(ax)) == set(lines(ax))


def test_mixing(study: ns.Study) -> None:
    ax = figures.mixing(study)
    table = study.mixing().query("batch == 8")
    for other in ("running", "gn:2"):
        rows = table[table["other"] == other]
        np.testing.assert_array_equal(lines(ax)[f"mixed with {other}"], rows["error"])
        np.testing.assert_array_equal(lines(ax)[f"{other} alone"], rows["error_of_other"])
    alone = table[table["other"] == "running"]["error_of_batch_norm"]
    np.testing.assert_array_equal(lines(ax)["BatchNorm alone"], alone)
    filled = {line.get_label(): line.get_markerfacecolor() for line in ax.lines}
    assert filled["mixed with gn:2"] == look("gn:2").color
    assert filled["gn:2 alone"] == filled["BatchNorm alone"] == "none"
    assert set(named(ax)) == set(lines(ax))


def test_batchnorm_alone_is_drawn_where_another_method_cannot_be_had(study: ns.Study) -> None:
    part = study.parts["mixing"]
    table = part.tables["mixing"].copy()
    absent = (table["layer"] == "head") & (table["other"] == "gn:2")
    terms = ["error", "error_of_batch_norm", "error_of_other"]
    table.loc[absent, terms] = np.nan
    study.parts["mixing"] = ns.study.Part(part.settings, {"mixing": table})
    try:
        drawn = lines(figures.mixing(study))
    finally:
        study.parts["mixing"] = part
    assert np.isfinite(drawn["BatchNorm alone"]).all()
    assert np.isnan(drawn["mixed with gn:2"][-1])


def test_arrangements(study: ns.Study) -> None:
    ax = figures.arrangements(study)
    table = study.arrangements().set_index(["layer", "arrangement"])
    titles = {"bias_sq": "bias²", "error": "error", "residual": "residual"}
    strips = [line for line in ax.lines if line.get_marker() in ("o", "s", "^")]
    order = [
        (column, name) for column in titles for name in ("random", "similar", "correlated", "best")
    ]
    assert len(strips) == len(order)
    for strip, (column, name) in zip(strips, order, strict=True):
        ratios = [
            table.loc[(layer, name), column] / table.loc[(layer, "index"), column]
            for layer in LAYERS
        ]
        np.testing.assert_allclose(strip.get_ydata(), ratios, rtol=1e-12)
    medians = [bar.get_segments()[0][0, 1] for bar in ax.collections]
    np.testing.assert_allclose(medians, [np.median(strip.get_ydata()) for strip in strips])
    assert named(ax) == list(titles.values())
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "random",
        "similar",
        "correlated",
        "best",
    ]


def test_what_the_study_has_not_is_told(study: ns.Study) -> None:
    with pytest.raises(SettingError, match="no composed batches of 5"):
        figures.composition(study, 5)
    with pytest.raises(SettingError, match="no mixes with batches of 5"):
        figures.mixing(study, 5)
    with pytest.raises(MethodError, match="no audit of 7 groups"):
        figures.arrangements(study, 7)
