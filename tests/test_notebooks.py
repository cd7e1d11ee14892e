"""The notebooks run from their first cell to their last."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the kernel's own
@pytest.mark.parametrize("name", ["tour.ipynb"])
def test_a_notebook_runs(name: str) -> None:
    nbformat = pytest.importorskip("nbformat", reason="notebooks are run with nbclient")
    nbclient = pytest.importorskip("nbclient", reason="notebooks are run with nbclient")
    pytest.importorskip("sklearn", reason="the embedded images are scikit-learn's")
    notebook = nbformat.read(FOLDER / name, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)  # as stored
    assert len(notebook.cells) < 15
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    shown = [output for cell in code for output in cell.outputs]
    kinds = [set(output.get("data", {})) for output in shown]
    assert sum("image/png" in kind for kind in kinds) == 3
    assert sum("text/html" in kind for kind in kinds) >= 4
    assert any("BatchNorm beats" in output.get("text", "") for output in shown)
