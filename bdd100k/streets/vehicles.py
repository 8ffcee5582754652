"""The vehicles of the drawn street scenes: side profiles and cross-sections extruded in 3D, so every view is right."""

import math
import random
from dataclasses import dataclass, field

import numpy as np

from bdd100k.streets.canvas import Colour, Parts, any_paint, mix

TYRE: Colour = (26, 26, 28)
GLASS: Colour = (46, 56, 66)
_RING = np.stack([np.cos(np.arange(16) * math.pi / 8), np.sin(np.arange(16) * math.pi / 8)], axis=1)


@dataclass
class Frame:
    """Where a thing stands: centre (x, z) and camera height `eye` in metres, heading in radians (0 drives away)."""

    x: float
    z: float
    yaw: float
    eye: float

    def world(self, along: np.ndarray | float, across: np.ndarray | float, up: np.ndarray | float) -> np.ndarray:
        """Own coordinates -> world points float64 [k, 3]; all in metres.

        Args:
            along, across, up: ahead, right and up, [k] or one number for all.
        """
        sin, cos = math.sin(self.yaw), math.cos(self.yaw)
        points = np.empty((max(np.size(along), np.size(across), np.size(up)), 3))
        points[:, 0] = along * sin + across * cos + self.x
        points[:, 1] = up
        points[:, 2] = along * cos - across * sin + self.z
        return points

    def joint(self, ahead: float, right: float, up: float) -> np.ndarray:
        """One point in own coordinates -> world point float64 [3], metres."""
        sin, cos = math.sin(self.yaw), math.cos(self.yaw)
        return np.array((ahead * sin + right * cos + self.x, up, ahead * cos - right * sin + self.z))

    def seen(self, normal: tuple[float, float, float], point: tuple[float, float, float]) -> bool:
        """Whether a face with this outward normal at this point (own coordinates) looks towards the camera."""
        sin, cos = math.sin(self.yaw), math.cos(self.yaw)
        ahead = -(self.x * sin + self.z * cos) - point[0]
        right = -(self.x * cos - self.z * sin) - point[1]
        return normal[0] * ahead + normal[1] * right + normal[2] * (self.eye - point[2]) > 0


@dataclass
class Thing:
    """A placed thing: its footprint (metres) for the painting order, and the parts of each object it consists of."""

    x1: float
    x2: float
    z1: float
    z2: float
    layers: list[tuple[str | None, Parts]] = field(default_factory=list)
    footprint: np.ndarray | None = None  # world points [4, 3] of its shadow


@dataclass(frozen=True)
class Body:
    """A side profile: outline (along, up) from rear bottom over the roof to front bottom; which edges are glass.

    All lengths, those of `windows` and `wheels` along it too, are metres.
    """

    outline: tuple[tuple[float, float], ...]
    glass: tuple[int, ...]
    width: float
    belt: float  # height at which the sides start to lean in
    lean: float  # share of the half width lost at the roof
    windows: tuple[tuple[tuple[float, float], ...], ...]
    wheels: tuple[float, ...]
    wheel: float  # radius

    @property
    def length(self) -> float:
        """Metres from bumper to bumper."""
        return max(point[0] for point in self.outline)

    @property
    def height(self) -> float:
        """Metres from the ground to the roof."""
        return max(point[1] for point in self.outline)


