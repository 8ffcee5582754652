"""Every notebook runs from the first cell to the last with few images and steps, and its stored outputs are sound."""

import json
import re

import nbformat
import pytest

from tests.notebooks.run import NOTEBOOKS, execute, tidy

NAMES = {
    "inspect_anchors",
    "inspect_data",
    "inspect_mini_masks",
    "inspect_model",
    "inspect_rois",
    "inspect_weights",
    "train_and_evaluate",
}
LOCAL_PATH = re.compile(r"/(tmp|work|home|root|Users)/")
MAX_BYTES = 500_000  # larger notebooks are slow to show on the web


def kinds(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """Return the kinds of output of each code cell."""
    return [[output.output_type for output in cell.outputs] for cell in notebook.cells if cell.cell_type == "code"]


def test_all_notebooks_are_there():
    assert {path.stem for path in NOTEBOOKS} == NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < MAX_BYTES
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run it from the first cell on"
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
    assert sum(kind in ("display_data", "execute_result") for cell in kinds(notebook) for kind in cell) >= 3
    texts = [
        json.dumps({**output, "data": {k: v for k, v in output.get("data", {}).items() if "image" not in k}})
        for cell in cells
        for output in cell.outputs
    ]
    assert not [text for text in texts if LOCAL_PATH.search(text)]
    assert not any(cell.source.lstrip().startswith(("def ", "class ", "for ")) for cell in cells), "no logic in cells"


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path):
    stored = kinds(nbformat.read(path, as_version=4))
    notebook = execute(path, quick=True, timeout=300)
    tidy(notebook)
    assert kinds(notebook) == stored, "run `make notebooks` and check the notebook"
