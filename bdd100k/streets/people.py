"""People and two-wheelers of the drawn street scenes: limbs between 3D joints, which look right from every side."""

import math
import random

import numpy as np

from bdd100k.streets.canvas import Colour, Parts, any_paint, mix
from bdd100k.streets.extrusion import TYRE
from bdd100k.streets.pose import Pose, Thing

_SKIN = ((236, 200, 172), (214, 168, 132), (168, 118, 84), (110, 74, 52), (80, 54, 40))
_HAIR = ((30, 24, 20), (70, 46, 28), (150, 112, 60), (120, 116, 112), (18, 18, 20))
_CIRCLE = np.stack([np.cos(np.arange(20) * math.pi / 10), np.sin(np.arange(20) * math.pi / 10)], axis=1)


def _head(parts: Parts, pose: Pose, rng: random.Random, at: tuple[float, float], size: float, helmet: bool) -> None:
    """Add a head with hair, hat or helmet above the point (ahead, up)."""
    ahead, up = at
    skin, cover = rng.choice(_SKIN), any_paint(rng) if helmet or rng.random() < 0.25 else rng.choice(_HAIR)
    parts.limb(pose.joint(ahead, 0, up), pose.joint(ahead, 0, up + size * 0.9), (size * 0.42, size * 0.5), skin)
    back = -0.3 * size
    low = up + size * (0.55 if helmet else 0.8)
    parts.limb(
        pose.joint(ahead + back, 0, low + 0.1 * size),
        pose.joint(ahead - back * 0.3, 0, up + size * 1.12),
        (size * 0.5, size * 0.48),
        cover,
    )


def pedestrian(rng: random.Random, pose: Pose) -> Thing:
    """Draw a person walking or standing, at random with a coat or skirt, a backpack or a bag."""
    tall = rng.gauss(1.7, 0.09) if rng.random() < 0.88 else rng.uniform(1.05, 1.4)
    parts, k = Parts(), tall / 1.7
    shirt, trousers, shoes = any_paint(rng), any_paint(rng), rng.choice(((30, 28, 28), (200, 200, 196), (90, 60, 40)))
    skin, swing = rng.choice(_SKIN), rng.uniform(-0.55, 0.55) if rng.random() < 0.75 else rng.uniform(-0.08, 0.08)
    bulk = rng.uniform(0.88, 1.2) * k
    hip, shoulder = 0.9 * k, 1.4 * k
    for side in (-1, 1):  # legs: hip, knee, ankle
        reach = swing * side
        knee = pose.joint(0.42 * k * math.sin(reach) + 0.04, side * 0.1 * bulk, hip - 0.42 * k * math.cos(reach))
        bend = reach - (0.35 if reach < -0.1 else 0.05)
        foot = (
            0.42 * k * (math.sin(reach) + math.sin(bend)) + 0.02,
            side * 0.1 * bulk,
            max(0.05, hip - 0.42 * k * (math.cos(reach) + math.cos(bend))),
        )
        parts.limb(
            pose.joint(0, side * 0.1 * bulk, hip),
            knee,
            (0.1 * bulk, 0.075 * bulk),
            mix(trousers, (0, 0, 0), 0.12 if side > 0 else 0),
        )
        parts.limb(
            knee, pose.joint(*foot), (0.075 * bulk, 0.055 * bulk), mix(trousers, (0, 0, 0), 0.12 if side > 0 else 0)
        )
        parts.limb(
            pose.joint(foot[0] - 0.04, foot[1], 0.05),
            pose.joint(foot[0] + 0.16 * k, foot[1], 0.04),
            (0.055 * k, 0.045 * k),
            shoes,
        )
    arm = swing * rng.uniform(0.5, 1.2)
    near = 1 if pose.seen((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)) else -1
    _arm(parts, pose, (-near, -arm, shoulder, bulk, k), shirt, skin)
    if rng.random() < 0.25:  # backpack
        parts.limb(pose.joint(-0.2, 0, 1.02 * k), pose.joint(-0.2, 0, 1.3 * k), (0.14, 0.13), any_paint(rng))
    for side in (-1, 1):  # torso as two overlapping limbs, wide from ahead and narrow from the side
        parts.limb(
            pose.joint(0, side * 0.09 * bulk, hip),
            pose.joint(0.02, side * 0.11 * bulk, shoulder - 0.05),
            (0.11 * bulk, 0.11 * bulk),
            shirt,
        )
    if rng.random() < 0.3:  # coat or skirt: a cone below the hips
        parts.limb(
            pose.joint(0, 0, hip + 0.1),
            pose.joint(0, 0, rng.uniform(0.5, 0.75) * k),
            (0.15 * bulk, 0.22 * bulk),
            rng.choice((shirt, any_paint(rng))),
        )
    _arm(parts, pose, (near, arm, shoulder, bulk, k), mix(shirt, (0, 0, 0), 0.1), skin)
    parts.limb(pose.joint(0, 0, shoulder), pose.joint(0.02, 0, shoulder + 0.1 * k), (0.055 * k, 0.05 * k), skin)
    _head(parts, pose, rng, (0.03, shoulder + 0.06 * k), 0.2 * k, False)
    if rng.random() < 0.15:  # a bag in the hand
        parts.limb(
            pose.joint(0.05, near * 0.28, 0.5 * k),
            pose.joint(0.05, near * 0.28, 0.66 * k),
            (0.12, 0.09),
            any_paint(rng),
        )
    return _standing(pose, [("pedestrian", parts)])