CARS = {
    "sedan": Body(
        (
            (0, 0.28),
            (0, 0.62),
            (0.08, 0.95),
            (0.78, 1.0),
            (1.45, 1.42),
            (2.7, 1.45),
            (3.45, 1.0),
            (4.4, 0.82),
            (4.6, 0.58),
            (4.6, 0.25),
        ),
        (3, 5),
        1.8,
        0.95,
        0.22,
        (((0.98, 1.0), (1.5, 1.36), (2.1, 1.38), (2.1, 0.98)), ((2.18, 0.98), (2.18, 1.38), (2.68, 1.38), (3.28, 1.0))),
        (0.85, 3.75),
        0.33,
    ),
    "suv": Body(
        (
            (0, 0.34),
            (0, 0.75),
            (0.05, 1.05),
            (0.4, 1.68),
            (0.8, 1.76),
            (2.75, 1.74),
            (3.45, 1.16),
            (4.5, 1.02),
            (4.7, 0.74),
            (4.7, 0.32),
        ),
        (2, 5),
        1.92,
        1.08,
        0.17,
        (
            ((0.42, 1.12), (0.66, 1.64), (1.2, 1.66), (1.2, 1.12)),
            ((1.28, 1.12), (1.28, 1.66), (2.1, 1.66), (2.1, 1.12)),
            ((2.18, 1.12), (2.18, 1.66), (2.7, 1.64), (3.25, 1.14)),
        ),
        (0.9, 3.8),
        0.37,
    ),
    "hatch": Body(
        (
            (0, 0.28),
            (0, 0.6),
            (0.05, 0.92),
            (0.45, 1.42),
            (0.8, 1.5),
            (2.2, 1.48),
            (3.0, 1.0),
            (3.8, 0.84),
            (3.98, 0.58),
            (3.98, 0.26),
        ),
        (2, 5),
        1.72,
        0.95,
        0.2,
        (((0.5, 0.98), (0.8, 1.4), (1.5, 1.42), (1.5, 0.97)), ((1.58, 0.97), (1.58, 1.42), (2.18, 1.4), (2.8, 1.0))),
        (0.7, 3.25),
        0.31,
    ),
    "van": Body(
        (
            (0, 0.32),
            (0, 0.7),
            (0.02, 1.1),
            (0.18, 1.82),
            (0.5, 1.95),
            (3.3, 1.92),
            (4.15, 1.2),
            (4.75, 1.02),
            (4.95, 0.7),
            (4.95, 0.3),
        ),
        (2, 5),
        1.95,
        1.15,
        0.12,
        (
            ((0.35, 1.2), (0.42, 1.78), (1.3, 1.8), (1.3, 1.2)),
            ((1.4, 1.2), (1.4, 1.8), (2.5, 1.8), (2.5, 1.2)),
            ((2.6, 1.2), (2.6, 1.8), (3.25, 1.78), (3.95, 1.22)),
        ),
        (0.95, 3.95),
        0.34,
    ),
}

CAB = Body(
    ((0, 0.55), (0, 1.3), (0, 2.6), (0.2, 2.82), (1.7, 2.8), (2.0, 1.6), (2.08, 1.2), (2.1, 0.5)),
    (4,),
    2.4,
    1.6,
    0.04,
    (((0.8, 1.6), (0.8, 2.4), (1.6, 2.4), (1.82, 1.6)),),
    (1.2,),
    0.48,
)


def _bus_body(length: float, height: float) -> Body:
    panes, count = [], max(4, round(length / 1.5))
    step = (length - 1.2) / count
    for index in range(count):
        left = 0.5 + index * step
        panes.append(
            ((left, 1.25), (left, height - 0.75), (left + step - 0.12, height - 0.75), (left + step - 0.12, 1.25))
        )
    outline = (
        (0, 0.35),
        (0, 1.3),
        (0.02, 2.3),
        (0.12, height - 0.12),
        (0.4, height),
        (length - 0.35, height),
        (length - 0.1, height - 0.5),
        (length, 1.15),
        (length, 0.35),
    )
    return Body(outline, (1, 6), 2.5, height - 0.4, 0.04, tuple(panes), (length * 0.22, length * 0.8), 0.48)


def _train_body(length: float, height: float, nose: float) -> Body:
    panes, count = [], max(5, round(length / 2.0))
    step = (length - 2.4) / count
    for index in range(count):
        left = 1.2 + index * step
        panes.append(((left, 1.5), (left, 2.5), (left + step - 0.3, 2.5), (left + step - 0.3, 1.5)))
    outline = (
        (0, 0.3),
        (0, 1.4),
        (nose, 2.7),
        (nose + 0.4, height),
        (length - nose - 0.4, height),
        (length - nose, 2.7),
        (length, 1.4),
        (length, 0.3),
    )
    return Body(outline, (1, 5), 2.65, 2.6, 0.12, tuple(panes), (), 0.4)


