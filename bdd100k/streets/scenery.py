"""The surroundings of objects in a drawn street scene: buildings, trees, poles, boards, fences, kiosks and boxes."""

import math
import random

import numpy as np

from bdd100k.streets.canvas import Canvas, Parts, any_paint, mix
from bdd100k.streets.extrusion import box_section, prism
from bdd100k.streets.pose import Pose, Thing


def building(
    canvas: Canvas, rng: random.Random, side: float, x: float, z: tuple[float, float], tall: float, house: bool
) -> Thing:
    """Draw a building with its facade at `x` (`side` -1 left, 1 right) from z[0] to z[1], `tall` metres high."""
    wall = mix(any_paint(rng), (168, 150, 132), 0.45)
    deep = x + side * rng.uniform(8, 16)
    z1, z2 = z
    shift1, shift2 = canvas.road_x(0, z1), canvas.road_x(0, z2)
    parts = Parts()
    end = np.array([(x + shift1, 0, z1), (deep + shift1, 0, z1), (deep + shift1, tall, z1), (x + shift1, tall, z1)])
    face = np.array([(x + shift1, 0, z1), (x + shift2, 0, z2), (x + shift2, tall, z2), (x + shift1, tall, z1)])
    if house:
        middle, ridge = (x + deep) / 2, tall + rng.uniform(1.5, 3.2)
        roof = (226, 228, 232) if canvas.look.snow else mix(any_paint(rng), (92, 70, 60), 0.5)
        top = np.array(
            [
                (x + shift1 - side * 0.3, tall - 0.1, z1 - 0.3),
                (x + shift2 - side * 0.3, tall - 0.1, z2),
                (middle + shift2, ridge, z2),
                (middle + shift1, ridge, z1 - 0.3),
            ]
        )
        gable = np.array([(x + shift1, tall, z1), (middle + shift1, ridge, z1), (deep + shift1, tall, z1)])
        parts.fill(top, roof)
        parts.fill(gable, wall, 0.78)
    parts.fill(end, wall, 0.78)
    parts.fill(face, wall, 1.0)
    _windows(canvas, rng, parts, (x + shift1, x + shift2, z1, z2), tall, house)
    _end_windows(canvas, rng, parts, (x + shift1, deep + shift1, z1), tall)
    low, high = min(x, deep), max(x, deep)
    return Thing(low + min(shift1, shift2), high + max(shift1, shift2), z1, z2, [(None, parts)])


