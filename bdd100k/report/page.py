"""Writes the evaluation report: one HTML file that works offline, on phones and wide screens, in light and dark mode.

    write_report(path, result, dataset, image_ids, evaluated)

Every figure is in a `<data value="...">` with all its digits. The number of pictures is limited, so the file stays
below 5 MB however many images were evaluated.
"""

import datetime
import hashlib
import os
import pathlib
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from bdd100k.report import charts
from bdd100k.report.charts import Line, Row, defined
from bdd100k.report.pictures import Pictures, Scene
from bdd100k.report.published import PAPER, PAPER_COLUMNS, ZOO
from mrcnn.backend.environment import environment
from mrcnn.evaluation.coco_ap import IOU_50, IOU_75
from mrcnn.evaluation.result import TWELVE, BestScore, ClassFigures, Result, to_json
from mrcnn.evaluation.tide import KINDS
from mrcnn.files import written_whole
from mrcnn.text import LONGEST, printable

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset

TEMPLATES = pathlib.Path(__file__).parent / "templates"
KIND_NAMES = {
    "class": "the right place, the wrong class",
    "place": "the right class in the wrong place (IoU 0.1 to 0.5)",
    "both": "the wrong class in the wrong place",
    "duplicate": "a second detection of the same object",
    "background": "no object there (IoU below 0.1 with every object)",
    "missed": "objects without a detection",
}
_MAX_PANELS = 24  # number of classes with curves
_SCENES, _ERRORS = 5, 6  # number of worst and of best images; of errors of each kind
_DEFAULT_SCORE = 0.5  # minimum score if there is no detection, so that no score is best


def write_report(
    path: str | os.PathLike[str],
    result: Result,
    dataset: "Dataset",
    image_ids: Sequence[int],
    evaluated: dict[str, Any],
) -> None:
    """Write the report of an evaluation.

    Args:
        path: The HTML file.
        result: Result of `evaluate`.
        dataset: Dataset that was evaluated.
        image_ids: Ids of the evaluated images, in the order of evaluation.
        evaluated: What was evaluated: "data", "split", and "weights" with "settings", or "predictions".

    Raises:
        InputError: The file cannot be written.
    """
    best = result.score_curves.all.best.score
    min_score = _DEFAULT_SCORE if best is None else best
    pictures = Pictures(result, dataset, image_ids, min_score)
    scenes, ranked = _scenes(result, pictures)
    best_scores = {name: curve.best for name, curve in result.score_curves.per_class.items()}
    page = render(
        "report.html.j2",
        {
            "result": result,
            "known": to_json(result.intervals) or {},
            "best_scores": {name: best_scores.get(name, BestScore()) for name in result.per_class},
            "min_score": min_score,
            "twelve": TWELVE,
            "run": describe(evaluated),
            "paper": PAPER,
            "paper_columns": PAPER_COLUMNS,
            "zoo": ZOO,
            "kinds": KIND_NAMES,
            "summary": _summary(result),
            "scenes": scenes,
            "ranked": ranked,
            "gallery": pictures.gallery(_ERRORS),
            "class_chart": _class_chart(result),
            "pr_charts": {kind: _pr_charts(result, kind) for kind in ("mask", "box")},
            "score_charts": _score_charts(result),
            "error_chart": _error_chart(result),
            "calibration_chart": charts.calibration(result.calibration.bins, "Precision over score, in ten bins"),
            "slice_most": _largest_slice_figure(result),
            "settings_of_run": evaluated.get("settings", {}),
            "environment": provenance(),
        },
    )
    write_page(path, page)