def _arm(
    parts: Parts, pose: Pose, build: tuple[float, float, float, float, float], sleeve: Colour, skin: Colour
) -> None:
    """Add an arm. `build`: side (1 right, -1 left), swing in radians, shoulder height, bulk and scale of the body."""
    side, swing, shoulder, bulk, k = build
    across = side * 0.23 * bulk
    elbow = (0.28 * k * math.sin(swing), across * 1.08, shoulder - 0.06 - 0.28 * k * math.cos(swing))
    wrist = (elbow[0] + 0.26 * k * math.sin(swing + 0.35), across * 1.1, elbow[2] - 0.26 * k * math.cos(swing + 0.35))
    parts.limb(pose.joint(0, across, shoulder - 0.06), pose.joint(*elbow), (0.065 * bulk, 0.05 * bulk), sleeve)
    parts.limb(pose.joint(*elbow), pose.joint(*wrist), (0.05 * bulk, 0.04 * k), sleeve)
    parts.limb(pose.joint(*wrist), pose.joint(wrist[0] + 0.03, wrist[1], wrist[2] - 0.07), (0.045 * k, 0.04 * k), skin)


def _standing(pose: Pose, layers: list[tuple[str | None, Parts]]) -> Thing:
    """Return a thing of a person's extent, which does not turn with the pose."""
    ground = pose.world(np.array([-1, 1, 1, -1]) * 0.3, np.array([-1, -1, 1, 1]) * 0.25, np.zeros(4))
    return Thing(pose.x - 0.3, pose.x + 0.3, pose.z - 0.25, pose.z + 0.25, layers, ground)


def _wheel(parts: Parts, pose: Pose, at: float, radius: float, width: float, spokes: bool) -> None:
    """Add a wheel. One with spokes can be seen through, but all of it belongs to the object's mask."""
    ring_up = _CIRCLE[:, 1] * radius + radius
    near = -width / 2 if pose.seen((0.0, -1.0, 0.0), (at, 0.0, radius)) else width / 2
    near_disc = pose.world(_CIRCLE[:, 0] * radius + at, near, ring_up)
    tread = pose.world(
        np.array([at, at, at, at]), np.array([-1, 1, 1, -1]) * width / 2, np.array([0, 0, 2, 2]) * radius
    )
    if spokes:
        parts.mask(near_disc)
        parts.line(np.concatenate([near_disc, near_disc[:1]]), TYRE, 0.05)
        for i in (0, 3, 7):
            parts.line(near_disc[[i, i + 10]], (150, 150, 152), 0.012)
        parts.fill(tread, TYRE)
    else:
        parts.fill(tread, TYRE)
        parts.fill(pose.world(_CIRCLE[:, 0] * radius + at, -near, ring_up), TYRE)
        parts.fill(near_disc, TYRE)
        parts.fill(
            pose.world(_CIRCLE[:, 0] * radius * 0.6 + at, near, _CIRCLE[:, 1] * radius * 0.6 + radius), (140, 142, 146)
        )
        parts.fill(
            pose.world(_CIRCLE[:, 0] * radius * 0.42 + at, near, _CIRCLE[:, 1] * radius * 0.42 + radius), (48, 48, 50)
        )


