"""Charts of the reports as inline SVG: sharp at every size, a few kB each, and coloured by the style sheet of the page.

Points are in data units. Colours are classes (`s1`, `s2`, `s3`, `neutral`) that the page defines for both themes; no
chart depends on colour alone. Text that comes from data is escaped.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

Point = tuple[float, float]


@dataclasses.dataclass
class Line:
    """A curve: its points, classes for the style sheet, and an opacity."""

    points: Sequence[Point]
    style: str
    opacity: float = 1.0


@dataclasses.dataclass
class Row:
    """A figure with its interval, for `dots`; None where it is undefined."""

    label: str
    value: float | None
    interval: Sequence[float] | None = None
    style: str = "s1"


def defined(xs: Sequence[float], ys: Sequence[float | None]) -> list[Point]:
    """The points that have a y."""
    return [(x, y) for x, y in zip(xs, ys, strict=True) if y is not None]


def curves(
    lines: Iterable[Line], alt: str, x_title: str, y_title: str, mark: Point | None = None, diagonal: bool = False
) -> Markup:
    """A panel with both axes from 0 to 100 %.

    Args:
        lines: Points from 0 to 1.
        alt: What the chart shows, for those who do not see it.
        x_title, y_title: Of the axes.
        mark: A point to mark, with a line down to the x axis.
        diagonal: Draw the line y = x.
    """
    width, height, left, top, right, bottom = 280, 190, 34, 8, 12, 34
    plot_width, plot_height = width - left - right, height - top - bottom

    def place(x: float, y: float) -> tuple[str, str]:
        return _n(left + x * plot_width), _n(top + (1 - y) * plot_height)

    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = place(tick, tick)
        x0, y0 = place(0, 0)
        x1, y1 = place(1, 1)
        parts.append(f'<path class="grid" d="M{x0} {y}H{x1}M{x} {y0}V{y1}"/>')
        parts.append(f'<text x="{left - 5}" y="{y}" dy="3.5" class="end">{tick:.0%}</text>'.replace("%", ""))
        parts.append(f'<text x="{x}" y="{top + plot_height + 13}" class="middle">{tick:.0%}</text>'.replace("%", ""))
    if diagonal:
        parts.append('<path class="line neutral dashed" d="M{} {}L{} {}"/>'.format(*place(0, 0), *place(1, 1)))
    for line in lines:
        path = "".join(
            f"{'L' if n else 'M'}{x} {y}"
            for n, (x, y) in enumerate(place(*point) for point in _without_straight(line.points))
        )
        opacity = f' opacity="{_n(line.opacity, 2)}"' if line.opacity < 1 else ""
        parts.append(f'<path class="line {line.style}"{opacity} d="{path}"/>' if path else "")
    if mark:
        x, y = place(*mark)
        parts.append(
            f'<path class="mark" d="M{x} {y}V{top + plot_height}"/><circle class="mark" cx="{x}" cy="{y}" r="3.5"/>'
        )
    parts.append(
        f'<text x="{left + plot_width / 2:g}" y="{height - 4}" class="middle title">{escape(x_title)}</text>'
        f'<text transform="translate(9 {top + plot_height / 2:g}) rotate(-90)" class="middle title">'
        f"{escape(y_title)}</text>"
    )
    return _svg(width, height, alt, parts)


def dots(rows: Sequence[Row], alt: str, least: float | None = 0.0, unit: str = "%") -> Markup:
    """One row per figure: a dot, its interval as a line, and the number; values as shares, shown in per cent.

    Args:
        rows: Top to bottom.
        alt: What the chart shows.
        least: Where the scale begins; None makes it symmetric about 0.
        unit: Below the axis.
    """
    label_width, number_width, row_height, plot_width = 100, 42, 22, 236
    reach = [abs(v) for row in rows for v in (row.value, *(row.interval or ())) if v is not None]
    step, end = _nice(max([*reach, 0.02]))
    start = -end if least is None else least
    ticks = [start + n * step for n in range(round((end - start) / step) + 1)]
    height = len(rows) * row_height + 30

    def place(value: float) -> str:
        return _n(label_width + (value - start) / (end - start) * plot_width)

    parts = []
    for tick in ticks:
        style = "axis" if abs(tick) < 1e-9 else "grid"
        text = minus(_n(100 * tick)) + (unit if tick == ticks[-1] else "")
        parts.append(
            f'<path class="{style}" d="M{place(tick)} 4V{height - 24}"/><text x="{place(tick)}" '
            f'y="{height - 10}" class="middle">{text}</text>'
        )
    for n, row in enumerate(rows):
        y = 4 + (n + 0.5) * row_height
        parts.append(
            f'<text x="{label_width - 8}" y="{y:g}" dy="4" class="end label">{escape(_short(row.label))}</text>'
        )
        if row.interval is not None:
            parts.append(
                f'<path class="whisker {row.style}" d="M{place(row.interval[0])} {y:g}H{place(row.interval[1])}"/>'
            )
        text = "–" if row.value is None else minus(f"{100 * row.value:{'+' if least is None else ''}.1f}")
        if row.value is not None:
            parts.append(f'<circle class="dot {row.style}" cx="{place(row.value)}" cy="{y:g}" r="5"/>')
        parts.append(
            f'<text x="{label_width + plot_width + number_width}" y="{y:g}" dy="4" class="end label">{text}</text>'
        )
    return _svg(label_width + plot_width + number_width + 4, height, alt, parts)


def calibration(bins: Sequence[dict], alt: str) -> Markup:
    """Precision over score with the diagonal, and below it how many detections each bin has."""
    points = [(b["score"], b["precision"]) for b in bins if b["count"]]
    panel = curves([Line(points, "s1")], alt, "score, %", "precision, %", diagonal=True)
    most = max([b["count"] for b in bins] + [1])
    left, width = 34, 234
    parts = []
    for b in bins:
        height = 44 * b["count"] / most
        x, span = left + b["low"] * width, (b["high"] - b["low"]) * width - 2
        parts.append(
            f'<rect class="bar s1" x="{_n(x + 1)}" y="{_n(60 - height)}" width="{_n(span)}" '
            f'height="{_n(height)}"/><text class="middle small" x="{_n(x + span / 2 + 1)}" '
            f'y="{_n(56 - height)}">{b["count"]}</text>'
        )
    return panel + _svg(
        280,
        76,
        "Number of detections for each tenth of the score: " + ", ".join(str(b["count"]) for b in bins),
        [
            *parts,
            f'<path class="axis" d="M{left} 60H{left + width}"/>'
            f'<text class="middle title" x="{left + width / 2:g}" y="74">detections of '
            "this score</text>",
        ],
    )


def meter(value: float | None, interval: Sequence[float] | None, most: float) -> Markup:
    """A small dot with its interval for a table cell, on a scale from 0 to `most`. It repeats the number beside it."""
    width = 96
    if value is None:
        return Markup("")
    whisker = (
        ""
        if interval is None
        else (
            f'<path class="whisker s1" d="M{_n(3 + interval[0] / most * (width - 6))} 7'
            f'H{_n(3 + interval[1] / most * (width - 6))}"/>'
        )
    )
    return Markup(
        f'<svg class="meter" viewBox="0 0 {width} 14" width="{width}" height="14" aria-hidden="true">'
        f'<path class="grid" d="M3 7H{width - 3}"/>{whisker}'
        f'<circle class="dot s1" cx="{_n(3 + value / most * (width - 6))}" cy="7" r="3.5"/></svg>'
    )


def minus(text: str) -> str:
    """A number with a true minus sign."""
    return text.replace("-", "−")


def _svg(width: float, height: float, alt: str, parts: Iterable[str]) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(alt)}" '
        f'style="max-width:{1.5 * width:g}px">{"".join(parts)}</svg>'
    )


def _n(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if value else "0"


def _nice(most: float) -> tuple[float, float]:
    """A round step and the least multiple of it that is not below `most`; about five steps."""
    power = 10 ** math.floor(math.log10(most / 5))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m * 5 >= most - 1e-12)
    return step, math.ceil(most / step - 1e-9) * step


def _short(text: str, most: int = 17) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _without_straight(points: Sequence[Point]) -> list[Point]:
    """Without the points in the middle of level parts."""
    return [
        p
        for n, p in enumerate(points)
        if not 0 < n < len(points) - 1 or points[n - 1][1] != p[1] or points[n + 1][1] != p[1]
    ]
