"""The evaluation report: one HTML file that needs no network, for a phone and for a wide screen, light and dark.

    write_report(path, result, dataset, image_ids, evaluated)

Every figure stands in a `<data value="...">` with all its digits. Pictures are of a fixed number, so the file stays
below 5 MB however many images were evaluated.
"""

import datetime
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from bdd100k.report import charts
from bdd100k.report.charts import Line, Row, defined
from bdd100k.report.pictures import Pictures
from bdd100k.report.published import PAPER, PAPER_COLUMNS, ZOO
from mrcnn.evaluation.coco_ap import IOU_50, IOU_75
from mrcnn.evaluation.tide import KINDS
from mrcnn.files import written_whole

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset
    from mrcnn.evaluation.evaluator import Result


TEMPLATES = pathlib.Path(__file__).parent / "templates"
TWELVE = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L", "AR1", "AR10", "AR100", "AR_S", "AR_M", "AR_L")
KIND_NAMES = {
    "class": "well placed, but another class",
    "place": "the right class, badly placed (IoU 0.1 to 0.5)",
    "both": "another class, and badly placed",
    "duplicate": "an object that a better detection has already",
    "background": "nothing there (IoU below 0.1 with every object)",
    "missed": "objects that nothing found",
}
_MOST_PANELS = 24  # classes with curves
_SCENES, _ERRORS = 5, 6  # pictures: images of each kind, errors of each kind
_DEFAULT_SCORE = 0.5  # where no score is best: there is no detection
_PACKAGES = {
    "keras": "keras",
    "tensorflow": "tensorflow",
    "jax": "jax",
    "torch": "torch",
    "numpy": "numpy",
    "cv2": "opencv-python",
    "pycocotools": "pycocotools",
}  # module -> distribution; said where they were used


def write_report(
    path: str | os.PathLike[str],
    result: "Result",
    dataset: "Dataset",
    image_ids: Sequence[int],
    evaluated: dict[str, Any],
) -> None:
    """Writes the report of an evaluation.

    Args:
        path: Of the HTML file.
        result: What `evaluate` returned.
        dataset: The dataset it was computed on.
        image_ids: Its images, in the order in which they were evaluated.
        evaluated: What was evaluated: "data", "split", and "weights" with "settings", or "predictions".

    Raises:
        InputError: The file cannot be written.
    """
    best = result.score_curves["all"]["best"]["score"]
    min_score = _DEFAULT_SCORE if best is None else best
    pictures = Pictures(result, dataset, image_ids, min_score)
    scenes, order = _scenes(result, pictures)
    page = render(
        "report.html.j2",
        {
            "result": result,
            "min_score": min_score,
            "twelve": TWELVE,
            "run": describe(evaluated),
            "paper": PAPER,
            "paper_columns": PAPER_COLUMNS,
            "zoo": ZOO,
            "kinds": KIND_NAMES,
            "summary": _summary(result),
            "scenes": scenes,
            "ranked": len(order),
            "gallery": pictures.gallery(_ERRORS),
            "class_chart": _class_chart(result),
            "pr_charts": {kind: pr_charts(result.pr_curves[kind], result.per_class, kind) for kind in ("mask", "box")},
            "score_charts": _score_charts(result),
            "error_chart": _error_chart(result),
            "calibration_chart": charts.calibration(result.calibration["bins"], "Precision over score, in ten bins"),
            "slice_most": max(
                [1e-9]
                + [
                    v
                    for values in result.slices.values()
                    for own in values.values()
                    for v in (own["AP"], *(own["interval"] or ()))
                    if v is not None
                ]
            ),
            "settings_of_run": evaluated.get("settings", {}),
            "environment": environment(),
        },
    )
    write_page(path, page)


def describe(evaluated: dict[str, Any]) -> dict[str, str]:
    """What was evaluated, for the head of a report: its name, path, hash, data and split."""
    source = evaluated.get("weights") or evaluated.get("predictions") or "predictions"
    file = pathlib.Path(str(source))
    return {
        "source": file.name,
        "path": str(source),
        "sha256": _sha256(file) if file.is_file() else "",
        "kind": "weights" if evaluated.get("weights") else "predictions",
        "data": str(evaluated.get("data", "?")),
        "split": str(evaluated.get("split", "?")),
        "test_list": str(evaluated.get("test_list", {}).get("sha256", "")),
    }


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def environment() -> dict[str, str]:
    """The command, the versions of what was imported, and the machine of this run."""
    versions = {}
    for module, name in _PACKAGES.items():
        if module in sys.modules:
            versions[name] = importlib.metadata.version(name)
    return {
        "command": shlex.join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "Python": platform.python_version(),
        **versions,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
    }


def render(template: str, values: dict[str, Any]) -> str:
    """A page from a template of this package, with everything escaped that comes from data."""
    loader = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    loader.filters.update(percent=percent, interval=interval, change=change)
    loader.globals.update(meter=charts.meter)
    return loader.get_template(template).render(values)


def write_page(path: str | os.PathLike[str], page: str) -> None:
    """Writes a page under a temporary name and renames it. Raises InputError where that fails."""
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def percent(value: float | None, digits: int = 1) -> Markup:
    """A share in per cent, with all its digits in the attribute `value`."""
    if value is None:
        return Markup('<span class="none">–</span>')
    return Markup(f'<data value="{float(value)!r}">{100 * value:.{digits}f}</data>')


def change(value: float | None) -> Markup:
    """A difference in percentage points, with its sign."""
    if value is None:
        return Markup('<span class="none">–</span>')
    return Markup(f'<data value="{float(value)!r}">{_signed(value)}</data>')


def _signed(value: float) -> str:
    return charts.minus(f"{round(100 * value, 1) + 0.0:+.1f}")  # + 0.0: no negative zero


