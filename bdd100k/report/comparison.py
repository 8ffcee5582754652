"""Two evaluations side by side: tables for the terminal and a page in the style of the report."""

import os
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bdd100k.report import charts
from bdd100k.report.charts import Line, Row, defined
from bdd100k.report.page import KIND_NAMES, TWELVE, describe, environment, render, write_page
from mrcnn.evaluation.coco_ap import IOU_50
from mrcnn.evaluation.comparison import Run

_SHOWN = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L", "AR100")
_CHANGED = 10  # images, of each direction
_PROTOCOLS = {"bitmask": "bitmask", "rle": "RLE"}  # as they are called
_LEAST = 0.0005  # in AP: what shows in a figure with one digit
_MOST_PANELS = 24


def show(a: Run, b: Run, compared: dict[str, Any], console: Console) -> None:
    """Prints the headline and the classes.

    Args:
        a, b: The runs.
        compared: What `mrcnn.evaluation.comparison.compare` returned for them.
        console: Where to.
    """
    console.print(f"\n[bold]{compared['images']} images[/]  A: {a.folder}  B: {b.folder}", highlight=False)
    note = (
        f"in %, B - A with its {compared['level']:.0%} interval from {compared['samples']} samples of the images"
        if compared["samples"]
        else "in %, no intervals (--bootstrap 0)"
    )
    rows = [(f"{kind} {figure}", compared[kind][figure]) for kind in ("mask", "box") for figure in _SHOWN]
    rows.append(("mAP@0.5 (Matterport)", compared["matterport"]["mAP50"]))
    rows += [
        (f"BDD100K {_PROTOCOLS.get(name, name)} AP", own["mask"]["AP"]) for name, own in compared["official"].items()
    ]
    console.print(_table("All classes", note, rows))
    console.print(
        _table("Classes", "mask AP", [(name, own["mask"]["AP"]) for name, own in compared["per_class"].items()])
    )


def _table(title: str, note: str, rows: list[tuple[str, dict[str, Any]]]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title_justify="left",
        title_style="",
        title=f"[bold]{title}[/] [dim]{note}[/]",
    )
    for column in ("", "A", "B", "B - A", "interval", ""):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for name, row in rows:
        a, b = ("-" if row[run] is None else f"{100 * row[run]:.1f}" for run in "ab")
        difference = "-" if row["difference"] is None else f"{round(100 * row['difference'], 1) + 0.0:+.1f}"
        interval = (
            "" if row["interval"] is None else " to ".join(f"{round(100 * v, 1) + 0.0:+.1f}" for v in row["interval"])
        )
        table.add_row(name, a, b, difference, interval, verdict(row))
    return table


def verdict(row: dict[str, Any]) -> str:
    """What a difference says: which run is better, or that the images do not tell."""
    if row["interval"] is None:
        return ""
    if row["better"]:
        return f"{row['better'].upper()} is better"
    return "not clear" if any(row["interval"]) or row["difference"] else "equal"


def write_comparison(path: str | os.PathLike[str], a: Run, b: Run, compared: dict[str, Any]) -> None:
    """Writes the comparison as one HTML file.

    Args:
        path: Of the file.
        a, b: The runs.
        compared: What `mrcnn.evaluation.comparison.compare` returned for them.

    Raises:
        InputError: The file cannot be written.
    """
    changed = compared["per_image"]
    page = render(
        "compare.html.j2",
        {
            "a": a.result,
            "b": b.result,
            "folders": [str(a.folder), str(b.folder)],
            "compared": compared,
            "runs": [describe(run.result["evaluated"]) for run in (a, b)],
            "twelve": TWELVE,
            "kinds": KIND_NAMES,
            "protocols": _PROTOCOLS,
            "verdict": verdict,
            "class_chart": _chart(compared),
            "pr_charts": _pr_charts(a, b),
            "lost": [row for row in changed if row["difference"] < -_LEAST][:_CHANGED],
            "gained": [row for row in changed[::-1] if row["difference"] > _LEAST][:_CHANGED],
            "environment": environment(),
        },
    )
    write_page(path, page)


def _chart(compared: dict[str, Any]) -> str:
    rows = [Row("all classes", compared["mask"]["AP"]["difference"], compared["mask"]["AP"]["interval"], "s2")]
    rows += [
        Row(name, own["mask"]["AP"]["difference"], own["mask"]["AP"]["interval"])
        for name, own in list(compared["per_class"].items())[:_MOST_PANELS]
    ]
    return charts.dots(
        rows, "Difference B - A in mask AP of each class with its interval; the table has the figures", least=None
    )


def _pr_charts(a: Run, b: Run) -> list[dict[str, Any]]:
    """Precision over recall of masks at IoU 0.5 of both runs, a panel per class."""
    panels = []
    for name, curves in list(a.result["pr_curves"]["mask"].items())[:_MOST_PANELS]:
        other = b.result["pr_curves"]["mask"][name]
        lines = [
            Line(defined([r / 100 for r in range(101)], precision[IOU_50]), style)
            for precision, style in ((curves, "s1 strong"), (other, "s2 strong dashed"))
        ]
        figures = [run.result["per_class"][name]["mask"]["AP50"] for run in (a, b)]
        panels.append(
            {
                "name": name,
                "a": figures[0],
                "b": figures[1],
                "chart": charts.curves(
                    lines, f"{name}: precision over recall at IoU 0.5 of A and B", "recall, %", "precision, %"
                ),
            }
        )
    return panels
