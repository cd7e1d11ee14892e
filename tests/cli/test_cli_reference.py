"""docs/cli.md says what the program says."""

import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "cli_reference.py"


@pytest.mark.slow
def test_the_reference_is_not_stale() -> None:
    spec = importlib.util.spec_from_file_location("cli_reference", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.PAGE.read_text(encoding="utf-8") == tool.reference(), "run tools/cli_reference.py"
