"""The examples of the documentation run, and give what it says; its links lead somewhere."""

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


def run_examples(name: str) -> dict[str, Any]:
    """Everything that a page's Python examples define, run one after another."""
    text = (DOCS / name).read_text(encoding="utf-8")
    found: dict[str, Any] = {"__name__": name}
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, name, "exec", dont_inherit=True), found)
    return found


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in link:
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_methods_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn", reason="the embedded images are scikit-learn's")
    study = run_examples("own_methods.md")["study"]
    assert "renorm@4" in capsys.readouterr().out
    errors = study.errors()
    medians = errors.groupby("method")[["error", "residual"]].median()
    assert errors.groupby("method")["error"].count().eq(13).all()
    # What the papers promise: a mix with stored statistics, or a tight clip, is less noisy.
    assert medians.loc["shrinkage@4", "residual"] < medians.loc["bn@4", "residual"]
    assert medians.loc["renorm@4", "residual"] > medians.loc["renorm-loose@4", "residual"]
    assert medians.loc["renorm-loose@4", "residual"] < 0.1 * medians.loc["bn@4", "residual"]
    # No mean is subtracted, so that the whole squared mean is bias.
    assert medians.loc["frn", "error"] > medians.loc["bn@2", "error"]
    known = errors[["error_low", "error_high", "residual_low", "residual_high"]]
    assert known.notna().all(axis=None)


def test_the_guide_in_python() -> None:
    pytest.importorskip("sklearn", reason="the embedded images are scikit-learn's")
    best = run_examples("guide.md")["best"]
    assert len(best) == 13
    assert (best["bn1"], best["layer3.1.bn2"]) == ("bn@8", "ln")
