"""Sky, ground and shadows of the drawn street scenes."""

import math
import random

import cv2
import numpy as np

from bdd100k.streets.canvas import HEIGHT, WIDTH, Canvas, Colour, any_paint, mix
from bdd100k.streets.weather import SKIES

_BANDS_M = np.geomspace(1.3, 240.0, 26)


def sky(canvas: Canvas, rng: random.Random) -> None:
    """Paint the sky with its clouds, and a skyline or hills on the horizon."""
    look = canvas.look
    top, low = SKIES[look.weather]
    if look.night:
        top, low = (10, 12, 22), (34, 34, 44)
    elif look.timeofday == "dawn/dusk":
        top, low = mix(top, (52, 58, 92), 0.55), look.haze
    depth = np.linspace(0, 1, HEIGHT)[:, None] / max(canvas.horizon / HEIGHT, 0.1)
    column = np.array(top) + (np.array(low, float) - top) * np.clip(depth, 0, 1)
    cv2.resize(column.astype(np.uint8)[:, None, :], (WIDTH, HEIGHT), dst=canvas.image, interpolation=cv2.INTER_NEAREST)
    if look.weather in ("partly cloudy", "overcast", "rainy") and not look.night:
        noise = np.random.default_rng(rng.getrandbits(32)).random((7, 16), np.float32)
        rows = int(canvas.horizon)
        small = np.ascontiguousarray(canvas.image[:rows:4, ::8])
        alpha = cv2.resize(noise, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_CUBIC)
        cut = {"partly cloudy": 0.5, "overcast": 0.25, "rainy": 0.3}[look.weather]
        alpha = np.clip((alpha - cut) * (2.4 if look.weather == "partly cloudy" else 0.9), 0, 0.75)[..., None]
        cloud = np.array(
            mix(low, (250, 250, 250), {"partly cloudy": 0.55, "overcast": 0.25, "rainy": 0.0}[look.weather]), np.float32
        )
        clouded = (small + (cloud - small) * alpha).astype(np.uint8)
        canvas.image[:rows] = cv2.resize(clouded, (WIDTH, rows), interpolation=cv2.INTER_LINEAR)
    x = -120.0
    hills = look.scene == "highway" or rng.random() < 0.3
    while x < WIDTH:
        wide, tall = rng.uniform(40, 190), rng.uniform(4, 30) if hills else rng.uniform(8, 95)
        base = mix((74, 96, 70) if hills else any_paint(rng), look.haze, 0.55)
        tone = canvas.tone(base, 60.0)
        if hills:
            peak = [(0.0, 0.0), (wide * 0.2, tall), (wide * 0.8, tall * rng.uniform(0.6, 1)), (wide * 1.3, 0.0)]
        else:
            peak = [(0.0, 0.0), (0.0, tall), (wide, tall), (wide, 0.0)]
        canvas.fill_px(np.array([(x + px, canvas.horizon + 2 - py) for px, py in peak]), tone, -1)
        x += wide * rng.uniform(0.4, 1.1)


def ground_strip(
    canvas: Canvas, x1: float, x2: float, colour: Colour, z: tuple[float, float] = (1.3, 240.0), up: float = 0.0
) -> None:
    """Paint a strip of ground between two lateral positions, in bands because light and haze change with distance."""
    near, far = z
    edges = [near, *_BANDS_M[(near < _BANDS_M) & (far > _BANDS_M)], far]
    points = [[(canvas.road_x(x1, at), up, at), (canvas.road_x(x2, at), up, at)] for at in edges]
    px = canvas.project(np.array(points).reshape(-1, 3)).reshape(-1, 2, 2)
    for i in range(len(edges) - 1, 0, -1):
        quad = np.stack([px[i, 0], px[i, 1], px[i - 1, 1], px[i - 1, 0]])
        canvas.fill_px(quad, canvas.tone(colour, (edges[i] + edges[i - 1]) / 2), -1, smooth=False)


def dashes(canvas: Canvas, x: float, colour: Colour, pattern: tuple[float, float], width: float = 0.14) -> None:
    """Paint a broken lane line: `pattern` is the length of a dash and of a gap in metres, `width` is in metres."""
    at = 2.0
    while at < 90:
        end = at + pattern[0]
        near, far = canvas.road_x(x, at), canvas.road_x(x, end)
        half = width / 2
        corners = np.array([(near - half, 0, at), (near + half, 0, at), (far + half, 0, end), (far - half, 0, end)])
        canvas.fill_px(canvas.project(corners), canvas.tone(colour, at), -1)
        at = end + pattern[1]


def patches(canvas: Canvas, rng: random.Random, x: tuple[float, float], colour: Colour, count: int) -> None:
    """Paint `count` flat blobs on the road: puddles, repairs, manholes."""
    turn = np.linspace(0, 2 * math.pi, 12, endpoint=False)
    for _ in range(count):
        at, z = rng.uniform(*x), rng.uniform(4, 32)
        size = rng.uniform(0.3, 1.5)
        wobble = np.array([rng.uniform(0.7, 1.2) for _ in turn]) * size
        blob = np.stack([canvas.road_x(at, z) + np.cos(turn) * wobble, 0 * turn, z + np.sin(turn) * wobble], axis=1)
        canvas.fill_px(canvas.project(blob), canvas.tone(colour, z), -1)


def shadow(canvas: Canvas, footprint: np.ndarray, drift: float, strength: float) -> None:
    """Paint the shadow below a footprint, world points [4, 3], which the sun moves `drift` metres sideways."""
    z = float(footprint[:, 2].mean())
    if z < 2.5:
        return
    middle = footprint.mean(axis=0)
    points = middle + (footprint - middle) * 1.06
    size = min(1.0, float(np.ptp(footprint, axis=0).max()) / 3.5)
    points = np.concatenate([points, points + np.array([drift * size, 0, 0])])
    px = np.rint(canvas.project(points) * 16).astype(np.int32)
    hull = cv2.convexHull(px.reshape(-1, 1, 2))
    snow = canvas.look.snow
    cv2.fillPoly(
        canvas.image,
        [hull],
        canvas.tone(mix((110, 112, 116) if snow else (78, 78, 80), (12, 12, 14), strength), z),
        cv2.LINE_AA,
        4,
    )
