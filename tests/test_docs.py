"""The examples of the documentation run, and give what it says."""

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def run_examples(name: str) -> dict[str, Any]:
    """Everything that a page's Python examples define, run one after another."""
    text = (DOCS / name).read_text(encoding="utf-8")
    found: dict[str, Any] = {"__name__": name}
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, name, "exec", dont_inherit=True), found)
    return found


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