def _bicycle_parts(rng: random.Random, pose: Pose) -> Parts:
    """Return a bicycle without its rider."""
    parts, colour, radius = Parts(), any_paint(rng), 0.35
    _wheel(parts, pose, -0.52, radius, 0.06, True)
    _wheel(parts, pose, 0.54, radius, 0.06, True)
    crank, seat, head = (0.0, 0.3), (-0.2, 0.85), (0.4, 0.82)
    rear, front = (-0.52, radius), (0.54, radius)

    def bar(a: tuple[float, float], b: tuple[float, float], width: float = 0.06) -> None:
        parts.line(np.stack([pose.joint(a[0], 0, a[1]), pose.joint(b[0], 0, b[1])]), colour, width)

    parts.mask(np.stack([pose.joint(p[0], 0, p[1]) for p in (rear, seat, head, crank)]))  # the frame's triangles
    for a, b in ((crank, seat), (crank, head), (seat, head), (rear, crank), (rear, seat), (head, front)):
        bar(a, b)
    bar((-0.2, 0.85), (-0.22, 0.95))
    bar(head, (0.38, 1.02))
    parts.limb(pose.joint(-0.34, 0, 0.97), pose.joint(-0.1, 0, 0.97), (0.06, 0.04), (30, 28, 28))
    parts.line(np.stack([pose.joint(0.42, -0.29, 1.02), pose.joint(0.42, 0.29, 1.02)]), (36, 36, 38), 0.05)
    parts.limb(pose.joint(0.0, -0.08, 0.3), pose.joint(0.0, 0.08, 0.3), (0.06, 0.06), (60, 60, 62))
    if rng.random() < 0.25:  # a basket or box
        parts.limb(pose.joint(0.6, -0.1, 0.86), pose.joint(0.6, 0.1, 0.86), (0.13, 0.13), any_paint(rng))
    return parts


def _motorcycle_parts(rng: random.Random, pose: Pose) -> Parts:
    """Return a motorcycle or, in 3 of 10 cases, a scooter without its rider."""
    parts, colour, radius = Parts(), any_paint(rng), 0.31
    scooter = rng.random() < 0.3
    radius = 0.24 if scooter else radius
    _wheel(parts, pose, -0.65, radius, 0.16, False)
    _wheel(parts, pose, 0.7, radius, 0.13, False)
    dark = (52, 52, 56)
    parts.limb(pose.joint(-0.2, 0, 0.42), pose.joint(0.22, 0, 0.42), (0.2, 0.19), dark)  # engine
    parts.limb(pose.joint(-0.75, 0.14, 0.34), pose.joint(0.0, 0.14, 0.3), (0.07, 0.05), (158, 158, 162))  # exhaust
    parts.limb(pose.joint(-0.6, 0, 0.62), pose.joint(0.2, 0, 0.62), (0.13, 0.14), colour)
    parts.limb(pose.joint(-0.75, 0, 0.78), pose.joint(-0.1, 0, 0.76), (0.1, 0.1), (30, 28, 30))  # seat
    if scooter:
        parts.limb(pose.joint(0.45, 0, 0.35), pose.joint(0.5, 0, 0.85), (0.19, 0.16), colour)
        parts.limb(pose.joint(-0.1, 0, 0.24), pose.joint(0.45, 0, 0.24), (0.1, 0.1), colour)
    else:
        parts.limb(pose.joint(0.02, 0, 0.82), pose.joint(0.32, 0, 0.84), (0.14, 0.17), colour)  # tank
    parts.limb(pose.joint(0.7, 0, radius), pose.joint(0.45, 0, 0.95), (0.05, 0.06), (170, 170, 174))  # fork
    parts.limb(pose.joint(0.48, -0.36, 1.02), pose.joint(0.48, 0.36, 1.02), (0.035, 0.035), (36, 36, 38))
    for side in (-0.3, 0.3):
        parts.limb(pose.joint(0.45, side, 1.05), pose.joint(0.45, side * 1.15, 1.18), (0.02, 0.06), (40, 40, 42))
    parts.limb(pose.joint(-0.8, 0, 0.64), pose.joint(-0.5, 0, 0.6), (0.09, 0.08), colour)
    square = np.array([-1, 1, 1, -1]) * 0.09
    tall = np.array([-1, -1, 1, 1]) * 0.09
    if pose.seen((1.0, 0.0, 0.0), (0.6, 0.0, 0.9)):
        parts.lamp(pose.world(0.62, square, tall + 0.88), (255, 246, 220), 0.8)
    else:
        parts.lamp(pose.world(-0.9, square, tall * 0.6 + 0.72), (200, 28, 26), 0.3)
    return parts