def _extrude(parts: Parts, frame: Frame, body: Body, colour: Colour, roof: Colour, start: float) -> None:
    """Wheels, end and top strips and the visible side of a body whose rear lies at `start` metres along the frame."""
    outline = np.array(body.outline, float)
    half = body.width / 2
    along, up = outline[:, 0] + start, outline[:, 1]
    inset = half * (1 - body.lean * np.clip((up - body.belt) / max(body.height - body.belt, 0.1), 0, 1))
    _tyres_from_behind(parts, frame, body, start)
    right, left = frame.world(along, inset, up), frame.world(along, -inset, up)
    strips = []
    for i in range(len(outline) - 1):
        step, rise = outline[i + 1] - outline[i]
        middle = (outline[i] + outline[i + 1]) / 2
        if frame.seen((-rise, 0.0, step), (middle[0] + start, 0.0, middle[1])):
            quad = np.stack([left[i], left[i + 1], right[i + 1], right[i]])
            strips.append((-float(quad[:, 2].mean()), i, quad))
    for _, i, quad in sorted(strips, key=lambda strip: strip[0]):
        rise, step = outline[i + 1, 1] - outline[i, 1], abs(outline[i + 1, 0] - outline[i, 0])
        flat = step > 1.2 * abs(rise)
        parts.fill(quad, roof if flat else colour, 1.12 if flat else (0.9 if rise > 0 else 1.0))
        if i in body.glass:
            parts.fill(_inset(quad, 0.1), mix(GLASS, (150, 170, 190), 0.25 if flat else 0.1))
    for sign in (1.0, -1.0):
        if frame.seen((0.0, sign, 0.0), (start + body.length / 2, sign * half, 1.0)):
            _side(parts, frame, body, right if sign > 0 else left, colour, sign, start)


def _inset(quad: np.ndarray, share: float) -> np.ndarray:
    return quad + (quad.mean(axis=0) - quad) * share


def _tyres_from_behind(parts: Parts, frame: Frame, body: Body, start: float) -> None:
    """Tyres and the dark underside as seen between the wheels."""
    half, radius = body.width / 2, body.wheel
    for axle in body.wheels:
        for sign in (1.0, -1.0):
            inner, outer = sign * (half - 0.24), sign * half
            for face in (-radius, radius):
                if frame.seen((face, 0.0, 0.0), (start + axle + face, 0.0, 0.3)):
                    at = start + axle + face * 0.7
                    across = np.array([inner, outer, outer, inner])
                    parts.fill(frame.world(at, across, np.array([0.0, 0.0, 2 * radius, 2 * radius])), TYRE)


def _side(parts: Parts, frame: Frame, body: Body, side: np.ndarray, colour: Colour, sign: float, start: float) -> None:
    """One side: the profile, its sill, windows and wheels."""
    half = body.width / 2
    parts.fill(side, colour, 0.84)

    def place(points: np.ndarray) -> np.ndarray:
        lean = body.lean * np.clip((points[:, 1] - body.belt) / max(body.height - body.belt, 0.1), 0, 1)
        return frame.world(points[:, 0] + start, sign * (half * (1 - lean) + 0.01), points[:, 1])

    for window in body.windows:
        parts.fill(place(np.array(window, float)), GLASS)
    for axle in body.wheels:
        centre = np.array([axle, body.wheel])
        parts.fill(place(_RING * body.wheel * 1.14 + centre + (0, 0.02)), (18, 18, 20))
        parts.fill(place(_RING * body.wheel + centre), TYRE)
        parts.fill(place(_RING * body.wheel * 0.58 + centre), (150, 152, 155))
        parts.fill(place(_RING * body.wheel * 0.2 + centre), (60, 60, 62))


def _rect(frame: Frame, along: float, across: tuple[float, float], up: tuple[float, float]) -> np.ndarray:
    return frame.world(
        along, np.array([across[0], across[1], across[1], across[0]]), np.array([up[0], up[0], up[1], up[1]])
    )


def _ends(
    parts: Parts,
    frame: Frame,
    rng: random.Random,
    box: tuple[float, float, float],
    lamps: tuple[float, float],
    braking: bool,
    lit: bool = True,
) -> None:
    """Lamps, plates, bumper and grille on a rear at box[0] and a front at box[1]; box[2] is the half width."""
    rear, front, half = box
    low, high = lamps
    lamp = parts.lamp if lit else lambda points, colour, _: parts.fill(points, mix(colour, (96, 96, 98), 0.5))
    wide = rng.uniform(0.2, 0.42)
    if frame.seen((-1.0, 0.0, 0.0), (rear, 0.0, 0.8)):
        red = (250, 36, 30) if braking else (170, 24, 26)
        parts.fill(_rect(frame, rear - 0.02, (-half * 0.98, half * 0.98), (low - 0.36, low - 0.16)), (44, 44, 46))
        for sign in (1, -1):
            lamp(
                _rect(frame, rear - 0.02, (sign * half * (1 - wide), sign * half * 0.97), (low, high)),
                red,
                0.42 if braking else 0.3,
            )
        parts.fill(_rect(frame, rear - 0.03, (-0.26, 0.26), (low - 0.1, low + 0.03)), (226, 226, 218))
    elif frame.seen((1.0, 0.0, 0.0), (front, 0.0, 0.8)):
        parts.fill(_rect(frame, front + 0.02, (-half * 0.55, half * 0.55), (low - 0.12, high - 0.04)), (32, 33, 36))
        parts.fill(_rect(frame, front + 0.02, (-half * 0.96, half * 0.96), (low - 0.36, low - 0.2)), (44, 44, 46))
        for sign in (1, -1):
            lamp(
                _rect(frame, front + 0.02, (sign * half * 0.62, sign * half * 0.95), (low + 0.02, high)),
                (255, 246, 220),
                0.9,
            )
        parts.fill(_rect(frame, front + 0.03, (-0.26, 0.26), (low - 0.3, low - 0.18)), (226, 226, 218))


