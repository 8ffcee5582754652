"""Extrudes side profiles and cross-sections to solids, so that drawn vehicles and boxes look right from every side."""

import math
import random

import numpy as np

from bdd100k.streets.bodies import Body
from bdd100k.streets.canvas import Colour, Parts, mix
from bdd100k.streets.pose import Pose

TYRE: Colour = (26, 26, 28)
GLASS: Colour = (46, 56, 66)
RING = np.stack([np.cos(np.arange(16) * math.pi / 8), np.sin(np.arange(16) * math.pi / 8)], axis=1)


def extrude(parts: Parts, pose: Pose, body: Body, colour: Colour, roof: Colour, start: float) -> None:
    """Add the wheels, the strips from rear over roof to front, and the visible side of a body.

    `start` is the position of its rear in metres along the pose.
    """
    outline = np.array(body.outline, float)
    half = body.width / 2
    along, up = outline[:, 0] + start, outline[:, 1]
    inset = half * (1 - body.lean * np.clip((up - body.belt) / max(body.height - body.belt, 0.1), 0, 1))
    tyres_from_behind(parts, pose, body, start)
    right, left = pose.world(along, inset, up), pose.world(along, -inset, up)
    strips = []
    for i in range(len(outline) - 1):
        step, rise = outline[i + 1] - outline[i]
        middle = (outline[i] + outline[i + 1]) / 2
        if pose.seen((-rise, 0.0, step), (middle[0] + start, 0.0, middle[1])):
            quad = np.stack([left[i], left[i + 1], right[i + 1], right[i]])
            strips.append((-float(quad[:, 2].mean()), i, quad))
    for _, i, quad in sorted(strips, key=lambda strip: strip[0]):
        rise, step = outline[i + 1, 1] - outline[i, 1], abs(outline[i + 1, 0] - outline[i, 0])
        flat = step > 1.2 * abs(rise)
        parts.fill(quad, roof if flat else colour, 1.12 if flat else (0.9 if rise > 0 else 1.0))
        if i in body.glass:
            parts.fill(_inset(quad, 0.1), mix(GLASS, (150, 170, 190), 0.25 if flat else 0.1))
    for sign in (1.0, -1.0):
        if pose.seen((0.0, sign, 0.0), (start + body.length / 2, sign * half, 1.0)):
            _side(parts, pose, body, right if sign > 0 else left, colour, sign, start)


def _inset(quad: np.ndarray, fraction: float) -> np.ndarray:
    """Shrink a quadrilateral towards its centre."""
    return quad + (quad.mean(axis=0) - quad) * fraction


def tyres_from_behind(parts: Parts, pose: Pose, body: Body, start: float) -> None:
    """Add the treads of the tyres, as seen from the front or the rear."""
    half, radius = body.width / 2, body.wheel
    for axle in body.wheels:
        for sign in (1.0, -1.0):
            inner, outer = sign * (half - 0.24), sign * half
            for face in (-radius, radius):
                if pose.seen((face, 0.0, 0.0), (start + axle + face, 0.0, 0.3)):
                    at = start + axle + face * 0.7
                    across = np.array([inner, outer, outer, inner])
                    parts.fill(pose.world(at, across, np.array([0.0, 0.0, 2 * radius, 2 * radius])), TYRE)


def _side(parts: Parts, pose: Pose, body: Body, side: np.ndarray, colour: Colour, sign: float, start: float) -> None:
    """Add one side: the profile, its windows and wheels."""
    half = body.width / 2
    parts.fill(side, colour, 0.84)

    def place(points: np.ndarray) -> np.ndarray:
        lean = body.lean * np.clip((points[:, 1] - body.belt) / max(body.height - body.belt, 0.1), 0, 1)
        return pose.world(points[:, 0] + start, sign * (half * (1 - lean) + 0.01), points[:, 1])

    for window in body.windows:
        parts.fill(place(np.array(window, float)), GLASS)
    for axle in body.wheels:
        centre = np.array([axle, body.wheel])
        parts.fill(place(RING * body.wheel * 1.14 + centre + (0, 0.02)), (18, 18, 20))
        parts.fill(place(RING * body.wheel + centre), TYRE)
        parts.fill(place(RING * body.wheel * 0.58 + centre), (150, 152, 155))
        parts.fill(place(RING * body.wheel * 0.2 + centre), (60, 60, 62))


