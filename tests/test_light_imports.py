"""What is imported when; looked at in a fresh interpreter."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "seaborn", "scipy", "matplotlib", "pandas", "numpy")


def imported_by(code: str) -> set[str]:
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(option: str) -> None:
    modules = imported_by(f"from normstats_cli.main import run; run([{option!r}])")
    assert "typer" in modules
    assert modules.isdisjoint(HEAVY)


def test_importing_normstats_imports_nothing_heavy() -> None:
    assert imported_by("import normstats").isdisjoint(HEAVY)


def test_opening_a_study_needs_no_torch() -> None:
    assert imported_by("import normstats as ns; ns.open_study").isdisjoint({"torch", "seaborn"})


def test_the_library_imports_neither_cli_nor_reports() -> None:
    code = "import normstats.study, normstats.capturing, normstats.inputs, normstats.demo"
    assert imported_by(code).isdisjoint({"normstats_cli", "normstats_reports"})
