"""Tests that names of classes neither break figures, tables and pictures nor act in them."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from rich.console import Console

from bdd100k.report.tables import plain
from mrcnn.structures.instances import Instances
from mrcnn.visualization.displays import show_instances
from mrcnn.visualization.drawing import draw_instances

NAMES = ("$\\frac{a}{b$", "half \ud800", "a\x1b[31m", "x" * 1_000_000, "two\nlines")


@pytest.mark.parametrize("name", NAMES)
def test_captions_and_titles(name, tmp_path):
    image, box = np.full((80, 90, 3), 120, np.uint8), np.array([[5, 5, 45, 85]])
    axis = show_instances(image, box, None, [(1, 0, 0)], [name], title=name, save=tmp_path / "a.png")
    assert plt.imread(tmp_path / "a.png").shape[0] > 100
    shown = axis.get_title()
    assert len(shown) < 120 and shown.isprintable() and shown.count("$") == shown.count("\\$")
    drawn = draw_instances(image, Instances(np.array([1]), box, [np.ones((40, 80), bool)]), ["BG", name])
    plain_one = draw_instances(image, Instances(np.array([1]), box, [np.ones((40, 80), bool)]), None)
    assert not np.array_equal(drawn, plain_one)  # the caption is there


@pytest.mark.parametrize(
    "name, shown",
    [
        ("[/nope]", "[/nope]"),
        ("[bold]a[/]", "[bold]a[/]"),
        ("\x1b]8;;https://example.org\x07", "\\x1b]8;;https://example.org\\x07"),
        ("\u202egnp", "\\u202egnp"),
    ],
)
def test_names_in_tables_of_rich(name, shown):
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=200)
    console.print(f"{plain(name)}|", highlight=False)
    assert console.file.getvalue() == f"{shown}|\n"
