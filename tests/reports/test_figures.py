"""What the figures draw, against the tables; how they treat what is not theirs; their SVG."""

import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import unescape
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from helpers.enumeration import make_pixels, moments_of
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

import normstats as ns
from normstats.errors import LayerError, MethodError, RunFolderError, SettingError
from normstats.moments import LayerMoments, Moments
from normstats.parts import Part
from normstats.plane import frontier
from normstats_reports import figures
from normstats_reports.figures.labels import apart
from normstats_reports.figures.scales import log_ticks, plain, thinned
from normstats_reports.figures.style import layer_label, look, settings
from normstats_reports.terminal import compact

METHODS = ["bn@1", "bn@2", "bn@4", "bn@8", "in", "gn:4", "gn:2", "ln", "running"]
HOSTILE = "</script><img src=x>$a_{ --> \x07 & 漢"


def layer(seed: int, channels: int = 8, size: int = 3, dead: int = 0) -> LayerMoments:
    rng = np.random.default_rng(seed)
    found = moments_of(
        make_pixels(24, channels, size, seed=seed),
        kind="BatchNorm2d",
        gamma=rng.uniform(0.5, 1.5, channels),
    )
    mean, variance = found.mean.copy(), found.variance.copy()
    mean[:, :dead] = variance[:, :dead] = 0
    stored = {
        "running_mean": mean.mean(0) + 0.1,
        "running_variance": variance.mean(0) + mean.var(0) + 0.1,
    }
    return replace(found, mean=mean, variance=variance, **stored)


def analyzed(layers: dict[str, LayerMoments], methods: list[str] = METHODS) -> ns.Study:
    return ns.analyze(Moments(layers), methods, draws=32)


@pytest.fixture(scope="module")
def study() -> ns.Study:
    found = analyzed({"first": layer(0), "second": layer(1, dead=2), "third": layer(2)})
    found.grouping([2])
    found.plane([1, 2, 4])
    errors = found.errors()
    table = errors[["layer", "method", "error", "residual"]].assign(
        kl=errors["error"] * 2, kl_refit=errors["residual"] * 3
    )
    found.parts["validation"] = Part(
        {},
        {"validation": table},
        {"correlations": {"error_within_layers": 0.96, "residual_within_layers": None}},
    )
    return found


@pytest.fixture(scope="module")
def odd() -> ns.Study:
    """A hostile name, a dead layer, one of single positions, one that no GroupNorm divides."""
    return analyzed(
        {
            HOSTILE: layer(0),
            "dead": layer(1, dead=8),
            "one by one": layer(2, size=1),
            "five": layer(3, channels=5),
        }
    )


Draw = Callable[..., Axes]
DRAWN: dict[str, Draw] = {
    "tradeoff": lambda study, ax=None: figures.tradeoff(study, "second", ax=ax),
    "batch_curve": lambda study, ax=None: figures.batch_curve(study, "second", ax=ax),
    "error_parts": lambda study, ax=None: figures.error_parts(study, "ln", ax=ax),
    "heat_map": lambda study, ax=None: figures.heat_map(study, ax=ax),
    "channel_map": lambda study, ax=None: figures.channel_map(study, "second", ax=ax),
    "plane": lambda study, ax=None: figures.plane(study, "second", ax=ax),
    "grouping": lambda study, ax=None: figures.grouping(study, ax=ax),
    "damage": lambda study, ax=None: figures.damage(study, ax=ax),
}


