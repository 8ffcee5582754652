"""Find where an outline crosses itself, in about n log n steps for the outlines of real objects.

Legend: k points and edges, m pieces of edges, p pairs of edges.
"""

from collections.abc import Iterator

import numpy as np

_ALL_PAIRS = 100  # up to so many edges, comparing all of them is the fastest way
_FIRST = 16  # edges that are compared with all others first: a tangle ends there
_AT_ONCE = 1 << 17  # pairs: their arrays stay in the cache
_PIECES = 30  # into which the grid may cut an edge on average
_OFFSET = (0.6180339, 0.4142135)  # of the grid, in cells: whole numbers, which many points have, lie beside its lines
_NEAR = 1e-6  # of the side of a cell: distances below it may be rounding
Pairs = tuple[np.ndarray, np.ndarray]


def crossing(points: np.ndarray) -> tuple[float, float] | None:
    """Return the first point at which a closed polygon crosses itself.

    Two edges cross if the ends of each lie strictly on either side of the other. Edges that only touch, or lie on each
    other, do not count: outlines around a hole are drawn that way.

    Args:
        points: float [k, (x, y)] px; the last point is joined to the first.

    Returns:
        (x, y) px of the first edge that crosses another, with the first one that it crosses; None if none do.
    """
    starts = np.asarray(points, np.float64)
    if len(starts) < 4:
        return None
    steps = np.roll(starts, -1, axis=0) - starts
    found = first_pair(starts, steps)
    if found is None:
        return None
    i, j = found
    (away_x, away_y), (ax, ay), (bx, by) = starts[j] - starts[i], steps[i], steps[j]
    x, y = starts[i] + steps[i] * (away_x * by - away_y * bx) / (ax * by - ay * bx)
    return float(x), float(y)


def first_pair(starts: np.ndarray, steps: np.ndarray) -> tuple[int, int] | None:
    """Return the first pair of edges i < j that cross, by i and then j; None if none do.

    Args:
        starts: float64 [k, (x, y)] px.
        steps: float64 [k, (x, y)] px, from the start of each edge to its end.
    """
    count = len(starts)
    if count <= _ALL_PAIRS:
        return _first_of_all(starts, steps, count)
    best = _first_of_all(starts, steps, _FIRST)
    if best is not None or not steps.any():
        return best
    for pairs in _close_pairs(starts, steps):
        found = _first(starts, steps, pairs)
        best = min(filter(None, (best, found)), default=None)
    return best


def _first_of_all(starts: np.ndarray, steps: np.ndarray, head: int) -> tuple[int, int] | None:
    """The first pair of edges that cross, the one among the first `head` edges and the other anywhere."""
    own, own_steps = starts[:head, None], steps[:head, None]
    x, y = np.moveaxis(starts[None] - own, 2, 0)
    side = np.sign(own_steps[..., 0] * y - own_steps[..., 1] * x)
    i, j = np.nonzero(side * np.roll(side, -1, axis=1) < 0)  # the line through i passes between the ends of j
    return _first(starts, steps, (i[i < j], j[i < j]))


def _first(starts: np.ndarray, steps: np.ndarray, pairs: Pairs) -> tuple[int, int] | None:
    """The first of some pairs of edges, int [p] each in any order, that cross."""
    i, j = np.minimum(*pairs), np.maximum(*pairs)
    crossed = _straddles(starts, steps, i, j)
    i, j = i[crossed], j[crossed]
    crossed = _straddles(starts, steps, j, i)
    if not crossed.any():
        return None
    i, j = i[crossed], j[crossed]
    low = int(i.min())
    return low, int(j[i == low].min())