def describe(evaluated: dict[str, Any]) -> dict[str, str]:
    """Return name, path and hash of the weights or predictions, the data and the split, for the head of a report."""
    source = evaluated.get("weights") or evaluated.get("predictions") or "predictions"
    file = pathlib.Path(str(source))
    return {
        "source": file.name,
        "path": str(source),
        "sha256": _sha256(file) if os.path.isfile(file) else "",
        "kind": "weights" if evaluated.get("weights") else "predictions",
        "data": str(evaluated.get("data", "?")),
        "split": str(evaluated.get("split", "?")),
        "test_list": str(evaluated.get("test_list", {}).get("sha256", "")),
    }


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def provenance() -> dict[str, str]:
    """Return the command, the date, the versions of Python and packages, and the machine."""
    now = environment()
    versions = {"Python": now.python, **now.packages}
    if now.backend is not None:
        versions[now.backend] = now.backend_version or "?"
    return {
        "command": shlex.join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        **versions,
        "machine": f"{now.platform}, {now.cpus} CPU cores",
    }


def render(template: str, values: dict[str, Any]) -> str:
    """Render a template of this package and escape everything that comes from data."""
    loader = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_fit,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    loader.filters.update(percent=percent, interval=interval, change=change)
    loader.globals.update(meter=charts.meter)
    return loader.get_template(template).render(values)


def _fit(value: Any) -> Any:
    """Return what a template shows: text from data loses what acts on a page and what nobody reads."""
    return printable(value, LONGEST) if isinstance(value, str) and not isinstance(value, Markup) else value


def write_page(path: str | os.PathLike[str], page: str) -> None:
    """Write a page, whole or not at all. Raises InputError if it cannot be written."""
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def percent(value: float | None, digits: int = 1) -> Markup:
    """Format a fraction in per cent, with all its digits in the attribute `value`."""
    if value is None:
        return Markup('<span class="none">–</span>')
    return Markup(f'<data value="{float(value)!r}">{100 * value:.{digits}f}</data>')


def change(value: float | None) -> Markup:
    """Format a difference in percentage points, with its sign."""
    if value is None:
        return Markup('<span class="none">–</span>')
    return Markup(f'<data value="{float(value)!r}">{_signed(value)}</data>')


def _signed(value: float) -> str:
    return charts.minus(f"{round(100 * value, 1) + 0.0:+.1f}")  # + 0.0: no negative zero


def interval(values: Sequence[float] | None, signed: bool = False) -> Markup:
    """Format [low, high] in per cent, with signs for a difference; None gives nothing."""
    if values is None:
        return Markup("")
    low, high = values
    text = f"{_signed(low)} to {_signed(high)}" if signed else f"{100 * low:.1f}–{100 * high:.1f}"
    return Markup(f'<span class="interval" data-low="{float(low)!r}" data-high="{float(high)!r}">{text}</span>')


def _pr_charts(result: Result, kind: str) -> list[dict[str, Any]]:
    """Draw a panel per class with one curve per IoU threshold; the stricter the threshold, the fainter the curve."""
    panels = []
    for name in _commonest(result.per_class):
        curves = result.pr_curves[kind].get(name)
        if curves is None:
            continue
        figures = result.per_class[name].mask if kind == "mask" else result.per_class[name].box
        lines = []
        for n, precision in enumerate(curves):
            style = "s1 strong" if n == IOU_50 else "s2 strong" if n == IOU_75 else "s1"
            opacity = 1 if n in (IOU_50, IOU_75) else 0.75 - 0.06 * n
            lines.append(Line(defined([r / 100 for r in range(101)], precision), style, opacity))
        alt = (
            f"{name}, {kind}: precision over recall for ten IoU thresholds; AP50 {_word(figures.AP50)}, "
            f"AP75 {_word(figures.AP75)}"
        )
        chart = charts.curves(lines, alt, "recall, %", "precision, %")
        panels.append({"name": name, "figures": figures, "chart": chart})
    return panels