def _windows(
    canvas: Canvas, rng: random.Random, parts: Parts, face: tuple[float, float, float, float], tall: float, house: bool
) -> None:
    """Add rows of windows to a street facade, and a shop front or a door below."""
    x1, x2, z1, z2 = face
    floor, pane = rng.uniform(3.0, 3.8), rng.uniform(1.2, 2.4)
    dark, lit, frame_colour = mix((52, 64, 78), (150, 170, 190), rng.uniform(0, 0.4)), (250, 214, 140), any_paint(rng)

    def quad(za: float, zb: float, ya: float, yb: float) -> np.ndarray:
        xa, xb = x1 + (x2 - x1) * (za - z1) / (z2 - z1), x1 + (x2 - x1) * (zb - z1) / (z2 - z1)
        return np.array([(xa, ya, za), (xb, ya, zb), (xb, yb, zb), (xa, yb, za)])

    shop = not house and rng.random() < 0.7
    pitch = pane * rng.uniform(1.4, 2.2)
    if canvas.focal * pane * 0.2 / z1 < 2 or z1 > 90:
        return
    for level in range(1 if shop else 0, max(1, int(tall // floor))):
        at = z1 + 0.6
        while at + pane < z2:
            glow = rng.random() < (0.35 if canvas.look.night else 0.03)
            pane_quad = quad(at, at + pane, level * floor + 0.95, level * floor + 2.4)
            if glow and canvas.look.dark:
                parts.lamp(pane_quad, mix(lit, dark, rng.uniform(0.1, 0.6)), 0.0)
            else:
                parts.fill(pane_quad, dark)
            at += pitch
    if shop:
        at = z1 + 0.3
        while at + 3 < z2:
            wide, awning = rng.uniform(2.5, 5.0), any_paint(rng)
            front = quad(at, min(at + wide, z2), 0.5, 2.5)
            if canvas.look.night and rng.random() < 0.6:
                parts.lamp(front, mix((250, 226, 176), (60, 60, 60), rng.uniform(0.1, 0.6)), 0.0)
            else:
                parts.fill(front, mix((44, 50, 58), any_paint(rng), 0.2))
            parts.fill(quad(at, min(at + wide, z2), 2.55, rng.uniform(2.9, 3.3)), awning)
            at += wide + rng.uniform(0.2, 1.5)
    else:
        at = rng.uniform(z1, max(z1 + 0.1, z2 - 1.2))
        parts.fill(quad(at, min(at + 1.0, z2), 0.0, 2.1), frame_colour)


def _end_windows(
    canvas: Canvas, rng: random.Random, parts: Parts, end: tuple[float, float, float], tall: float
) -> None:
    """Add a few windows to the wall that faces the camera."""
    x1, x2, z = end
    if z > 80 or z < 2 or rng.random() < 0.3:
        return
    step = (x2 - x1) / 5
    for level in range(max(1, int(tall // 3.4))):
        for i in (0, 1, 2, 3):
            xa, xb = x1 + step * (i + 0.5), x1 + step * (i + 1)
            ya = level * 3.4 + 1.0
            parts.fill(np.array([(xa, ya, z), (xb, ya, z), (xb, ya + 1.5, z), (xa, ya + 1.5, z)]), (58, 66, 76))


def tree(canvas: Canvas, rng: random.Random, x: float, z: float) -> Thing:
    """Draw a tree: a trunk and a crown of ragged blobs, bare or partly white in snow."""
    tall, x = rng.uniform(4, 9), canvas.road_x(x, z)
    parts = Parts()
    trunk = (74, 58, 44)
    parts.limb(
        np.array([x, 0, z]),
        np.array([x + rng.uniform(-0.2, 0.2), tall * 0.6, z]),
        (rng.uniform(0.12, 0.25), 0.1),
        trunk,
    )
    bare = canvas.look.snow and rng.random() < 0.6
    if bare:
        for _ in range(9):
            base = tall * rng.uniform(0.35, 0.65)
            parts.limb(
                np.array([x, base, z]),
                np.array([x + rng.uniform(-1.6, 1.6), base + rng.uniform(0.8, 2.4), z]),
                (0.06, 0.02),
                trunk,
            )
    else:
        leaf = rng.choice(((58, 92, 48), (76, 108, 50), (46, 76, 52), (120, 104, 46), (150, 92, 40)))
        turn = np.linspace(0, 2 * math.pi, 18, endpoint=False)
        for i in range(rng.randint(7, 11)):
            size = rng.uniform(0.22, 0.36) * tall * (1.0 if i < 3 else 0.5)
            cx, cy = x + rng.gauss(0, 0.13) * tall, tall * rng.uniform(0.62, 0.95)
            wobble = size * np.array([rng.uniform(0.75, 1.12) for _ in turn])
            blob = np.stack([cx + np.cos(turn) * wobble, cy + np.sin(turn) * wobble * 0.85, np.full(18, z)], axis=1)
            colour = mix(leaf, (236, 238, 242), 0.5) if canvas.look.snow and i % 2 else leaf
            parts.fill(blob, colour, 0.8 + 0.5 * (cy / tall - 0.6) + rng.uniform(-0.12, 0.12))
    return Thing(x - 0.4, x + 0.4, z - 0.3, z + 0.3, [(None, parts)])


def pole(canvas: Canvas, rng: random.Random, x: float, z: float, side: float) -> Thing:
    """Draw a street lamp, a traffic light on a mast, a road sign or a wooden pole."""
    parts, x = Parts(), canvas.road_x(x, z)
    kind = rng.choices(("lamp", "light", "sign", "wood"), (35, 25, 28, 12))[0]
    grey = rng.choice(((90, 92, 96), (60, 62, 64), (128, 130, 132), (52, 74, 60)))
    tall = {
        "lamp": rng.uniform(6, 9),
        "light": rng.uniform(4.8, 6.0),
        "sign": rng.uniform(2.1, 2.8),
        "wood": rng.uniform(8, 10),
    }[kind]
    grey = (96, 74, 56) if kind == "wood" else grey
    thick = 0.05 if kind == "sign" else rng.uniform(0.07, 0.13)
    parts.limb(np.array([x, 0, z]), np.array([x, tall, z]), (thick, thick * 0.8), grey)

    def flat(xa: float, xb: float, ya: float, yb: float, near: float = 0.05) -> np.ndarray:
        return np.array([(xa, ya, z - near), (xb, ya, z - near), (xb, yb, z - near), (xa, yb, z - near)])

    if kind == "lamp":
        tip = x - side * rng.uniform(1.0, 2.4)
        parts.limb(np.array([x, tall, z]), np.array([tip, tall + 0.3, z]), (0.05, 0.05), grey)
        parts.lamp(
            flat(tip - 0.35, tip + 0.2, tall + 0.16, tall + 0.32),
            (255, 226, 170) if canvas.look.night else (190, 190, 186),
            1.8 if canvas.look.night else 0.0,
        )
    elif kind == "light":
        tip = x - side * rng.uniform(0.3, 4.5)
        parts.limb(np.array([x, tall, z]), np.array([tip, tall, z]), (0.06, 0.05), grey)
        lit = rng.choice((0, 2, 2, 1))
        for head in {x - side * 0.3, tip}:
            parts.fill(flat(head - 0.17, head + 0.17, tall - 0.95, tall + 0.05), (28, 30, 28))
            for row, colour in enumerate(((236, 40, 30), (250, 190, 40), (60, 230, 130))):
                spot = flat(head - 0.1, head + 0.1, tall - 0.25 - 0.3 * row, tall - 0.05 - 0.3 * row, 0.07)
                if row == lit:
                    parts.lamp(spot, colour, 0.45)
                else:
                    parts.fill(spot, mix(colour, (20, 20, 20), 0.8))
    elif kind == "sign":
        sides = rng.choice((3, 4, 4, 8, 16))
        turn = np.arange(sides) * 2 * math.pi / sides + math.pi / (4 if sides == 4 else 2 if sides == 3 else 8)
        size = rng.uniform(0.3, 0.5)
        for scale, board in ((1.0, any_paint(rng)), (0.78, any_paint(rng))):
            disc = np.stack(
                [x + np.cos(turn) * size * scale, tall + np.sin(turn) * size * scale, np.full(sides, z - 0.06)], axis=1
            )
            parts.fill(disc, board)
    else:
        for up in (0.9, 0.8):
            parts.limb(np.array([x - 0.9, tall * up, z]), np.array([x + 0.9, tall * up, z]), (0.06, 0.06), grey)
    return Thing(x - 0.2, x + 0.2, z - 0.2, z + 0.2, [(None, parts)])


def billboard(canvas: Canvas, rng: random.Random, x: float, z: float) -> Thing:
    """Draw a board on posts: a plain area in the colours of cars."""
    parts, x = Parts(), canvas.road_x(x, z)
    wide, low, tall = rng.uniform(1.5, 5), rng.uniform(2.5, 5.5), rng.uniform(1.2, 2.8)
    for at in (x - wide * 0.35, x + wide * 0.35):
        parts.limb(np.array([at, 0, z]), np.array([at, low, z]), (0.08, 0.08), (92, 92, 94))
    colour = any_paint(rng)
    for inset, shade in ((0.0, mix(colour, (240, 240, 240), 0.8)), (0.1, colour)):
        parts.fill(
            np.array(
                [
                    (x - wide / 2 + inset, low + inset, z),
                    (x + wide / 2 - inset, low + inset, z),
                    (x + wide / 2 - inset, low + tall - inset, z),
                    (x - wide / 2 + inset, low + tall - inset, z),
                ]
            ),
            shade,
        )
    for row in range(rng.randint(1, 3)):
        up = low + tall * (0.25 + 0.22 * row)
        parts.line(
            np.array([(x - wide * 0.38, up, z), (x + wide * rng.uniform(0, 0.38), up, z)]),
            mix(colour, (250, 250, 250), 0.7),
            0.16,
        )
    return Thing(x - wide / 2, x + wide / 2, z - 0.2, z + 0.2, [(None, parts)])


def fence(canvas: Canvas, rng: random.Random, x: float, z: tuple[float, float], tall: float, rail: bool) -> Thing:
    """Draw a fence of boards or a guard rail along the road, `tall` metres high."""
    parts, colour = Parts(), (150, 152, 154) if rail else any_paint(rng)
    z1, z2 = z
    x1, x2 = canvas.road_x(x, z1), canvas.road_x(x, z2)
    low = tall * 0.45 if rail else 0.0
    parts.fill(np.array([(x1, low, z1), (x2, low, z2), (x2, tall, z2), (x1, tall, z1)]), colour, 0.9)
    for fraction in np.linspace(0, 1, 9):
        at, where = z1 + (z2 - z1) * fraction, x1 + (x2 - x1) * fraction
        parts.line(np.array([(where, 0, at), (where, tall, at)]), mix(colour, (40, 40, 40), 0.5), 0.06)
    return Thing(min(x1, x2) - 0.05, max(x1, x2) + 0.05, z1, z2, [(None, parts)])


def kiosk(canvas: Canvas, rng: random.Random, pose: Pose) -> Thing:
    """Draw a container, shelter or kiosk of the size of a van, without wheels or lamps."""
    parts, colour = Parts(), any_paint(rng)
    length, half, tall = rng.uniform(2, 5), rng.uniform(0.7, 1.2), rng.uniform(2.2, 2.9)
    prism(parts, pose, (-length / 2, length / 2), box_section(half, 0.0, tall), colour, mix(colour, (60, 60, 60), 0.15))
    prism(
        parts,
        pose,
        (-length / 2 - 0.2, length / 2 + 0.2),
        box_section(half + 0.2, tall, tall + 0.15),
        any_paint(rng),
        (90, 90, 90),
    )
    reach = max(length / 2, half)
    return Thing(pose.x - reach, pose.x + reach, pose.z - reach, pose.z + reach, [(None, parts)])


def crate(rng: random.Random, pose: Pose, size: tuple[float, float, float], snow: bool = False) -> Thing:
    """Draw a box, bin or container in the colours of cars, so that only its shape distinguishes it from a vehicle.

    `size` is (length, width, height) in metres.
    """
    length, width, height = size
    colour, parts = any_paint(rng), Parts()
    prism(
        parts,
        pose,
        (-length / 2, length / 2),
        box_section(width / 2, 0.0, height),
        colour,
        mix(colour, (70, 70, 70), 0.15),
    )
    lid = (232, 235, 240) if snow else mix(colour, (20, 20, 20), 0.4)
    prism(
        parts,
        pose,
        (-length / 2 - 0.04, length / 2 + 0.04),
        box_section(width / 2 + 0.04, height, height + 0.08),
        lid,
        lid,
    )
    return Thing.over(pose, length, width, [(None, parts)])
