"""Shows two evaluations side by side: tables for the terminal, and an HTML page in the style of the report."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from rich.console import Console
from rich.table import Table

from bdd100k.report import charts
from bdd100k.report.charts import Line, Row, defined
from bdd100k.report.page import KIND_NAMES, describe, provenance, render, write_page
from bdd100k.report.tables import plain, titled_table
from mrcnn.evaluation.coco_ap import IOU_50
from mrcnn.evaluation.comparison import Comparison, Difference, StoredEvaluation
from mrcnn.evaluation.result import TWELVE

_SHOWN = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L", "AR100")
_CHANGED_IMAGES = 10  # in each direction
_PROTOCOLS = {"bitmask": "bitmask", "rle": "RLE"}  # -> name to show
_MIN_CHANGE = 0.0005  # in AP; smaller changes round to 0.0 %
_MAX_PANELS = 24


def show(a: StoredEvaluation, b: StoredEvaluation, compared: Comparison, console: Console) -> None:
    """Print the tables of all classes together and of each class.

    Args:
        a, b: The evaluations.
        compared: Result of `mrcnn.evaluation.comparison.compare` for them.
        console: Console to print to.
    """
    console.print(f"\n[bold]{compared.images} images[/]  A: {plain(a.folder)}  B: {plain(b.folder)}", highlight=False)
    note = (
        f"in %; B - A with its {compared.level:.0%} interval from {compared.samples} samples of the images"
        if compared.samples
        else "in %; no intervals (--bootstrap 0)"
    )
    rows = {
        f"{kind} {figure}": own[figure]
        for kind, own in (("mask", compared.mask), ("box", compared.box))
        for figure in _SHOWN
    }
    rows["mAP@0.5 (Matterport)"] = compared.matterport["mAP50"]
    for name, protocol in compared.official.items():
        rows[f"BDD100K {_PROTOCOLS.get(name, name)} AP"] = protocol.mask["AP"]
    console.print(_table("All classes", note, rows))
    of_class = {name: kinds["mask"]["AP"] for name, kinds in compared.per_class.items()}
    console.print(_table("Classes", "mask AP", of_class))


def _table(title: str, note: str, rows: Mapping[str, Difference]) -> Table:
    table = titled_table(title, note, "", "A", "B", "B - A", "interval", "")
    table.columns[-1].justify = "left"
    for name, row in rows.items():
        a, b = ("-" if value is None else f"{100 * value:.1f}" for value in (row.a, row.b))
        difference = "-" if row.difference is None else _signed(row.difference)
        interval = "" if row.interval is None else " to ".join(map(_signed, row.interval))
        table.add_row(plain(name), a, b, difference, interval, verdict(row))
    return table


def _signed(value: float) -> str:
    return f"{round(100 * value, 1) + 0.0:+.1f}"  # + 0.0: no negative zero


def verdict(row: Difference) -> str:
    """Return in words which evaluation is better, or that it is not clear."""
    if row.interval is None:
        return ""
    if row.better:
        return f"{row.better.upper()} is better"
    return "not clear" if any(row.interval) or row.difference else "equal"


def write_comparison(
    path: str | os.PathLike[str], a: StoredEvaluation, b: StoredEvaluation, compared: Comparison
) -> None:
    """Write the comparison as one HTML file.

    Args:
        path: The HTML file.
        a, b: The evaluations.
        compared: Result of `mrcnn.evaluation.comparison.compare` for them.

    Raises:
        InputError: The file cannot be written.
    """
    changed = compared.per_image
    page = render(
        "compare.html.j2",
        {
            "a": a.result,
            "b": b.result,
            "folders": [str(a.folder), str(b.folder)],
            "compared": compared,
            "runs": [describe(evaluation.result["evaluated"]) for evaluation in (a, b)],
            "twelve": TWELVE,
            "kinds": KIND_NAMES,
            "protocols": _PROTOCOLS,
            "verdict": verdict,
            "class_chart": _class_chart(compared),
            "pr_charts": _pr_charts(a, b),
            "lost": [image for image in changed if image.difference < -_MIN_CHANGE][:_CHANGED_IMAGES],
            "gained": [image for image in changed[::-1] if image.difference > _MIN_CHANGE][:_CHANGED_IMAGES],
            "environment": provenance(),
        },
    )
    write_page(path, page)


def _class_chart(compared: Comparison) -> Markup:
    def row(name: str, ap: Difference, style: str) -> Row:
        return Row(name, ap.difference, ap.interval, style)

    of_class = list(compared.per_class.items())[:_MAX_PANELS]
    rows = [
        row("all classes", compared.mask["AP"], "s2"),
        *(row(name, kinds["mask"]["AP"], "s1") for name, kinds in of_class),
    ]
    return charts.dots(
        rows, "Difference B - A in mask AP of each class with its interval; the table has the figures", symmetric=True
    )


def _pr_charts(a: StoredEvaluation, b: StoredEvaluation) -> Sequence[dict[str, Any]]:
    """Draw the precision-recall curves of masks at IoU 0.5 of both evaluations, one panel per class."""
    panels = []
    for name, curves in list(a.result["pr_curves"]["mask"].items())[:_MAX_PANELS]:
        other = b.result["pr_curves"]["mask"].get(name)
        if other is None:
            continue
        lines = [
            Line(defined([r / 100 for r in range(101)], precision[IOU_50]), style)
            for precision, style in ((curves, "s1 strong"), (other, "s2 strong dashed"))
        ]
        figures = [evaluation.result["per_class"][name]["mask"]["AP50"] for evaluation in (a, b)]
        alt = f"{name}: precision over recall at IoU 0.5 of A and B"
        chart = charts.curves(lines, alt, "recall, %", "precision, %")
        panels.append({"name": name, "a": figures[0], "b": figures[1], "chart": chart})
    return panels