def _scenes(result: Result, pictures: Pictures) -> tuple[dict[str, list[Scene]], int]:
    """Draw the worst and the best images by Matterport's AP50, and count the images that have objects."""
    ap50 = {n: row.AP50 for n, row in enumerate(result.per_image) if row.AP50 is not None}
    order = sorted(ap50, key=lambda n: (ap50[n], -result.per_image[n].objects, n))
    each = min(_SCENES, (len(order) + 1) // 2)
    groups = {"worst": order[:each], "best": order[each:][::-1][:each]}
    return {name: [pictures.scene(n) for n in positions] for name, positions in groups.items()}, len(order)


def _summary(result: Result) -> list[str]:
    """Return the main findings as sentences."""
    best, errors = result.score_curves.all.best, result.errors
    sentences = []
    if best.score is not None and best.recall is not None:
        sentences.append(
            f"F1 is best with detections of score {best.score:.2f} or more: {best.recall:.0%} of the objects are "
            f"detected, and {best.precision:.0%} of the detections are right (masks, IoU 0.5)."
        )
    classes = {name: own.mask.AP for name, own in result.per_class.items() if own.mask.AP is not None}
    if len(classes) > 1:
        high, low = max(classes, key=classes.__getitem__), min(classes, key=classes.__getitem__)
        sentences.append(
            f"The best class is {high} (mask AP {_word(classes[high])}), the worst is {low} ({_word(classes[low])})."
        )
    gains = sorted(((errors.delta_ap[kind] or 0, kind) for kind in KINDS), reverse=True)
    if gains[0][0] > 0:
        named = " and ".join(f"{kind} ({_word(gain)})" for gain, kind in gains[:2] if gain > 0)
        sentences.append(f"AP50 would gain the most without errors of the kinds {named}.")
    absent = [name for name, own in result.per_class.items() if not own.objects]
    if absent:
        sentences.append(f"The data has no objects of {', '.join(absent)}; the means leave such classes out.")
    return sentences


def _class_chart(result: Result) -> Markup:
    known = result.intervals
    overall = Row("all classes", result.mask.AP, known.mask["AP"] if known else None, "s2")
    rows = [
        Row(name, result.per_class[name].mask.AP, known.per_class[name]["mask"]["AP"] if known else None)
        for name in _commonest(result.per_class)
    ]
    return charts.dots([overall, *rows], "Mask AP of each class with its interval; the table below has the figures")


def _score_charts(result: Result) -> list[dict[str, Any]]:
    curves = result.score_curves
    named = {"all classes": curves.all} | {
        name: curves.per_class[name] for name in _commonest(result.per_class) if name in curves.per_class
    }
    panels = []
    for name, curve in named.items():
        styles = ((curve.precision, "s1"), (curve.recall, "s2 dashed"), (curve.f1, "s3 strong"))
        lines = [Line(defined(curves.scores, values), style) for values, style in styles]
        best, mark, said = curve.best, None, "no detection"
        if best.score is not None and best.f1 is not None:
            mark, said = (best.score, best.f1), f"F1 is best, {best.f1:.1%}, at score {best.score:.2f}"
        alt = f"{name}: precision, recall and F1 over the minimum score; {said}"
        chart = charts.curves(lines, alt, "minimum score, %", "%", mark)
        panels.append({"name": name, "best": best, "chart": chart})
    return panels


def _error_chart(result: Result) -> Markup:
    gains = result.errors.delta_ap
    return charts.dots(
        [Row(kind, gain, None if gain is None else [0.0, gain]) for kind, gain in gains.items()],
        "Gain in AP50 without each kind of error; the table has the figures",
    )


def _largest_slice_figure(result: Result) -> float:
    """Return the upper end of the scale for the AP of slices."""
    slices = [own for values in result.slices.values() for own in values.values()]
    return max([1e-9, *(v for own in slices for v in (own.AP, *(own.interval or ())) if v is not None)])


def _commonest(classes: dict[str, ClassFigures]) -> list[str]:
    """Return the classes in order; if there are too many, only those with the most objects."""
    if len(classes) <= _MAX_PANELS:
        return list(classes)
    ranked = sorted(classes, key=lambda name: -classes[name].objects)[:_MAX_PANELS]
    return [name for name in classes if name in ranked]


def _word(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.1f}"