def prism(
    parts: Parts, frame: Frame, span: tuple[float, float], section: np.ndarray, colour: Colour, cap: Colour
) -> None:
    """A convex cross-section [k, 2] (across, up; counter-clockwise seen from behind) extruded along the frame."""
    k = len(section)
    for i in range(k):
        (w0, y0), (w1, y1) = section[i], section[(i + 1) % k]
        normal = (0.0, float(y1 - y0), float(w0 - w1))
        if frame.seen(normal, (sum(span) / 2, (w0 + w1) / 2, (y0 + y1) / 2)):
            along = np.array([span[0], span[1], span[1], span[0]])
            quad = frame.world(along, np.array([w0, w0, w1, w1]), np.array([y0, y0, y1, y1]))
            tilt = normal[2] / (math.hypot(normal[1], normal[2]) + 1e-9)
            parts.fill(quad, colour, 0.86 + 0.26 * tilt)
    for end, facing in ((span[0], -1.0), (span[1], 1.0)):
        if frame.seen((facing, 0.0, 0.0), (end, 0.0, 1.0)):
            parts.fill(frame.world(end, section[:, 0], section[:, 1]), cap, 0.95)


def box_section(half: float, low: float, high: float) -> np.ndarray:
    """A rectangular cross-section float [4, (across, up)] for boxes, cargo and bins, in metres."""
    return np.array([[-half, low], [half, low], [half, high], [-half, high]])


def _footprint(frame: Frame, length: float, width: float) -> Thing:
    along = np.array([-length, length, length, -length]) / 2
    across = np.array([-width, -width, width, width]) / 2
    ground = frame.world(along, across, np.zeros(4))
    return Thing(ground[:, 0].min(), ground[:, 0].max(), ground[:, 2].min(), ground[:, 2].max(), [], ground)


def car(rng: random.Random, frame: Frame, snow: bool = False, lit: bool = True) -> Thing:
    """A sedan, SUV, hatchback or van in a random colour; a parked one is not `lit`."""
    body = CARS[rng.choices(("sedan", "suv", "hatch", "van"), (40, 30, 20, 10))[0]]
    colour = any_paint(rng)
    roof = mix(colour, (235, 238, 242), 0.75) if snow and rng.random() < 0.6 else colour
    parts, start = Parts(), -body.length / 2
    _extrude(parts, frame, body, colour, roof, start)
    low = body.outline[2][1] - 0.26
    _ends(
        parts,
        frame,
        rng,
        (start, start + body.length, body.width / 2),
        (low, low + 0.2),
        lit and rng.random() < 0.35,
        lit,
    )
    if body.height > 1.7 and rng.random() < 0.3:  # roof rails
        parts.line(frame.world(np.array([-0.9, 0.9]), body.width * 0.36, body.height + 0.06), (60, 60, 64), 0.05)
    thing = _footprint(frame, body.length, body.width)
    thing.layers.append(("car", parts))
    return thing