def interval(values: Sequence[float] | None, signed: bool = False) -> Markup:
    """[low, high] in per cent, or nothing; of a difference with signs."""
    if values is None:
        return Markup("")
    low, high = values
    text = f"{_signed(low)} to {_signed(high)}" if signed else f"{100 * low:.1f}–{100 * high:.1f}"
    return Markup(f'<span class="interval" data-low="{float(low)!r}" data-high="{float(high)!r}">{text}</span>')


def pr_charts(curves: dict[str, list], classes: dict[str, dict], kind: str) -> list[dict[str, Any]]:
    """A panel per class: name, AP50, AP75, chart. One curve per IoU threshold, the strictest the faintest."""
    panels = []
    for name in _commonest(classes):
        if name not in curves:
            continue
        figures = classes[name][kind]
        lines = []
        for n, precision in enumerate(curves[name]):
            style = "s1 strong" if n == IOU_50 else "s2 strong" if n == IOU_75 else "s1"
            lines.append(
                Line(
                    defined([r / 100 for r in range(101)], precision),
                    style,
                    1 if n in (IOU_50, IOU_75) else 0.75 - 0.06 * n,
                )
            )
        alt = (
            f"{name}, {kind}: precision over recall for ten IoU thresholds; AP50 {_word(figures['AP50'])}, "
            f"AP75 {_word(figures['AP75'])}"
        )
        panels.append(
            {"name": name, "figures": figures, "chart": charts.curves(lines, alt, "recall, %", "precision, %")}
        )
    return panels


def _scenes(result: "Result", pictures: Pictures) -> tuple[dict[str, list[dict[str, Any]]], list[int]]:
    """The worst and the best images by `per_image`, and the positions of all that have objects, worst first."""
    scored = [n for n, row in enumerate(result.per_image) if row["AP50"] is not None]
    order = sorted(scored, key=lambda n: (result.per_image[n]["AP50"], -result.per_image[n]["objects"], n))
    each = min(_SCENES, (len(order) + 1) // 2)
    groups = {"worst": order[:each], "best": order[each:][::-1][:each]}
    return {
        name: [{"row": result.per_image[n], "name": pictures.name(n), **pictures.scene(n)} for n in positions]
        for name, positions in groups.items()
    }, order


def _summary(result: "Result") -> list[str]:
    """What a stranger should know first, in sentences."""
    best, errors = result.score_curves["all"]["best"], result.errors
    sentences = []
    if best["score"] is not None and best["recall"] is not None:
        sentences.append(
            f"With detections of score {best['score']:.2f} or more, where F1 is best, {best['recall']:.0%} of the "
            f"objects are found, and {best['precision']:.0%} of the detections are right (masks, IoU 0.5)."
        )
    classes = {name: own["mask"]["AP"] for name, own in result.per_class.items() if own["mask"]["AP"] is not None}
    if len(classes) > 1:
        high, low = max(classes, key=classes.__getitem__), min(classes, key=classes.__getitem__)
        sentences.append(
            f"The best class is {high} (mask AP {_word(classes[high])}), the worst is {low} ({_word(classes[low])})."
        )
    gains = sorted(((errors["delta_ap"][kind] or 0, kind) for kind in KINDS), reverse=True)
    if gains[0][0] > 0:
        named = " and ".join(f"{kind} ({_word(gain)})" for gain, kind in gains[:2] if gain > 0)
        sentences.append(f"AP50 would gain most without errors of the kinds {named}.")
    absent = [name for name, own in result.per_class.items() if not own["objects"]]
    if absent:
        sentences.append(f"The data has no {', no '.join(absent)}; the means leave such classes out.")
    return sentences


def _class_chart(result: "Result") -> Markup:
    known = result.intervals.get("per_class", {})
    rows = [
        Row(name, result.per_class[name]["mask"]["AP"], known.get(name, {}).get("mask", {}).get("AP"))
        for name in _commonest(result.per_class)
    ]
    overall = Row("all classes", result.mask["AP"], result.intervals.get("mask", {}).get("AP"), "s2")
    return charts.dots([overall, *rows], "Mask AP of each class with its interval; the table below has the figures")


def _score_charts(result: "Result") -> list[dict[str, Any]]:
    curves = result.score_curves
    own = {"all classes": curves["all"]} | {
        name: curves["per_class"][name] for name in _commonest(result.per_class) if name in curves["per_class"]
    }
    panels = []
    for name, figures in own.items():
        lines = [
            Line(defined(curves["scores"], figures[key]), style)
            for key, style in (("precision", "s1"), ("recall", "s2 dashed"), ("f1", "s3 strong"))
        ]
        best = figures["best"]
        mark = None if best["score"] is None else (best["score"], best["f1"])
        said = "no detection" if mark is None else f"F1 is best, {best['f1']:.1%}, at score {best['score']:.2f}"
        panels.append(
            {
                "name": name,
                "best": best,
                "chart": charts.curves(
                    lines, f"{name}: precision, recall and F1 over the least score; {said}", "least score, %", "%", mark
                ),
            }
        )
    return panels


def _error_chart(result: "Result") -> Markup:
    gains = result.errors["delta_ap"]
    return charts.dots(
        [Row(kind, gains[kind], None if gains[kind] is None else [0.0, gains[kind]]) for kind in KINDS],
        "What AP50 would gain without each kind of error; the table has them",
    )


def _commonest(classes: dict[str, dict]) -> list[str]:
    """The classes, in order; of very many those with the most objects."""
    if len(classes) <= _MOST_PANELS:
        return list(classes)
    ranked = sorted(classes, key=lambda name: -classes[name]["objects"])[:_MOST_PANELS]
    return [name for name in classes if name in ranked]


def _word(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.1f}"
