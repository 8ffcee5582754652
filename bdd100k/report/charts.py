"""Draws the charts of the reports as inline SVG, a few kB each, with colours from the style sheet of the page.

Points are in data units. Colours are classes (`s1`, `s2`, `s3`, `neutral`) that the page defines for light and dark
mode; no chart relies on colour alone. Text that comes from data is escaped.

Matplotlib's SVG has no classes for a style sheet, so its colours would have to be replaced in the text. A panel with
ten curves would take 33 kB and 24 ms instead of 2 kB and 0.3 ms, and a report of 24 classes has 73 panels.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import markupsafe
from markupsafe import Markup

from mrcnn.evaluation.result import CalibrationBin
from mrcnn.text import LONGEST, printable

Point = tuple[float, float]

_WIDTH, _HEIGHT = 280, 190  # of a panel with curves, in units of the SVG
_LEFT, _TOP, _RIGHT, _BOTTOM = 34, 8, 12, 34  # margins around its plot
_PLOT_WIDTH, _PLOT_HEIGHT = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM


@dataclasses.dataclass
class Line:
    """A curve: its points, its classes for the style sheet, and its opacity."""

    points: Sequence[Point]
    style: str
    opacity: float = 1.0


@dataclasses.dataclass
class Row:
    """A row of `dots`: a figure with its interval; None for what is undefined."""

    label: str
    value: float | None
    interval: Sequence[float] | None = None
    style: str = "s1"


def defined(xs: Sequence[float], ys: Sequence[float | None]) -> list[Point]:
    """Return the points that have a y."""
    return [(x, y) for x, y in zip(xs, ys, strict=True) if y is not None]


def curves(
    lines: Iterable[Line], alt: str, x_title: str, y_title: str, mark: Point | None = None, diagonal: bool = False
) -> Markup:
    """Draw a panel of curves with both axes from 0 to 100 %.

    Args:
        lines: Curves, with coordinates from 0 to 1.
        alt: Text alternative for screen readers.
        x_title, y_title: Titles of the axes.
        mark: A point to mark, with a line down to the x axis.
        diagonal: Whether to draw the line y = x.
    """
    bottom = _TOP + _PLOT_HEIGHT
    (x0, y0), (x1, y1) = _place(0, 0), _place(1, 1)
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = _place(tick, tick)
        parts.append(f'<path class="grid" d="M{x0} {y}H{x1}M{x} {y0}V{y1}"/>')
        parts.append(_text(_LEFT - 5, y, f"{100 * tick:.0f}", "end", 3.5))
        parts.append(_text(x, bottom + 13, f"{100 * tick:.0f}", "middle"))
    if diagonal:
        parts.append(f'<path class="line neutral dashed" d="M{x0} {y0}L{x1} {y1}"/>')
    for line in lines:
        points = [_place(*point) for point in _without_level_parts(line.points)]
        opacity = f' opacity="{_number(line.opacity, 2)}"' if line.opacity < 1 else ""
        path = "M" + "L".join(f"{x} {y}" for x, y in points)
        parts.append(f'<path class="line {line.style}"{opacity} d="{path}"/>' if points else "")
    if mark:
        x, y = _place(*mark)
        parts.append(f'<path class="mark" d="M{x} {y}V{bottom}"/><circle class="mark" cx="{x}" cy="{y}" r="3.5"/>')
    parts.append(_text(f"{_LEFT + _PLOT_WIDTH / 2:g}", _HEIGHT - 4, x_title, "middle title"))
    turned = f'transform="translate(9 {_TOP + _PLOT_HEIGHT / 2:g}) rotate(-90)"'
    parts.append(f'<text {turned} class="middle title">{escape(y_title)}</text>')
    return _svg(_WIDTH, _HEIGHT, alt, parts)


def _place(x: float, y: float) -> tuple[str, str]:
    """Return the position in a panel with curves of a point with coordinates from 0 to 1."""
    return _number(_LEFT + x * _PLOT_WIDTH), _number(_TOP + (1 - y) * _PLOT_HEIGHT)


def dots(rows: Sequence[Row], alt: str, symmetric: bool = False) -> Markup:
    """Draw one row per figure: a dot, the interval as a line, and the number. Fractions are shown in per cent.

    Args:
        rows: Rows from top to bottom.
        alt: Text alternative for screen readers.
        symmetric: Whether the scale is symmetric about 0 and numbers have signs. Otherwise the scale begins at 0.
    """
    label_width, number_width, row_height, plot_width = 100, 42, 22, 236
    extent = [abs(v) for row in rows for v in (row.value, *(row.interval or ())) if v is not None]
    step, end = _scale(max([*extent, 0.02]))
    start = -end if symmetric else 0.0
    ticks = [start + n * step for n in range(round((end - start) / step) + 1)]
    height = len(rows) * row_height + 30

    def place(value: float) -> str:
        return _number(label_width + (value - start) / (end - start) * plot_width)

    parts = []
    for tick in ticks:
        style = "axis" if abs(tick) < 1e-9 else "grid"
        text = minus(_number(100 * tick)) + ("%" if tick == ticks[-1] else "")
        parts.append(f'<path class="{style}" d="M{place(tick)} 4V{height - 24}"/>')
        parts.append(_text(place(tick), height - 10, text, "middle"))
    for n, row in enumerate(rows):
        y = f"{4 + (n + 0.5) * row_height:g}"
        parts.append(_text(label_width - 8, y, _shortened(row.label), "end label", 4))
        if row.interval is not None:
            low, high = map(place, row.interval)
            parts.append(f'<path class="whisker {row.style}" d="M{low} {y}H{high}"/>')
        text = "–" if row.value is None else minus(f"{100 * row.value:{'+' if symmetric else ''}.1f}")
        if row.value is not None:
            parts.append(f'<circle class="dot {row.style}" cx="{place(row.value)}" cy="{y}" r="5"/>')
        parts.append(_text(label_width + plot_width + number_width, y, text, "end label", 4))
    return _svg(label_width + plot_width + number_width + 4, height, alt, parts)


def calibration(bins: Sequence[CalibrationBin], alt: str) -> Markup:
    """Draw precision over score with the diagonal, and below it the number of detections in each bin."""
    points = [(b.score, b.precision) for b in bins if b.score is not None and b.precision is not None]
    panel = curves([Line(points, "s1")], alt, "score, %", "precision, %", diagonal=True)
    largest = max([b.count for b in bins] + [1])
    parts = []
    for b in bins:
        height = 44 * b.count / largest
        x, width = _LEFT + b.low * _PLOT_WIDTH, (b.high - b.low) * _PLOT_WIDTH - 2
        parts.append(
            f'<rect class="bar s1" x="{_number(x + 1)}" y="{_number(60 - height)}" width="{_number(width)}" '
            f'height="{_number(height)}"/>'
        )
        parts.append(_text(_number(x + width / 2 + 1), _number(56 - height), str(b.count), "middle small"))
    parts.append(f'<path class="axis" d="M{_LEFT} 60H{_LEFT + _PLOT_WIDTH}"/>')
    parts.append(_text(f"{_LEFT + _PLOT_WIDTH / 2:g}", 74, "detections with this score", "middle title"))
    counts = ", ".join(str(b.count) for b in bins)
    return panel + _svg(_WIDTH, 76, f"Number of detections for each tenth of the score: {counts}", parts)


def escape(text: object) -> Markup:
    """Return a text that comes from data as HTML, without what acts on a page: tags, control characters, overrides."""
    return markupsafe.escape(printable(text, LONGEST))


def meter(value: float | None, interval: Sequence[float] | None, end: float) -> Markup:
    """Draw a small dot with its interval, on a scale from 0 to `end`, for the table cell beside the number."""
    width = 96
    if value is None:
        return Markup("")

    def place(fraction: float) -> str:
        return _number(3 + fraction / end * (width - 6))

    low, high = map(place, interval or (0, 0))
    whisker = "" if interval is None else f'<path class="whisker s1" d="M{low} 7H{high}"/>'
    return Markup(
        f'<svg class="meter" viewBox="0 0 {width} 14" width="{width}" height="14" aria-hidden="true">'
        f'<path class="grid" d="M3 7H{width - 3}"/>{whisker}<circle class="dot s1" cx="{place(value)}" cy="7" r="3.5"/>'
        "</svg>"
    )


def minus(text: str) -> str:
    """Replace the hyphen of a number by a true minus sign."""
    return text.replace("-", "−")


def _svg(width: float, height: float, alt: str, parts: Iterable[str]) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(alt)}" '
        f'style="max-width:{1.5 * width:g}px">{"".join(parts)}</svg>'
    )


def _text(x: float | str, y: float | str, text: str, style: str, lower: float = 0) -> str:
    """Return a text element at (x, y), moved down by `lower`."""
    moved = f' dy="{lower:g}"' if lower else ""
    return f'<text x="{x}" y="{y}"{moved} class="{style}">{escape(text)}</text>'


def _number(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if value else "0"


def _scale(largest: float) -> tuple[float, float]:
    """Return a round step that gives about five steps, and its smallest multiple that is not below `largest`."""
    power = 10 ** math.floor(math.log10(largest / 5))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m * 5 >= largest - 1e-12)
    return step, math.ceil(largest / step - 1e-9) * step


def _shortened(text: str, length: int = 17) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _without_level_parts(points: Sequence[Point]) -> list[Point]:
    """Leave out points between two others of the same height."""
    return [
        p
        for n, p in enumerate(points)
        if not 0 < n < len(points) - 1 or points[n - 1][1] != p[1] or points[n + 1][1] != p[1]
    ]
