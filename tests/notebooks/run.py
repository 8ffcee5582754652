"""Run notebooks, each in its own kernel, and store their outputs.

python -m tests.notebooks.run                           # all, in full; `make notebooks`
python -m tests.notebooks.run notebooks/inspect_data.ipynb
"""

import os
import pathlib
import sys
import time
from unittest import mock

import nbformat
from nbmake.nb_run import NotebookRun

from bdd100k.notebooks import QUICK

FOLDER = pathlib.Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def execute(path: pathlib.Path, quick: bool, timeout: int) -> nbformat.NotebookNode:
    """Run a notebook and return it with its new outputs.

    Args:
        path: The .ipynb file, which is not changed.
        quick: Whether to use few images and steps.
        timeout: Time limit of a cell in seconds.

    Raises:
        RuntimeError: A cell failed.
    """
    names = {"TF_CPP_MIN_LOG_LEVEL": "3", **({QUICK: "1"} if quick else {})}
    with mock.patch.dict(os.environ, names):
        for name in ("MPLBACKEND", *(() if quick else (QUICK,))):  # the kernel draws into the notebook
            os.environ.pop(name, None)
        result = NotebookRun(path, timeout).execute()
    if result.error:
        raise RuntimeError(f"{path.name}: {result.error.summary}\n{result.error.trace}")
    return result.nb


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Remove times and what went to stderr: they differ from run to run."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]


def main() -> None:
    paths = [pathlib.Path(name) for name in sys.argv[1:]] or NOTEBOOKS
    for path in paths:
        start = time.monotonic()
        notebook = execute(path, quick=False, timeout=3600)
        tidy(notebook)
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.monotonic() - start:.0f} s, {path.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()
