"""Outlines that cross themselves: the same as comparing all edges, in the time of sorting them."""

import time

import numpy as np
import pytest

from mrcnn.annotations.crossings import crossing, first_pair


def first_of_all(points):
    """Compare all pairs of edges in one matrix."""
    steps = np.roll(points, -1, axis=0) - points
    away = points[None] - points[:, None]
    side = np.sign(steps[:, None, 0] * away[..., 1] - steps[:, None, 1] * away[..., 0])
    straddled = side * np.roll(side, -1, axis=1) < 0
    pairs = np.argwhere(np.triu(straddled & straddled.T, 1))
    return tuple(pairs[0].tolist()) if len(pairs) else None


def outline(kind, n, rng):
    around, i = np.linspace(0, 2 * np.pi, n, endpoint=False), np.arange(n)
    radius = 100 + rng.normal(size=n) * rng.choice([0, 1e-3, 0.1, 3, 30])
    star = np.stack([radius * np.cos(around), radius * np.sin(around)], axis=1) + 200
    pushed = star.copy()
    pushed[rng.integers(n)] += rng.normal(size=2) * 20
    comb = np.stack([i * 0.1 + (i % 2) * rng.choice([0, 41, 100]), (i % 2) * 100.0], axis=1)
    return {
        "star": star,
        "whole numbers": np.round(star),
        "one point moved": pushed,
        "tangle": rng.integers(0, 20, (n, 2)).astype(float),
        "walk on a grid": np.cumsum(rng.integers(-1, 2, (n, 2)), axis=0).astype(float),
        "twice around": np.concatenate([star, star]),
        "there and back": np.concatenate([star, star[::-1]]),
        "each point twice": np.repeat(star, 2, axis=0),
        "comb": np.concatenate([comb, [[i[-1] * 0.1, 200], [-50, 200]]]),
        "crowded": np.concatenate([star, star[:1] + rng.normal(size=(n, 2)) * 1e-3]),
        "one point": np.zeros((n, 2)) + 7,
        "a line": np.stack([i % 7, i % 7], axis=1).astype(float),
    }[kind]


KINDS = "star;whole numbers;one point moved;tangle;walk on a grid;twice around;there and back;each point twice;comb"


@pytest.mark.parametrize("kind", [*KINDS.split(";"), "crowded", "one point", "a line"])
def test_the_first_crossing_is_that_of_all_pairs(kind):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        points = outline(kind, int(rng.integers(110, 400)), rng)
        assert first_pair(points, np.roll(points, -1, axis=0) - points) == first_of_all(points), seed


def test_the_last_of_many_edges_crosses():
    around = np.linspace(0, 2 * np.pi, 1500, endpoint=False)
    circle = np.stack([np.cos(around), np.sin(around)], axis=1) * 300
    circle[[1200, 1201]] = circle[[1201, 1200]]
    assert first_pair(circle, np.roll(circle, -1, axis=0) - circle) == first_of_all(circle) == (1199, 1201)


@pytest.mark.parametrize("jitter", [0, 1, 20])
def test_a_hundred_thousand_points(jitter):
    """Comparing all took ten minutes; the limit leaves room for a machine that does other things too."""
    around = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
    radius = 400 + jitter * np.random.default_rng(0).random(100_000)
    points = np.stack([radius * np.cos(around), radius * np.sin(around)], axis=1)
    started = time.process_time()
    assert crossing(points) is None
    assert time.process_time() - started < 6
