"""Every notebook runs from the first cell to the last, in a kernel of its own, and its kept outputs are small."""

import pathlib

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path):
    notebook = nbformat.read(path, as_version=4)
    kept = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}})
    client.execute()
    ran = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    assert len(ran) == len(kept), "the kept outputs are of another version of the notebook: run and save it again"
    assert path.stat().st_size < 2_000_000
