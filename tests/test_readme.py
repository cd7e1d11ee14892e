"""README.md and docs/guide.md quote what the demo says today, and the pictures are there."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.tools import load_tool
from PIL import Image

import normstats as ns
from normstats.findings import bias_share
from normstats.plane import best_at

tool = load_tool("readme")
README = tool.README.read_text(encoding="utf-8")


@dataclass(frozen=True)
class Demo:
    folder: Path
    printed: str


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    pytest.importorskip("sklearn", reason="the embedded images are scikit-learn's")
    folder = tmp_path_factory.mktemp("readme") / "run"
    return Demo(folder, tool.run_demo(folder))


@pytest.mark.slow
def test_the_quotes_are_not_stale(demo: Demo) -> None:
    text = tool.summary(demo.folder, demo.printed)
    assert tool.with_summary(README, text) == README, "run tools/readme.py"


@pytest.mark.slow
def test_the_guide_says_what_the_demo_measured(demo: Demo) -> None:
    study = ns.open_study(demo.folder)
    errors = study.errors()
    median = errors.groupby("method")[["error", "residual"]].median()
    residual, ln = median["residual"], errors[errors["method"] == "ln"]
    crossovers = study.crossovers().query("method == 'ln' and quantity == 'residual'")
    meets = crossovers["batch_number"]
    cells = best_at(study.plane(), 4).query("quantity == 'residual'")
    against_iid = study.composition().groupby(["composition", "batch"])["error_relative_to_iid"]
    times = against_iid.mean()
    width = (errors["error_high"] - errors["error_low"]) / errors["error"] / 2
    known = width.groupby(errors["method"]).median()
    guide = " ".join((tool.ROOT / "docs" / "guide.md").read_text(encoding="utf-8").split())
    for claim in (
        f"{median.loc['ln', 'error']:.2f} in the median layer, {bias_share(ln).median():.0%} of it",
        f"a batch of {meets.median():.1f} to be better in the median layer, and of "
        f"{meets.iloc[-1]:.0f} in the last one",
        f"BatchNorm (`bn@4`) leaves {residual['bn@4']:.2f}, LayerNorm {residual['ln']:.2f}, "
        f"GroupNorm with 8 groups {residual['gn:8']:.2f}",
        f"the digits is {times['single-class', 8]:.0f} times that of 8 images",
        f"known to about {known['bn@8']:.0%} for BatchNorm and {known['ln']:.0%} for LayerNorm",
    ):
        assert claim.replace("%", " %") in guide
    assert cells["residual"].median() < 0.01
    assert set(cells["groups"]) == {1}
    assert times["class-balanced", 8] == pytest.approx(0.5, abs=0.05)


def test_only_what_is_between_the_marks_is_replaced() -> None:
    before, after = README.split(tool.BEGIN)[0], README.split(tool.END)[1]
    assert tool.with_summary(README, "new") == (f"{before}{tool.BEGIN}\n\nnew\n\n{tool.END}{after}")


def test_its_pictures_are_those_that_the_tool_takes() -> None:
    named = tool.pictures_in(README)
    files = {(tool.ROOT / name).resolve() for name in named}
    assert files == set(tool.IMAGES.iterdir())
    assert {file.stem.rpartition("-")[2] for file in files} == set(tool.THEMES)
    for file in files:
        assert file.stat().st_size < 150_000
        with Image.open(file) as picture:
            assert picture.format == "PNG"
            assert picture.width >= 1500  # sharp on screens of double density


def test_the_themes_are_what_their_names_say() -> None:
    for file in tool.IMAGES.iterdir():
        with Image.open(file) as picture:
            corner = sum(picture.convert("RGB").getpixel((picture.width // 2, 12))) / 3
        assert (corner < 64) == file.stem.endswith("dark")
