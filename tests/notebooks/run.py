"""Run notebooks, each in its own kernel, and store their outputs.

python -m tests.notebooks.run                           # all, in full; `make notebooks`
python -m tests.notebooks.run notebooks/inspect_data.ipynb
"""

import os
import pathlib
import re
import sys
import time
from unittest import mock

import nbformat
from nbmake.nb_run import NotebookRun

from bdd100k.notebooks import QUICK

FOLDER = pathlib.Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
BAR_HEAD = re.compile(r"Epoch \d+/\d+")  # the line above Keras' bar


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
    """Remove times, progress bars, stderr and the path of the repository, which differ from run to run.

    What a cell prints in a row becomes one output.
    """
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        outputs: list[nbformat.NotebookNode] = []
        for output in (output for output in cell.outputs if output.get("name") != "stderr"):
            if output.output_type == "stream" and outputs and outputs[-1].output_type == "stream":
                outputs[-1].text += output.text
            else:
                outputs.append(output)
        for output in outputs:
            if output.output_type == "stream":
                output.text = _lasting(output.text)
        cell.outputs = [output for output in outputs if output.get("text") != ""]


def _lasting(text: str) -> str:
    """Return printed text without the lines that a progress bar writes over and over, and with short paths."""
    lines = [line for line in text.split("\n") if "\r" not in line and not BAR_HEAD.fullmatch(line)]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).replace(f"{FOLDER.parent}/", "")
    return text if text.strip() else ""


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
