"""The notebooks run from their first cell to their last."""

from pathlib import Path

import pytest

CLAIMS = """
columns = residual.max()
assert columns["ln"] < columns["bn@4"] / 3
crossing = study.crossovers().query("quantity == 'residual' and method == 'ln'")
assert round(crossing["batch_number"].max()) == 23
assert crossing["batch_number"].idxmax() == crossing.index[-1]
assert (cell["residual"] < residual.min(axis=1)).all()
assert (cell["batch"] == 4).all() and (cell["groups"] == 1).all()
assert set(residual.idxmin(axis=1).head(5)) == {"bn@4"}
assert set(residual.idxmin(axis=1).tail(5)) == {"ln"}
"""
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
    claims = nbformat.v4.new_code_cell(CLAIMS)  # what the last cell says in words
    notebook.cells.append(claims)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    shown = [output for cell in code for output in cell.outputs]
    kinds = [set(output.get("data", {})) for output in shown]
    assert sum("image/png" in kind for kind in kinds) == 3
    assert sum("text/html" in kind for kind in kinds) >= 4
    assert any("leaves the least in" in output.get("text", "") for output in shown)
    assert claims.execution_count is not None