def lines(ax: Axes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {
        line.get_label(): (np.asarray(line.get_xdata()), np.asarray(line.get_ydata()))
        for line in ax.lines
    }


def words(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def ticks(axis: mpl.axis.Axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def words_of_svg(svg: str) -> list[str]:
    return [unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


# What is not the figure's own


@pytest.mark.parametrize("name", DRAWN)
def test_it_draws_into_the_axes_given(study: ns.Study, name: str) -> None:
    given = Figure(figsize=(9, 7)).add_subplot()
    assert DRAWN[name](study, ax=given) is given
    assert given.has_data()


@pytest.mark.parametrize("name", DRAWN)
def test_settings_and_pyplot_are_left_alone(study: ns.Study, name: str) -> None:
    from matplotlib import pyplot as plt

    with mpl.rc_context({"font.size": 17, "svg.fonttype": "path"}):
        before = dict(mpl.rcParams)
        figures.figure_svg(DRAWN[name](study).figure, name)
        assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []


def test_axes_keep_the_ink_of_their_own_style(study: ns.Study) -> None:
    with mpl.rc_context({"axes.labelcolor": "white", "axes.titlecolor": "white"}):
        ax = Figure().add_subplot()
    figures.tradeoff(study, "first", ax=ax)
    assert {text.get_color() for text in ax.texts} == {"white"}


class Shell:
    """IPython, as far as matplotlib and the figures look at it."""

    version_info = (9, 0)

    @staticmethod
    def get_ipython() -> object:
        return object()


def test_a_notebook_shows_it_unless_off_screen(
    study: ns.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib import pyplot as plt

    plt.switch_backend("agg")
    monkeypatch.setitem(sys.modules, "IPython", Shell)
    try:
        with figures.off_screen():
            figures.tradeoff(study, "first")
            assert plt.get_fignums() == []
        shown = figures.tradeoff(study, "first")
        assert plt.figure(plt.get_fignums()[0]) is shown.figure
        # A Figure is shown as the value of its cell; kept as well it would be seen twice.
        figures.depth_profiles(study)
        assert len(plt.get_fignums()) == 1
    finally:
        plt.close("all")


def test_a_backend_loaded_while_drawing_keeps_its_settings() -> None:
    with mpl.rc_context({"interactive": False}):
        with settings():
            mpl.interactive(True)
        assert mpl.is_interactive()


def test_threads_draw_the_same(study: ns.Study) -> None:
    found: dict[int, str] = {}

    def draw(place: int) -> None:
        found[place] = figures.figure_svg(figures.tradeoff(study, "first").figure, "a")

    threads = [threading.Thread(target=draw, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found.values())) == 1


# What is drawn


def test_tradeoff_has_a_point_a_method(study: ns.Study) -> None:
    ax = figures.tradeoff(study, "second")
    rows = study.errors().query("layer == 'second'")
    bias = rows["mean_bias_sq"] + rows["std_bias_sq"]
    variance = rows["mean_variance"] + rows["std_variance"]
    drawn = [line.get_xydata()[0] for line in ax.lines if line.get_linestyle() == "None"]
    np.testing.assert_allclose(drawn, np.column_stack([variance, bias]), rtol=1e-12)
    np.testing.assert_allclose(lines(ax)["BatchNorm"], [variance[:4], bias[:4]], rtol=1e-12)
    assert {"bn@1", "bn@8", "in", "gn:4", "gn:2", "ln", "running"} <= set(words(ax))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("variance [σ²]", "bias² [σ²]")
    # running has no variance: a zero on the axis, and within it.
    assert ax.get_xscale() == "symlog"
    assert "0" in ticks(ax.xaxis)
    assert ax.get_xlim()[0] < 0


def test_curves_of_equal_error_are_that(study: ns.Study) -> None:
    ax = figures.tradeoff(study, "first")
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert dashed
    for line in dashed:
        total = np.asarray(line.get_xdata()) + np.asarray(line.get_ydata())
        np.testing.assert_allclose(total, total[0], rtol=1e-9)


@pytest.mark.parametrize("quantity", ["error", "residual"])
def test_batch_curve(study: ns.Study, quantity: str) -> None:
    ax = figures.batch_curve(study, "first", quantity)
    rows = study.errors().query("layer == 'first'").set_index("method")
    x, y = lines(ax)["BatchNorm"]
    np.testing.assert_array_equal(x, [1, 2, 4, 8])
    np.testing.assert_array_equal(y, rows.loc[["bn@1", "bn@2", "bn@4", "bn@8"], quantity])
    for method in ("in", "gn:4", "gn:2", "ln"):
        np.testing.assert_array_equal(lines(ax)[method][1], [rows.loc[method, quantity]] * 2)
        assert method in words(ax)
    band = ax.collections[0].get_paths()[0].get_extents()
    curve = rows.loc[["bn@1", "bn@8"]]
    assert band.ymin == pytest.approx(curve[f"{quantity}_low"].min())
    assert band.ymax == pytest.approx(curve[f"{quantity}_high"].max())


def test_crossovers_are_rings_with_their_interval(study: ns.Study) -> None:
    ax = figures.batch_curve(study, "first", "residual")
    table = study.crossovers().query("layer == 'first' and quantity == 'residual'")
    inside = table[(table["batch_number"] > 0) & np.isfinite(table["batch_number"])]
    assert len(inside) > 1
    rings = [line.get_xdata()[0] for line in ax.lines if line.get_markerfacecolor() == "none"]
    np.testing.assert_array_equal(rings, inside["batch_number"])
    bars = [line.get_xdata() for line in ax.lines if line.get_linewidth() == 2.5]
    expected = inside[["batch_low", "batch_high"]].clip(*ax.get_xlim())
    np.testing.assert_allclose(bars, expected)


def test_a_level_of_zero_is_along_the_bottom(study: ns.Study) -> None:
    ax = figures.batch_curve(study, "first", "residual")
    assert "running: 0" in words(ax)
    assert lines(ax)["running"][1][0] == ax.get_ylim()[0]


def test_names_at_the_ends_are_apart() -> None:
    places = apart(np.array([0.5, 0.5, 0.51, 1.0, 0.0]), 0.1)
    assert np.diff(np.sort(places)).min() >= 0.1 - 1e-12
    assert (places >= 0).all()
    assert (places <= 1).all()
    assert list(np.argsort(places)) == [4, 0, 1, 2, 3]


def test_error_parts_are_stacked(study: ns.Study) -> None:
    ax = figures.error_parts(study, "ln")
    rows = study.errors().query("method == 'ln'")
    terms = ["mean_bias_sq", "std_bias_sq", "mean_variance", "std_variance"]
    bottom = np.zeros(3)
    for patch, term in zip(ax.patches, terms, strict=True):
        corners = patch.get_path().vertices.reshape(3, 5, 2)[:, :4, 1]
        np.testing.assert_allclose(corners.min(1), bottom, rtol=1e-12)
        bottom = bottom + rows[term].to_numpy()
        np.testing.assert_allclose(corners.max(1), bottom, rtol=1e-12)
    np.testing.assert_allclose(bottom, rows["error"])
    ends = [segment[:, 1] for segment in ax.collections[0].get_segments()]
    np.testing.assert_array_equal(ends, rows[["error_low", "error_high"]])
    assert ax.get_ylim()[1] > rows["error_high"].max()
    assert ticks(ax.xaxis) == ["first", "second", "third"]
    assert len({patch.get_facecolor() for patch in ax.patches}) == 4
    assert len({patch.get_hatch() for patch in ax.patches}) == 3


def test_one_bad_layer_does_not_hide_the_others(study: ns.Study) -> None:
    errors = study.errors()
    worst = (errors["layer"] == "second") & (errors["method"] == "ln")
    errors.loc[worst, "mean_bias_sq"] = 1e4
    errors.loc[worst, "error"] = 1e4 + 0.5
    bad = replace(study, tables=replace(study.tables, errors=errors))
    ax = figures.error_parts(bad, "ln")
    others = errors[(errors["method"] == "ln") & ~worst]
    assert ax.get_ylim()[1] < 2 * others["error_high"].max()
    assert words(ax) == [f"↑{compact(1e4 + 0.5)}"]


@pytest.mark.parametrize("quantity", ["error", "residual"])
def test_heat_map_is_the_table(study: ns.Study, quantity: str) -> None:
    ax = figures.heat_map(study, quantity)
    rows = study.errors().set_index(["layer", "method"])[quantity]
    table = np.array(
        [[rows[name, method] for method in METHODS] for name in ("first", "second", "third")]
    )
    shown = np.ma.getdata(ax.images[0].get_array())
    np.testing.assert_array_equal(shown[table > 0], table[table > 0])
    assert words(ax) == [compact(value) for value in table.ravel()]
    assert ticks(ax.xaxis) == METHODS
    assert ticks(ax.yaxis) == ["first", "second", "third"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first layer on top


def test_channel_map(study: ns.Study) -> None:
    ax = figures.channel_map(study, "second", groups=4)
    rows = study.channels().query("layer == 'second'")
    drawn = lines(ax)
    std = np.sqrt(rows["variance"].to_numpy())
    for group in range(4):
        chosen = slice(2 * group, 2 * group + 2)
        alive = rows["alive"].to_numpy()[chosen]
        if not alive.any():
            assert f"group {group + 1}" not in drawn
            continue
        x, y = drawn[f"group {group + 1}"]
        np.testing.assert_array_equal(x, rows["mean"].to_numpy()[chosen][alive])
        np.testing.assert_array_equal(y, std[chosen][alive])
    assert not rows["alive"].to_numpy()[:2].any()
    assert len(drawn["dead (2)"][0]) == 2
    pooled = np.sqrt(np.mean(std**2 + rows["mean"] ** 2) - rows["mean"].mean() ** 2)
    assert drawn["all pooled"][1][0] == pytest.approx(pooled)


def test_channel_map_takes_the_groups_of_the_study(study: ns.Study) -> None:
    assert "group 4" in lines(figures.channel_map(study, "first"))
    with pytest.raises(MethodError, match="divide"):
        figures.channel_map(study, "first", groups=3)


def test_groups_look_different(study: ns.Study) -> None:
    ax = figures.channel_map(analyzed({"a": layer(0, channels=32)}, ["ln"]), "a", groups=32)
    looks = {(line.get_color(), line.get_marker()) for line in ax.lines}
    assert len(looks) == 33


def test_depth_profiles(study: ns.Study) -> None:
    figure = figures.depth_profiles(study)
    worth, crossing, alignment = figure.axes
    layers = study.layers()
    np.testing.assert_array_equal(lines(worth)["to the mean"][1], layers["effective_samples_mean"])
    np.testing.assert_array_equal(lines(worth)["its positions"][1], layers["positions"])
    low = [segment[0, 1] for segment in worth.collections[0].get_segments()]
    expected = layers["effective_samples_mean_low"].clip(*worth.get_ylim())
    np.testing.assert_allclose(low, expected)
    table = study.crossovers().query("method == 'ln' and quantity == 'residual'")
    known = table["batch_number"].where(np.isfinite(table["batch_number"]))
    np.testing.assert_array_equal(lines(crossing)["than ln"][1], known.replace(0, np.nan))
    tests = study.grouping()
    ratio = tests["index_bias_sq"] / tests["random_bias_sq"]
    drawn = np.concatenate([y for name, (_, y) in lines(alignment).items() if "index" in name])
    np.testing.assert_allclose(np.sort(drawn), np.sort(ratio))
    assert ticks(alignment.xaxis) == ["first", "second", "third"]


def test_crossovers_outside_the_sizes_are_arrows(study: ns.Study) -> None:
    table = study.crossovers()
    table.loc[table["layer"] == "first", "batch_number"] = 0.0
    table.loc[table["layer"] == "second", "batch_number"] = np.inf
    other = replace(study, tables=replace(study.tables, crossovers=table))
    _, crossing, _ = figures.depth_profiles(other).axes
    arrows = {line.get_marker(): line for line in crossing.lines if len(line.get_xdata()) == 1}
    assert arrows["v"].get_ydata()[0] == crossing.get_ylim()[0]
    assert arrows["^"].get_ydata()[0] == crossing.get_ylim()[1]
    assert "outside 1 to 8" in lines(crossing)


def test_without_grouping_the_design_effect_is_drawn(odd: ns.Study) -> None:
    last = figures.depth_profiles(odd).axes[-1]
    expected = odd.layers()["design_effect_mean"]
    np.testing.assert_array_equal(lines(last)["of the mean"][1], expected)


def test_plane_and_its_frontier(study: ns.Study) -> None:
    ax = figures.plane(study, "third", "residual")
    rows = study.plane().query("layer == 'third'")
    batches, sizes = [1, 2, 4], [1, 2, 4, 8]
    shown = ax.images[0].get_array()
    for _, row in rows.iterrows():
        cell = (sizes.index(row["group_channels"]), batches.index(row["batch"]))
        assert shown[cell] == row["residual"]
    assert (ticks(ax.xaxis), ticks(ax.yaxis)) == (["1", "2", "4"], ["1", "2", "4", "8"])
    names = [text.split("\n")[1] for text in words(ax) if "\n" in text]
    assert sorted(names) == ["BN", "BN", "GN:2", "GN:4", "IN", "LN"]
    framed = {(round(p.get_x() + 0.46), round(p.get_y() + 0.44)) for p in ax.patches}
    best = frontier(rows, "residual")
    assert framed == {
        (batches.index(b), sizes.index(s))
        for b, s in zip(best["batch"], best["group_channels"], strict=True)
    }
    assert ax.get_ylim()[0] < ax.get_ylim()[1]  # one channel at the bottom


def test_grouping(study: ns.Study) -> None:
    ax = figures.grouping(study)
    tests, arrangements = study.grouping(), study.arrangements()
    best = arrangements.query("arrangement == 'best'")["closed_bias_sq"]
    np.testing.assert_array_equal(lines(ax)["best found"][1], best)
    ranges = [segment[:, 1] for segment in ax.collections[0].get_segments()]
    np.testing.assert_array_equal(ranges, tests[["random_bias_sq_low", "random_bias_sq_high"]])
    drawn = np.concatenate([y for name, (_, y) in lines(ax).items() if name.startswith("index")])
    np.testing.assert_array_equal(np.sort(drawn), np.sort(tests["index_bias_sq"]))
    with pytest.raises(MethodError, match="no audit of 7 groups"):
        figures.grouping(study, groups=7)


@pytest.mark.parametrize("quantity", ["error", "residual"])
def test_damage(study: ns.Study, quantity: str) -> None:
    ax = figures.damage(study, quantity)
    rows = study.validation()
    measured = {"error": "kl", "residual": "kl_refit"}[quantity]
    for method, some in rows.groupby("method"):
        np.testing.assert_array_equal(lines(ax)[method], some[[quantity, measured]].T)
    assert ("0.96" in ax.get_title(loc="left")) == (quantity == "error")
    with pytest.raises(RunFolderError):
        figures.damage(replace(study, parts={}), quantity)


# What is not there


def test_unknown_names_are_told(study: ns.Study) -> None:
    with pytest.raises(LayerError, match="Did you mean second"):
        figures.tradeoff(study, "secnd")
    with pytest.raises(MethodError, match="Did you mean gn:4"):
        figures.error_parts(study, "gn:44")
    for draw in (figures.heat_map, figures.depth_profiles, figures.damage):
        with pytest.raises(SettingError, match="error or residual"):
            draw(study, "accuracy")
    without = analyzed({"a": layer(0)}, ["in", "ln"])
    with pytest.raises(MethodError, match="bn@1"):
        figures.batch_curve(without, "a")


@pytest.mark.parametrize("name", [HOSTILE, "dead", "one by one", "five"])
def test_odd_layers(odd: ns.Study, name: str) -> None:
    for draw in (figures.tradeoff, figures.batch_curve, figures.channel_map, figures.plane):
        ax = draw(odd, name)
        figures.figure_svg(ax.figure, "a")
        if name == "dead" and draw in (figures.tradeoff, figures.batch_curve):
            assert words(ax) == ["no method has a value here"]


def test_what_a_layer_cannot_have_is_a_dash_or_a_gap(odd: ns.Study) -> None:
    ax = figures.heat_map(odd)
    cells = np.array(words(ax)).reshape(4, len(METHODS))
    assert list(cells[1]) == ["–"] * len(METHODS)
    assert cells[2][METHODS.index("in")] == "–"
    assert cells[3][METHODS.index("gn:4")] == "–"
    assert ax.images[0].get_array().mask.sum() == (cells == "–").sum()
    bars = figures.error_parts(odd, "gn:4").patches[0].get_path().vertices[::5, 0]
    np.testing.assert_allclose(bars, np.array([0, 2]) - 0.4)
    assert (
        "no value in any layer"
        in words(figures.error_parts(analyzed({"a": layer(0, dead=8)}), "ln"))[0]
    )


@pytest.mark.parametrize("methods", [["bn@4"], ["in"], ["bn@2", "bn@4", "ln"]])
def test_one_layer_and_few_methods(methods: list[str]) -> None:
    small = analyzed({"only": layer(0)}, methods)
    for draw in (
        lambda: figures.tradeoff(small, "only"),
        lambda: figures.channel_map(small, "only"),
        lambda: figures.heat_map(small),
        lambda: figures.error_parts(small, methods[0]),
    ):
        figures.figure_svg(draw().figure, "a")
    figures.figure_svg(figures.depth_profiles(small), "b")


@pytest.fixture(scope="module")
def deep(study: ns.Study) -> ns.Study:
    """161 layers with long names, their numbers copied."""

    def repeated(table: pd.DataFrame) -> pd.DataFrame:
        rows = table[table["layer"] == "first"]
        names = [f"backbone.denseblock{n // 40}.denselayer{n % 40}.norm1" for n in range(161)]
        return pd.concat([rows.assign(layer=name) for name in names], ignore_index=True)

    tables = study.tables
    return replace(
        study,
        parts={},
        tables=replace(
            tables,
            errors=repeated(tables.errors),
            layers=repeated(tables.layers),
            crossovers=repeated(tables.crossovers),
        ),
    )


def test_deep_networks_name_as_many_layers_as_there_is_room_for(deep: ns.Study) -> None:
    heat, parts = figures.heat_map(deep), figures.error_parts(deep, "ln")
    profile = figures.depth_profiles(deep).axes[-1]
    for axis in (heat.yaxis, parts.xaxis, profile.xaxis):
        places = axis.get_majorticklocs()
        assert places[0] == 0
        assert 30 < len(places) < 60
        assert len(set(np.diff(places))) == 1
    assert words(heat) == []
    for figure in (heat.figure, parts.figure, profile.figure):
        assert max(figure.get_size_inches()) < 11
        assert len(figures.figure_svg(figure, "a")) < 150_000


# Nothing over another, nothing cut off


@pytest.mark.parametrize("name", [*DRAWN, "depth_profiles"])
def test_nothing_is_cut_off(study: ns.Study, deep: ns.Study, name: str) -> None:
    for some in (study, deep):
        if name == "depth_profiles":
            figure = figures.depth_profiles(some)
        elif some is study or name in ("error_parts", "heat_map"):
            figure = DRAWN[name](some).figure
        else:
            continue
        box = figure.get_tightbbox()
        width, height = figure.get_size_inches()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height


@pytest.mark.parametrize("name", ["first", "second", "third"])
def test_names_do_not_overlap(study: ns.Study, name: str) -> None:
    for ax in (figures.tradeoff(study, name), figures.batch_curve(study, name)):
        ax.figure.draw_without_rendering()
        boxes = [Text.get_window_extent(text) for text in ax.texts]
        for place, one in enumerate(boxes):
            for other in boxes[:place]:
                shared = Bbox.intersection(one, other)
                assert shared is None or shared.width * shared.height < 0.25 * one.height**2


# SVG


@pytest.mark.parametrize("name", [*DRAWN, "depth_profiles"])
def test_svg_is_the_same_each_time_and_takes_the_ink_of_the_page(
    study: ns.Study, name: str
) -> None:
    def draw() -> str:
        drawn = figures.depth_profiles(study) if name == "depth_profiles" else DRAWN[name](study)
        figure = drawn if isinstance(drawn, Figure) else drawn.figure
        return figures.figure_svg(figure, name)

    svg = draw()
    with mpl.rc_context({"font.family": ["serif"], "svg.hashsalt": "other", "text.color": "red"}):
        assert draw() == svg
    assert "currentColor" in svg
    for absent in ("#262626", "font-family:", "<metadata", "<!--", "<?xml", "http://matplotlib"):
        assert absent not in svg
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    # No opaque background.
    assert not re.search(r'style="[^"]*fill:#(fff|ffffff)\b', svg.split("<text")[0])


def test_ids_of_two_figures_do_not_meet(study: ns.Study) -> None:
    one, other = (figures.figure_svg(figures.tradeoff(study, "first").figure, n) for n in "ab")
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for svg, some in zip((one, other), ids, strict=True):
        assert set(re.findall(r'(?:url\(|href=")#([\w-]+)', svg)) == some


def test_svg_words_are_words(study: ns.Study, odd: ns.Study) -> None:
    found = words_of_svg(figures.figure_svg(figures.heat_map(study).figure, "a"))
    for value in study.errors()["error"]:
        assert compact(value) in found
    svg = figures.figure_svg(figures.error_parts(odd, "ln").figure, "b")
    assert layer_label(HOSTILE) in words_of_svg(svg)
    assert "<img" not in svg
    assert "\x07" not in svg


def test_many_points_are_an_image() -> None:
    wide = analyzed({"wide": layer(0, channels=300)}, ["ln"])
    svg = figures.figure_svg(figures.channel_map(wide, "wide").figure, "a")
    assert svg.count("data:image/png") == 1
    assert len(svg) < 60_000


@pytest.fixture(autouse=True)
def without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# Small things


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.01, "0.01"), (64, "64"), (1e-5, "10⁻⁵"), (2.5e-5, "2.5·10⁻⁵"), (1e6, "10⁶")],
)
def test_plain_numbers(value: float, text: str) -> None:
    assert plain(value) == text


@pytest.mark.parametrize(("low", "high"), [(1e-6, 1), (0.01, 0.05), (0.9, 1.1), (3, 4e9), (1, 1.2)])
def test_log_ticks_are_few_and_inside(low: float, high: float) -> None:
    found = log_ticks(low, high)
    assert 1 <= len(found) <= 7
    assert found == sorted(found)
    assert low <= found[0] <= found[-1] <= high * (1 + 1e-9)


def test_thinned() -> None:
    assert thinned(5, 8) == [0, 1, 2, 3, 4]
    assert thinned(161, 8) == list(range(0, 161, 3))


def test_families_look_different_in_grey_too() -> None:
    families = [look(name) for name in ("bn@2", "in", "gn:8", "ln", "bgn@4:8", "running", "mine")]
    for what in ("color", "marker", "line"):
        assert len({str(getattr(one, what)) for one in families}) == len(families)
    assert look("gn:8") == look("gn:16ch")


def test_long_names_keep_their_end() -> None:
    name = "backbone.features.denseblock4.denselayer24.norm2"
    assert len(layer_label(name)) <= 28
    assert layer_label(name) == "b.f.d4.denselayer24.norm2"
    assert layer_label("layer1.0.bn1") == "layer1.0.bn1"
    endless = layer_label("backbone.a_module_that_has_a_very_long_name_and_no_parts")
    assert len(endless) <= 28
    assert endless.endswith("_name_and_no_parts")


def test_layers_of_a_densenet_are_told_apart() -> None:
    blocks = {1: 6, 2: 12, 3: 36, 4: 24}  # of a DenseNet-161
    names = [
        f"features.denseblock{block}.denselayer{layer}.norm{norm}"
        for block, layers in blocks.items()
        for layer in range(1, layers + 1)
        for norm in (1, 2)
    ]
    labels = {layer_label(name) for name in names}
    assert len(labels) == len(names)
    assert max(map(len, labels)) <= 28