def _rider_parts(rng: random.Random, pose: Pose, motor: bool) -> Parts:
    """Return a rider: hips on the seat, hands on the handlebar, feet on the pedals or footrests."""
    parts, shirt, trousers = Parts(), any_paint(rng), any_paint(rng)
    hip = (-0.25, 0.95) if motor else (-0.2, 1.05)
    lean = rng.uniform(0.1, 0.32)
    shoulder = (hip[0] + lean, hip[1] + 0.5)
    turn = rng.uniform(0, 2 * math.pi)
    near = 1 if pose.seen((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)) else -1
    wide = 0.19 if motor else 0.12
    for side in (-near, near):
        if side == near:
            for across in (-0.09, 0.09):
                parts.limb(
                    pose.joint(*_flat(hip, across)),
                    pose.joint(*_flat((shoulder[0], shoulder[1] - 0.04), across * 1.3)),
                    (0.13, 0.13),
                    shirt,
                )
            _head(parts, pose, rng, (shoulder[0] + 0.07, shoulder[1] + 0.09), 0.22, motor or rng.random() < 0.6)
        phase = turn + (math.pi if side > 0 else 0)
        foot = (0.1, 0.32) if motor else (0.16 * math.cos(phase), 0.3 + 0.16 * math.sin(phase))
        knee = (0.5 * (hip[0] + foot[0]) + (0.3 if motor else 0.24), 0.5 * (hip[1] + foot[1]) + 0.1)
        cloth = mix(trousers, (0, 0, 0), 0.0 if side == near else 0.2)
        parts.limb(
            pose.joint(*_flat(hip, side * wide)), pose.joint(*_flat(knee, side * wide * 1.3)), (0.105, 0.08), cloth
        )
        parts.limb(
            pose.joint(*_flat(knee, side * wide * 1.3)), pose.joint(*_flat(foot, side * wide)), (0.075, 0.055), cloth
        )
        parts.limb(
            pose.joint(foot[0] - 0.05, side * wide, foot[1] - 0.03),
            pose.joint(foot[0] + 0.15, side * wide, foot[1] - 0.04),
            (0.05, 0.045),
            (36, 34, 34),
        )
        hand = (0.44, side * 0.27, 1.06)
        elbow = (0.5 * (shoulder[0] + hand[0]), side * 0.31, 0.5 * (shoulder[1] + hand[2]) - 0.05)
        sleeve = mix(shirt, (0, 0, 0), 0.08 if side == near else 0.25)
        parts.limb(pose.joint(shoulder[0], side * 0.2, shoulder[1] - 0.05), pose.joint(*elbow), (0.07, 0.055), sleeve)
        parts.limb(pose.joint(*elbow), pose.joint(*hand), (0.052, 0.042), sleeve)
    return parts


def _flat(point: tuple[float, float], across: float) -> tuple[float, float, float]:
    """Place a point of the side view (ahead, up) `across` metres to the right: (ahead, right, up)."""
    return point[0], across, point[1]


def two_wheeler(rng: random.Random, pose: Pose, motor: bool, ridden: bool) -> Thing:
    """Draw a bicycle or motorcycle, parked or with its rider; BDD100K labels the two as separate objects."""
    parts = _motorcycle_parts(rng, pose) if motor else _bicycle_parts(rng, pose)
    layers: list[tuple[str | None, Parts]] = [("motorcycle" if motor else "bicycle", parts)]
    if ridden:
        layers.append(("rider", _rider_parts(rng, pose, motor)))
    return Thing.over(pose, 1.7, 0.5, layers)