def bus(rng: random.Random, frame: Frame, snow: bool = False) -> Thing:
    """A city bus or coach: one long box, windows all along, a route sign."""
    length, height = rng.uniform(9.5, 12.5), rng.uniform(2.9, 3.35)
    body, colour = _bus_body(length, height), any_paint(rng)
    parts, start = Parts(), -length / 2
    _extrude(parts, frame, body, colour, (230, 232, 236) if snow else mix(colour, (200, 200, 200), 0.4), start)
    if rng.random() < 0.7:
        stripe = any_paint(rng)
        for sign in (1.0, -1.0):
            if frame.seen((0.0, sign, 0.0), (0.0, sign * 1.25, 1.0)):
                along = np.array([start + 0.05, -start - 0.05, -start - 0.05, start + 0.05])
                parts.fill(frame.world(along, sign * 1.27, np.array([0.75, 0.75, 1.05, 1.05])), stripe, 0.85)
    _ends(parts, frame, rng, (start, -start, 1.25), (0.75, 1.05), rng.random() < 0.3)
    if frame.seen((1.0, 0.0, 0.0), (-start, 0.0, 2.0)):
        parts.fill(_rect(frame, -start + 0.02, (-0.9, 0.9), (height - 0.42, height - 0.12)), (20, 20, 22))
        parts.lamp(_rect(frame, -start + 0.04, (-0.6, 0.6), (height - 0.34, height - 0.2)), (255, 180, 60), 0.0)
    thing = _footprint(frame, length, 2.5)
    thing.layers.append(("bus", parts))
    return thing


def train(rng: random.Random, frame: Frame, snow: bool = False) -> Thing:
    """A tram or light rail train: two or three cars with sloped noses, on rails, with a pantograph."""
    cars, length, height = rng.choice((2, 2, 3)), rng.uniform(10, 14), rng.uniform(3.3, 3.6)
    colour, stripe = any_paint(rng), any_paint(rng)
    body = _train_body(length, height, rng.uniform(0.25, 0.9))
    parts, total = Parts(), cars * (length + 0.5)
    starts = [-total / 2 + i * (length + 0.5) for i in range(cars)]
    for start in sorted(starts, key=lambda s: -frame.joint(s + length / 2, 0.0, 0.0)[2]):
        prism(parts, frame, (start - 0.5, start + length + 0.2), box_section(0.9, 0.6, 2.9), (40, 40, 42), (40, 40, 42))
        _extrude(parts, frame, body, colour, (228, 230, 234) if snow else (120, 122, 126), start)
        for sign in (1.0, -1.0):
            if frame.seen((0.0, sign, 0.0), (start, sign * 1.32, 1.0)):
                along = np.array([start, start + length, start + length, start])
                parts.fill(frame.world(along, sign * 1.34, np.array([0.3, 0.3, 0.62, 0.62])), (52, 54, 58))
                parts.fill(frame.world(along, sign * 1.34, np.array([0.95, 0.95, 1.3, 1.3])), stripe, 0.85)
                for door in (0.3, 0.7):
                    left = start + length * door
                    span = np.array([left, left + 1.2, left + 1.2, left])
                    parts.fill(
                        frame.world(span, sign * 1.35, np.array([0.45, 0.45, 2.55, 2.55])), mix(stripe, GLASS, 0.5), 0.9
                    )
        _ends(parts, frame, rng, (start, start + length, 1.2), (0.8, 1.05), False)
        parts.line(
            frame.world(
                start + length * np.array([0.4, 0.5, 0.4]), 0.0, np.array([height, height + 0.7, height + 1.3])
            ),
            (50, 50, 52),
            0.08,
        )
    thing = _footprint(frame, total, 2.65)
    thing.layers.append(("train", parts))
    return thing


def truck(rng: random.Random, frame: Frame, snow: bool = False) -> Thing:
    """A cab with a box, a loaded flatbed or a tank."""
    load = rng.choices(("box", "flatbed", "tank"), (60, 20, 20))[0]
    bed = rng.uniform(4.2, 8.0)
    total, cab_colour, cargo = bed + 2.3, any_paint(rng), any_paint(rng)
    start, parts, cab = -total / 2, Parts(), Parts()
    _extrude(cab, frame, CAB, cab_colour, (230, 232, 236) if snow else cab_colour, start + bed + 0.2)
    _ends(cab, frame, rng, (-99.0, start + total, 1.15), (0.75, 1.0), False)
    span = (start, start + bed)
    _truck_chassis(parts, frame, span, rng)
    if load == "box":
        top = rng.uniform(3.0, 3.9)
        prism(parts, frame, span, box_section(1.25, 0.95, top), cargo, mix(cargo, (90, 90, 90), 0.15))
        _cargo_lines(parts, frame, span, top, cargo, rng)
    elif load == "tank":
        ring = np.stack(
            [np.cos(np.arange(12) * math.pi / 6) * 1.12, np.sin(np.arange(12) * math.pi / 6) * 0.95 + 2.0], axis=1
        )
        prism(parts, frame, span, ring, mix(cargo, (200, 204, 208), 0.5), mix(cargo, (150, 154, 158), 0.5))
    else:
        prism(parts, frame, span, box_section(1.2, 0.95, 1.2), (90, 84, 76), (80, 76, 70))
        at = span[0] + 0.3
        while at < span[1] - 0.8:
            long, tall = rng.uniform(0.8, 2.2), rng.uniform(0.5, 1.5)
            crate = any_paint(rng)
            prism(
                parts,
                frame,
                (at, min(at + long, span[1])),
                box_section(rng.uniform(0.7, 1.15), 1.2, 1.2 + tall),
                crate,
                mix(crate, (60, 60, 60), 0.2),
            )
            at += long + rng.uniform(0.1, 0.9)
    _ends(parts, frame, rng, (start, 99.0, 1.2), (0.85, 1.02), rng.random() < 0.3)
    thing = _footprint(frame, total, 2.5)
    facing_us = math.cos(frame.yaw) < 0
    whole = Parts([*parts.entries, *cab.entries] if facing_us else [*cab.entries, *parts.entries])
    thing.layers.append(("truck", whole))
    return thing


