"""Builds and prints the tables of scripts/evaluate.py."""

from rich import box, markup
from rich.console import Console
from rich.table import Table

from bdd100k.evaluation.protocols import OfficialFigures
from mrcnn.evaluation.result import BestScore, Confusion, Result
from mrcnn.evaluation.slices import SAMPLES as SLICE_SAMPLES
from mrcnn.evaluation.tide import KINDS
from mrcnn.text import LONGEST_CAPTION, printable

_FIGURES = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L", "AR1", "AR10", "AR100")
_WIDE = 110  # characters that all columns need; narrower terminals show only the most important ones


def show(result: Result, console: Console) -> None:
    """Print the tables of the main figures, classes, slices and errors, with figures in per cent."""
    wide = console.width >= _WIDE
    console.print(
        f"\n[bold]{result.images} images, {result.objects} objects[/] (and {result.ignored} crowds or "
        f"ignored), {result.detections} detections"
    )
    console.print(headline(result, wide), classes(result, wide))
    if any(values for values in result.slices.values()):
        console.print(slices(result))
    console.print(errors(result))
    for line in remarks(result):
        console.print(line, highlight=False)


def headline(result: Result, wide: bool = True) -> Table:
    """Return a table of COCO's figures for masks and boxes, and those of BDD100K's protocols."""
    shown = _FIGURES if wide else _FIGURES[:6]
    intervals = result.intervals
    note = (
        f"in %; {intervals.level:.0%} intervals from {intervals.samples} samples of the images"
        if intervals
        else "in %; no intervals (--bootstrap 0)"
    )
    table = titled_table("Average precision", note, "", *shown)
    for figures, known, name in (
        (result.mask, intervals.mask if intervals else {}, "masks, COCO"),
        (result.box, intervals.box if intervals else {}, "boxes, COCO"),
    ):
        table.add_row(f"[bold]{name}[/]", *(_with_interval(getattr(figures, f), known.get(f)) for f in shown))
    if isinstance(result.official, OfficialFigures):
        for own, name in ((result.official.bitmask, "BDD bitmask"), (result.official.rle, "BDD RLE")):
            cells = (_with_interval(getattr(own.mask, f), own.interval if f == "AP" else None) for f in shown)
            table.add_row(name, *cells)
    return table


def classes(result: Result, wide: bool = True) -> Table:
    """Return a table with one row per class: its figures, and the minimum score with the best F1."""
    left_out = () if wide else ("AP75", "precision", "recall")
    columns = [
        "class",
        "objects",
        "detected",
        "mask AP",
        "AP50",
        "AP75",
        "box AP",
        "score",
        "precision",
        "recall",
        "F1",
    ]
    table = titled_table(
        "Classes",
        "score: the minimum score with the best F1, for masks at IoU 0.5",
        *(column for column in columns if column not in left_out),
    )
    for name, own in result.per_class.items():
        known = result.intervals.per_class[name] if result.intervals else {}
        curve = result.score_curves.per_class.get(name)
        best = curve.best if curve else BestScore()
        row = [
            plain(name),
            str(own.objects),
            str(own.detections),
            _with_interval(own.mask.AP, known.get("mask", {}).get("AP"), " "),
            _percent(own.mask.AP50),
            _percent(own.mask.AP75),
            _with_interval(own.box.AP, known.get("box", {}).get("AP"), " "),
            "-" if best.score is None else f"{best.score:.2f}",
            *(_percent(value) for value in (best.precision, best.recall, best.f1)),
        ]
        table.add_row(*(cell for cell, column in zip(row, columns, strict=True) if column not in left_out))
    return table


def slices(result: Result) -> Table:
    """Return a table of the slices, with one row per value of an attribute."""
    note = f"masks, intervals from {SLICE_SAMPLES} samples" if result.intervals else "masks"
    table = titled_table("Slices of the data", note, "", "", "images", "objects", "AP", "AP50", "AR100")
    table.columns[1].justify = "left"
    for attribute, values in result.slices.items():
        for n, (value, own) in enumerate(values.items()):
            table.add_row(
                "" if n else plain(attribute),
                plain(value),
                str(own.images),
                str(own.objects),
                _with_interval(own.AP, own.interval, " "),
                _percent(own.AP50),
                _percent(own.AR100),
                end_section=n == len(values) - 1,
            )
    return table


def errors(result: Result) -> Table:
    """Return a table of TIDE's kinds of errors."""
    split = result.errors
    table = titled_table(
        "Errors",
        f"mask AP50 is {_percent(split.AP50)}; its gain without each kind",
        "",
        *KINDS,
        "no FP",
        "no FN",
    )
    gains = [*(split.delta_ap[kind] for kind in KINDS), split.false_positives, split.false_negatives]
    table.add_row("gain", *(_percent(gain) for gain in gains))
    table.add_row("number", *(str(split.counts[kind]) for kind in KINDS), "", "")
    return table


def remarks(result: Result) -> list[str]:
    """Return the remarks to print below the tables."""
    lines = []
    wrong = _commonest(result.confusion)
    if wrong:
        lines.append(f"Most confused classes (score >= {result.confusion.score:.2f}): {', '.join(wrong)}")
    if result.calibration.ece is not None:
        lines.append(f"Calibration: scores and precision differ by {_percent(result.calibration.ece)} on average (ECE)")
    if isinstance(result.official, OfficialFigures) and result.official.rle.overlapping_images:
        rle = result.official.rle
        lines.append(
            f"Masks overlap in {rle.overlapping_images} images and were flattened for BDD100K's protocols. "
            f"Unflattened, the RLE protocol would drop the predictions of these images: AP {_percent(rle.AP_as_given)}"
        )
    interval = result.intervals.matterport["mAP50"] if result.intervals else None
    figure = _with_interval(result.matterport.mAP50, interval, " ")
    lines.append(f"mAP@0.5 as in Matterport's code (mean over images, not AP50): {figure}")
    return lines


def _commonest(confusion: Confusion, limit: int = 4) -> list[str]:
    names, counts = confusion.classes[:-1], confusion.counts
    pairs = [(counts[i][j], a, b) for i, a in enumerate(names) for j, b in enumerate(names) if i != j and counts[i][j]]
    pairs.sort(key=lambda pair: -pair[0])
    return [f"{plain(a)} as {plain(b)} {count}x" for count, a, b in pairs[:limit]]


def titled_table(title: str, note: str, *columns: str) -> Table:
    """Return an empty table with a title and a note; the first column is left-aligned."""
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title_justify="left",
        title_style="",
        title=f"[bold]{title}[/] [dim]{note}[/]",
    )
    for n, column in enumerate(columns):
        table.add_column(column, justify="right" if n else "left", no_wrap=True)
    return table


def plain(text: object) -> str:
    """Return a name out of data for a table: nothing in it is markup of rich or acts on a terminal."""
    return markup.escape(printable(text, LONGEST_CAPTION))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _with_interval(value: float | None, interval: list[float] | None, between: str = "\n") -> str:
    if value is None or interval is None:
        return _percent(value)
    return f"{_percent(value)}{between}[dim]{_percent(interval[0])}-{_percent(interval[1])}[/]"
