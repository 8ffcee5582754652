"""The canvas of the drawn street scenes: a pinhole camera, light and haze, painting into image and instance ids.

World coordinates are metres: x right, y up, z ahead of the camera, the ground at y = 0. Parts are painted far to near
into the image (antialiased) and into a map of instance ids (hard edges). The pixels left in that map are the visible
masks.
"""

import math
import random
from dataclasses import dataclass, field

import cv2
import numpy as np

HEIGHT, WIDTH = 720, 1280  # BDD100K's only image size
SHIFT = 4  # OpenCV takes polygon vertices in 1/16 pixel
NEAR_M = 1.2  # points closer than this are moved onto this plane
Colour = tuple[float, float, float]  # RGB, 0 to 255

_TURN = np.linspace(-math.pi / 2, math.pi / 2, 7)
_ARC = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)  # a half circle, the cap of a limb


@dataclass(frozen=True)
class Look:
    """Weather, light and haze of one scene."""

    weather: str
    scene: str
    timeofday: str
    light: float  # factor on the colour of surfaces; 1 at noon
    tint: Colour  # factors on RGB, near 1
    haze: Colour  # RGB that distant things fade to
    haze_per_m: float  # extinction
    headlights: float  # light that the camera car's own lamps add nearby; 0 by day

    @property
    def night(self) -> bool:
        """Return whether windows and street lamps are lit."""
        return self.timeofday == "night"

    @property
    def dark(self) -> bool:
        """Return whether lamps outshine their surroundings: at night, dawn and dusk."""
        return self.timeofday != "daytime"

    @property
    def snow(self) -> bool:
        """Return whether the ground and the tops of things are white."""
        return self.weather == "snowy"


@dataclass
class Parts:
    """The parts of one object in painting order. Each entry is (kind, world points [k, 3], RGB colour, metres)."""

    entries: list[tuple[str, np.ndarray, Colour, float]] = field(default_factory=list)

    def fill(self, points: np.ndarray, colour: Colour, shade: float = 1.0) -> None:
        """Add a filled polygon through world points [k, 3]; `shade` multiplies the colour."""
        self.entries.append(("fill", points, (colour[0] * shade, colour[1] * shade, colour[2] * shade), 0.0))

    def mask(self, points: np.ndarray) -> None:
        """Add a polygon that belongs to the object's mask but is see-through, such as the inside of a spoked wheel."""
        self.entries.append(("mask", points, (0, 0, 0), 0.0))

    def line(self, points: np.ndarray, colour: Colour, width: float) -> None:
        """Add a polyline through world points [k, 3], `width` metres thick."""
        self.entries.append(("line", points, colour, width))

    def limb(self, start: np.ndarray, end: np.ndarray, radii: tuple[float, float], colour: Colour) -> None:
        """Add a tapered capsule between two world points, start [3] and end [3]; radii in metres."""
        points = np.array([[*start], [*end], [radii[0], radii[1], 0.0]])
        self.entries.append(("limb", points, colour, 0.0))

    def lamp(self, points: np.ndarray, colour: Colour, halo: float) -> None:
        """Add a filled polygon that emits light; in the dark it has a halo of `halo` metres."""
        self.entries.append(("lamp", points, colour, halo))