def _truck_chassis(parts: Parts, frame: Frame, span: tuple[float, float], rng: random.Random) -> None:
    """Frame and rear wheels below the load."""
    axles = (0.9, 2.0) if span[1] - span[0] > 5.5 else (1.2,)
    wheels = Body(
        ((0, 0.5), (0, 0.95), (span[1] - span[0], 0.95), (span[1] - span[0], 0.5)), (), 2.3, 9.0, 0.0, (), axles, 0.48
    )
    _tyres_from_behind(parts, frame, wheels, span[0])
    prism(parts, frame, (span[0] + 0.1, span[1] + 1.0), box_section(0.8, 0.55, 0.95), (46, 46, 48), (40, 40, 42))
    for sign in (1.0, -1.0):
        if frame.seen((0.0, sign, 0.0), (0.0, sign * 1.15, 1.0)):
            for axle in axles:
                for radius, colour in ((0.48, TYRE), (0.26, (130, 130, 134))):
                    parts.fill(
                        frame.world(_RING[:, 0] * radius + span[0] + axle, sign * 1.16, _RING[:, 1] * radius + 0.48),
                        colour,
                    )


def _cargo_lines(
    parts: Parts, frame: Frame, span: tuple[float, float], top: float, colour: Colour, rng: random.Random
) -> None:
    """Door gap and frame at the rear, ribs or a sign on the side of a cargo box."""
    dark = mix(colour, (0, 0, 0), 0.35)
    if frame.seen((-1.0, 0.0, 0.0), (span[0], 0.0, 1.0)):
        for across in (-1.2, 0.0, 1.2):
            parts.line(frame.world(span[0] - 0.02, np.array([across, across]), np.array([1.0, top - 0.05])), dark, 0.05)
        parts.line(frame.world(span[0] - 0.02, np.array([-1.2, 1.2]), np.array([top - 0.1, top - 0.1])), dark, 0.06)
    sign_colour = any_paint(rng)
    for sign in (1.0, -1.0):
        if frame.seen((0.0, sign, 0.0), (0.0, sign * 1.25, 1.0)):
            if rng.random() < 0.5:
                long = span[1] - span[0]
                along = span[0] + long * np.array([0.2, 0.8, 0.8, 0.2])
                parts.fill(
                    frame.world(along, sign * 1.26, np.array([1.6, 1.6, top - 0.5, top - 0.5])), sign_colour, 0.85
                )
            else:
                for at in np.arange(span[0] + 0.5, span[1], 0.7):
                    parts.line(frame.world(np.array([at, at]), sign * 1.26, np.array([1.0, top - 0.05])), dark, 0.04)


def crate(rng: random.Random, frame: Frame, size: tuple[float, float, float], snow: bool = False) -> Thing:
    """A box, bin or container in a car's colours: background that only its shape tells from a vehicle.

    `size`: (length, width, height) in metres.
    """
    length, width, height = size
    colour, parts = any_paint(rng), Parts()
    prism(
        parts,
        frame,
        (-length / 2, length / 2),
        box_section(width / 2, 0.0, height),
        colour,
        mix(colour, (70, 70, 70), 0.15),
    )
    lid = (232, 235, 240) if snow else mix(colour, (20, 20, 20), 0.4)
    prism(
        parts,
        frame,
        (-length / 2 - 0.04, length / 2 + 0.04),
        box_section(width / 2 + 0.04, height, height + 0.08),
        lid,
        lid,
    )
    thing = _footprint(frame, length, width)
    thing.layers.append((None, parts))
    return thing