def _straddles(starts: np.ndarray, steps: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """bool [p]: whether the ends of edge j lie strictly on different sides of the line through edge i."""
    (ax, ay), (x, y) = steps[i].T, (starts[j] - starts[i]).T
    end_x, end_y = (starts[(j + 1) % len(starts)] - starts[i]).T
    return np.sign(ax * y - ay * x) * np.sign(ax * end_y - ay * end_x) < 0


def _close_pairs(starts: np.ndarray, steps: np.ndarray) -> Iterator[Pairs]:
    """Yield pairs of edges that pass through the same cell of a grid, among them all that cross.

    Edges through a whole cell cross in it only if their ends on its border alternate; as a rule none do, and only edges
    that end in a cell are compared with the others there.
    """
    side = _cell_side(starts, steps)
    places, steps = (starts - starts.min(axis=0)) / side + _OFFSET, steps / side
    edges, begin, end = _pieces(places, steps)
    order, cells = _grouped(np.floor(places[edges] + ((begin + end) / 2)[:, None] * steps[edges]))
    shared = np.bincount(cells)[cells] > 1
    order, cells = order[shared], cells[shared]
    edges, begin, end = edges[order], begin[order], end[order]
    ending = (begin == 0) | (end == 1)
    through = np.flatnonzero(~ending)
    own, at = edges[through], (begin[through], end[through])
    corners = np.floor(places[own] + (sum(at) / 2)[:, None] * steps[own])
    border = [_along_border(places[own] + t[:, None] * steps[own] - corners) for t in at]
    ending[through[_alternate(cells[through], border)]] = True
    return _pairs_in_cells(edges, cells, ending)


def _cell_side(starts: np.ndarray, steps: np.ndarray) -> float:
    """Side of the cells, px: with about two points in each that has any, unless there would be too many pieces."""
    points = np.unique(starts, axis=0) - starts.min(axis=0)
    side = points.max()
    smallest = max(np.abs(steps).sum(axis=1).mean() / _PIECES, side / 2**20)
    while side / 2 > smallest:
        if 2 * (_grouped(np.floor(points / side))[1][-1] + 1) > len(points):
            break
        side /= 2
    return side


def _grouped(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort cells, float [m, (column, row)]: the order, int [m], and the numbers of the sorted ones from 0, int [m]."""
    keys = cells[:, 1] * 2.0**24 + cells[:, 0]
    order = np.argsort(keys)
    keys = keys[order]
    return order, np.cumsum(np.append(False, keys[1:] != keys[:-1]))


def _pieces(places: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut edges where they meet the lines of the grid, which are at whole numbers.

    Args:
        places: float [k, (x, y)], the starts of the edges, in cells.
        steps: float [k, (x, y)], in cells.

    Returns:
        int [m] edges, and float [m] where a piece of an edge begins and ends, as fractions of the edge: 0 to 1.
    """
    cuts = [np.flatnonzero(steps.any(axis=1)).astype(np.float64)]  # an edge without length crosses nothing
    for axis in (0, 1):
        low, high = np.sort([places[:, axis], places[:, axis] + steps[:, axis]], axis=0)
        count = (np.ceil(high) - np.ceil(low)).astype(np.int64)
        edges = np.repeat(np.arange(len(places)), count)
        lines = np.ceil(low)[edges] + np.arange(len(edges)) - np.repeat(np.cumsum(count) - count, count)
        at = (lines - places[edges, axis]) / steps[edges, axis]
        cuts.append(edges + np.clip(at, 0, 1 - 1e-8))
    begin = np.sort(np.concatenate(cuts))
    edges = begin.astype(np.int64)
    end = np.append(begin[1:], -1) - edges
    return edges, begin - edges, np.where(np.append(edges[1:], -1) == edges, end, 1.0)


def _along_border(places: np.ndarray) -> np.ndarray:
    """Distance of points on the border of a unit square from its top left corner, clockwise: float [m], 0 to 4."""
    x, y = np.clip(places, 0, 1).T
    side = np.argmin([y, 1 - x, 1 - y, x], axis=0)
    return np.choose(side, [x, 1 + y, 3 - x, 4 - y])


def _alternate(cells: np.ndarray, border: list[np.ndarray]) -> np.ndarray:
    """Return bool [m], whether an edge is in a cell in which the ends of some edges on its border alternate.

    Args:
        cells: int [m], the cell of each edge.
        border: two float [m], where the edge meets the border.
    """
    count = len(cells)
    place, owner = np.concatenate(border), np.tile(np.arange(count), 2)
    order = np.argsort(cells[owner] * 8 + place)
    own, where = cells[owner[order]], place[order]
    # Between both ends of an edge, each other edge has both of its ends, or none: their random numbers cancel out.
    marks = np.random.default_rng(0).integers(1, 1 << 63, count)
    sums = np.bitwise_xor.accumulate(marks[owner[order]])
    position = np.empty(2 * count, np.int64)
    position[order] = np.arange(2 * count)
    begin, end = np.sort(position.reshape(2, count), axis=0)
    suspect = np.zeros(int(cells.max(initial=0)) + 1, bool)
    suspect[cells[sums[end - 1] != sums[begin]]] = True
    suspect[own[1:][(own[1:] == own[:-1]) & (np.diff(where) < _NEAR)]] = True
    suspect[own[(where % 1 < _NEAR) | (where % 1 > 1 - _NEAR)]] = True
    return suspect[cells]


def _pairs_in_cells(edges: np.ndarray, cells: np.ndarray, ending: np.ndarray) -> Iterator[Pairs]:
    """Yield the pairs of edges of the same cell, int [p] each, of which one ends there.

    Args:
        edges: int [m].
        cells: int [m], ascending.
        ending: bool [m].
    """
    begin, end = (np.searchsorted(cells, cells[ending], side=side) for side in ("left", "right"))
    own, totals = edges[ending], np.concatenate([[0], np.cumsum(end - begin)])
    for low in range(0, int(totals[-1]), _AT_ONCE):
        pair = np.arange(low, min(low + _AT_ONCE, int(totals[-1])))
        one = np.searchsorted(totals, pair, side="right") - 1
        yield own[one], edges[begin[one] + pair - totals[one]]
