"""Shows tables in notebooks: rows of values, and the statistics of a model's weights."""

import html
import logging
from collections.abc import Sequence
from typing import Any

log = logging.getLogger(__name__)


def display_table(table: Sequence[Sequence[Any]]) -> str:
    """Show rows of values as an HTML table in a notebook; elsewhere, log them.

    Args:
        table: Rows of values; the first may hold headings.

    Returns:
        The HTML.
    """
    rows = ["".join(f"<td>{html.escape(str(value))}</td>" for value in row) for row in table]
    text = "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"
    if _in_notebook():
        from IPython.display import HTML, display

        display(HTML(text))
    else:
        for row in table:
            log.info("  ".join(f"{value!s:<20}" for value in row))
    return text


def display_weight_stats(model: Any) -> str:
    """Show name, shape, minimum, maximum and standard deviation of every weight of a model.

    A `*` after the name marks kernels that look dead (all values equal) and weights with very large values.

    Args:
        model: A `MaskRCNN` or a Keras model.

    Returns:
        The HTML of `display_table`.
    """
    layers = model.get_trainable_layers() if hasattr(model, "get_trainable_layers") else model.layers
    table: list[list[str]] = [["WEIGHT NAME", "SHAPE", "MIN", "MAX", "STD"]]
    for layer in layers:
        for variable, value in zip(layer.weights, layer.get_weights(), strict=True):
            name = variable.path
            low, high, spread = float(value.min()), float(value.max()), float(value.std())
            # Biases and the shifts of BatchNorm start at zero, so equal values only indicate a dead weight in kernels.
            odd = (low == high and value.ndim > 1) or low < -1000 or high > 1000
            figures = [f"{number:+.6f}" for number in (low, high, spread)]
            table.append([name + (" *" if odd else ""), str(value.shape), *figures])
    return display_table(table)


def _in_notebook() -> bool:
    """Return whether a Jupyter kernel runs this code."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None