class Canvas:
    """One image being painted: `image` uint8 [720, 1280, 3] RGB and `ids` uint8 [720, 1280], 0 for background."""

    def __init__(self, rng: random.Random, look: Look) -> None:
        """Draw the camera: focal length and horizon in pixels, height in metres, curve of the road in 1/m."""
        self.look = look
        self.focal = rng.uniform(880, 1120)
        self.centre = WIDTH / 2 + rng.gauss(0, 45)
        self.horizon = rng.uniform(315, 395)
        self.height = rng.uniform(1.4, 2.0)
        self.curve = rng.gauss(0, 0.0006) if rng.random() < 0.45 else 0.0
        self.image: np.ndarray = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        self.ids = np.zeros((HEIGHT, WIDTH), np.uint8)
        self._air: dict[tuple[float, bool], tuple[float, ...]] = {}  # (distance, shines) -> factors and haze
        self.halos: list[tuple[float, float, float, Colour, int]] = []

    def road_x(self, x: float, z: float) -> float:
        """Return the world x, at distance `z`, of the lateral position `x` on the road, which may curve."""
        return x + self.curve * z * z

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project world points float [k, 3] to pixels, float64 [k, (x, y)], the centre of pixel 0 at 0."""
        scale = self.focal / np.maximum(points[:, 2], NEAR_M)
        px = np.empty((len(points), 2))
        px[:, 0] = self.centre + points[:, 0] * scale
        px[:, 1] = self.horizon + (self.height - points[:, 1]) * scale
        np.maximum(px, -6000, out=px)  # OpenCV's fixed-point edges overflow beyond 2 ** 15
        return np.minimum(px, 7000, out=px)

    def tone(self, colour: Colour, z: float, shines: bool = False) -> tuple[int, int, int]:
        """Return the colour of a surface at distance `z` under the light and haze of this scene."""
        key = (z, shines)
        air = self._air.get(key)
        if air is None:
            look = self.look
            keep = math.exp(-look.haze_per_m * z * (0.5 if shines else 1.0))
            light = 1.0 if shines else look.light + look.headlights * math.exp(-z / 20.0)
            factors = [light * keep * (1.0 if shines else tint) for tint in look.tint]
            air = self._air[key] = (*factors, *(haze * (1 - keep) for haze in look.haze))
        return (
            min(255, int(colour[0] * air[0] + air[3])),
            min(255, int(colour[1] * air[1] + air[4])),
            min(255, int(colour[2] * air[2] + air[5])),
        )

    def fill_px(self, points_px: np.ndarray, colour: tuple[int, int, int], instance: int, smooth: bool = True) -> None:
        """Fill one polygon [k, (x, y)] in pixels; `instance` < 0 does not change the id map."""
        fixed = np.rint(points_px * (1 << SHIFT)).astype(np.int32)
        cv2.fillPoly(self.image, [fixed], colour, cv2.LINE_AA if smooth else cv2.LINE_8, SHIFT)
        if instance >= 0:
            cv2.fillPoly(self.ids, [fixed], instance, cv2.LINE_8, SHIFT)

    def paint(self, parts: Parts, z: float, instance: int) -> tuple[np.ndarray, np.ndarray]:
        """Paint all parts of an object in the light of distance `z` as `instance`, 0 for background.

        Returns:
            The minimum and the maximum (x, y) of its points in pixels, float [2] each, not clipped to the image.
        """
        stacked = np.concatenate([entry[1][:2] if entry[0] == "limb" else entry[1] for entry in parts.entries])
        px_all = self.project(stacked)
        at = 0
        for kind, points, colour, metres in parts.entries:
            count = 2 if kind == "limb" else len(points)
            px, depth = px_all[at : at + count], max(float(stacked[at, 2]), NEAR_M)
            at += count
            if kind == "fill":
                self.fill_px(px, self.tone(colour, z), instance)
            elif kind == "limb":
                scale = self.focal / depth
                self.fill_px(_capsule(px, points[2, 0] * scale, points[2, 1] * scale), self.tone(colour, z), instance)
            elif kind == "line":
                self._line(px, self.tone(colour, z), metres * self.focal / depth, instance)
            elif kind == "mask":
                cv2.fillPoly(self.ids, [np.rint(px * (1 << SHIFT)).astype(np.int32)], instance, cv2.LINE_8, SHIFT)
            else:
                self.fill_px(px, self.tone(colour, z, shines=self.look.dark), instance)
                if metres and self.look.dark:
                    x, y = px.mean(axis=0)
                    self.halos.append((float(x), float(y), metres * self.focal / depth + 3.0, colour, instance))
        return px_all.min(axis=0), px_all.max(axis=0)

    def _line(self, px: np.ndarray, colour: tuple[int, int, int], width_px: float, instance: int) -> None:
        fixed = [np.rint(px * (1 << SHIFT)).astype(np.int32)]
        thickness = max(1, round(width_px))
        cv2.polylines(self.image, fixed, False, colour, thickness, cv2.LINE_AA, SHIFT)
        if instance >= 0:
            cv2.polylines(self.ids, fixed, False, instance, thickness, cv2.LINE_8, SHIFT)

    def add_halos(self) -> None:
        """Add the glow of the lamps that are still visible: those whose centre was not painted over."""
        for x, y, radius, colour, instance in self.halos:
            column, row = round(x), round(y)
            if not (0 <= column < WIDTH and 0 <= row < HEIGHT) or self.ids[row, column] != max(instance, 0):
                continue
            reach = min(260, max(4, round(radius)))
            x1, y1, x2, y2 = (
                max(0, column - reach),
                max(0, row - reach),
                min(WIDTH, column + reach),
                min(HEIGHT, row + reach),
            )
            falloff = cv2.resize(_HALO, (2 * reach, 2 * reach), interpolation=cv2.INTER_LINEAR)
            falloff = falloff[y1 - row + reach : y2 - row + reach, x1 - column + reach : x2 - column + reach]
            glow = cv2.merge([cv2.convertScaleAbs(falloff, alpha=channel / 255.0) for channel in colour])
            region = self.image[y1:y2, x1:x2]
            cv2.add(region, glow, dst=region)


def _capsule(ends: np.ndarray, radius0: float, radius1: float) -> np.ndarray:
    """Return the outline [14, 2] of two discs and the area between them."""
    (x0, y0), (x1, y1) = ends
    long = math.hypot(x1 - x0, y1 - y0)
    cos, sin = ((x1 - x0) / long, (y1 - y0) / long) if long > 1e-6 else (1.0, 0.0)
    arc = _ARC @ np.array([[cos, sin], [-sin, cos]])  # the half circle, turned to the limb's direction
    outline = np.empty((2 * len(arc), 2))
    outline[: len(arc)] = arc * max(radius1, 0.5) + (x1, y1)
    outline[len(arc) :] = arc * -max(radius0, 0.5) + (x0, y0)
    return outline


def _halo_sprite(size: int = 64) -> np.ndarray:
    """Return the brightness of a halo, uint8 [size, size], falling from the centre to 0."""
    axis = np.linspace(-1, 1, size)
    distance = np.hypot(axis[:, None], axis[None, :])
    return (np.clip(1 - distance, 0, 1) ** 2.6 * 235).astype(np.uint8)


_HALO = _halo_sprite()

_PAINTS = (
    (236, 236, 234),
    (30, 31, 34),
    (120, 124, 128),
    (178, 182, 186),
    (158, 28, 30),
    (26, 56, 128),
    (44, 96, 60),
    (196, 182, 150),
    (96, 66, 46),
    (222, 178, 36),
    (206, 104, 34),
    (64, 128, 168),
    (86, 24, 40),
    (72, 84, 98),
    (210, 206, 196),
)


def any_paint(rng: random.Random) -> Colour:
    """Draw a random colour from the one palette of cars, clothes, bins, doors and billboards."""
    base: Colour = rng.choice(_PAINTS)
    if rng.random() < 0.25:
        base = (rng.uniform(20, 235), rng.uniform(20, 235), rng.uniform(20, 235))
    drift = rng.uniform(-14, 14)
    red, green, blue = (min(250.0, max(8.0, value + drift + rng.uniform(-9, 9))) for value in base)
    return red, green, blue


def mix(first: Colour, second: Colour, fraction: float) -> Colour:
    """Mix two colours; `fraction` is that of the second one."""
    red, green, blue = (a + (b - a) * fraction for a, b in zip(first, second, strict=True))
    return red, green, blue