def rectangle(pose: Pose, along: float, across: tuple[float, float], up: tuple[float, float]) -> np.ndarray:
    """Return the corners, float64 [4, 3], of an upright rectangle across the pose; all in metres."""
    return pose.world(
        along, np.array([across[0], across[1], across[1], across[0]]), np.array([up[0], up[0], up[1], up[1]])
    )


def add_ends(
    parts: Parts,
    pose: Pose,
    rng: random.Random,
    box: tuple[float, float, float],
    lamps: tuple[float, float],
    braking: bool,
    lit: bool = True,
) -> None:
    """Add lamps, number plates, bumpers and grille to the visible end of a vehicle.

    Args:
        parts: Parts to add to.
        pose: Pose of the vehicle.
        rng: Source of the width of the lamps.
        box: Position of rear and front along the pose, and half the width, in metres.
        lamps: Bottom and top of the lamps in metres.
        braking: Whether the rear lamps are bright.
        lit: Whether the lamps shine; those of parked vehicles do not.
    """
    rear, front, half = box
    low, high = lamps
    lamp = parts.lamp if lit else lambda points, colour, _: parts.fill(points, mix(colour, (96, 96, 98), 0.5))
    wide = rng.uniform(0.2, 0.42)
    if pose.seen((-1.0, 0.0, 0.0), (rear, 0.0, 0.8)):
        red = (250, 36, 30) if braking else (170, 24, 26)
        parts.fill(rectangle(pose, rear - 0.02, (-half * 0.98, half * 0.98), (low - 0.36, low - 0.16)), (44, 44, 46))
        for sign in (1, -1):
            lamp(
                rectangle(pose, rear - 0.02, (sign * half * (1 - wide), sign * half * 0.97), (low, high)),
                red,
                0.42 if braking else 0.3,
            )
        parts.fill(rectangle(pose, rear - 0.03, (-0.26, 0.26), (low - 0.1, low + 0.03)), (226, 226, 218))
    elif pose.seen((1.0, 0.0, 0.0), (front, 0.0, 0.8)):
        parts.fill(rectangle(pose, front + 0.02, (-half * 0.55, half * 0.55), (low - 0.12, high - 0.04)), (32, 33, 36))
        parts.fill(rectangle(pose, front + 0.02, (-half * 0.96, half * 0.96), (low - 0.36, low - 0.2)), (44, 44, 46))
        for sign in (1, -1):
            lamp(
                rectangle(pose, front + 0.02, (sign * half * 0.62, sign * half * 0.95), (low + 0.02, high)),
                (255, 246, 220),
                0.9,
            )
        parts.fill(rectangle(pose, front + 0.03, (-0.26, 0.26), (low - 0.3, low - 0.18)), (226, 226, 218))


def prism(
    parts: Parts, pose: Pose, span: tuple[float, float], section: np.ndarray, colour: Colour, cap: Colour
) -> None:
    """Add the visible faces of a convex cross-section that is extruded along the pose.

    Args:
        parts: Parts to add to.
        pose: Pose of the solid.
        span: Start and end along the pose in metres.
        section: float [k, (across, up)] in metres, counter-clockwise seen from behind.
        colour: RGB of the faces along the pose.
        cap: RGB of the two ends.
    """
    k = len(section)
    for i in range(k):
        (w0, y0), (w1, y1) = section[i], section[(i + 1) % k]
        normal = (0.0, float(y1 - y0), float(w0 - w1))
        if pose.seen(normal, (sum(span) / 2, (w0 + w1) / 2, (y0 + y1) / 2)):
            along = np.array([span[0], span[1], span[1], span[0]])
            quad = pose.world(along, np.array([w0, w0, w1, w1]), np.array([y0, y0, y1, y1]))
            tilt = normal[2] / (math.hypot(normal[1], normal[2]) + 1e-9)
            parts.fill(quad, colour, 0.86 + 0.26 * tilt)
    for end, facing in ((span[0], -1.0), (span[1], 1.0)):
        if pose.seen((facing, 0.0, 0.0), (end, 0.0, 1.0)):
            parts.fill(pose.world(end, section[:, 0], section[:, 1]), cap, 0.95)


def box_section(half: float, low: float, high: float) -> np.ndarray:
    """Return a rectangular cross-section, float [4, (across, up)] in metres, for boxes, cargo and bins."""
    return np.array([[-half, low], [half, low], [half, high], [-half, high]])
