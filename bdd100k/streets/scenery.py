"""What surrounds the objects of a drawn street scene: sky, ground, buildings, trees, poles, weather, camera faults."""

import functools
import math
import random

import cv2
import numpy as np

from bdd100k.streets.canvas import HEIGHT, WIDTH, Canvas, Colour, Look, Parts, any_paint, mix
from bdd100k.streets.vehicles import Frame, Thing, box_section, prism

_BANDS_M = np.geomspace(1.3, 240.0, 26)
_SKIES: dict[str, tuple[Colour, Colour]] = {  # top and horizon colour
    "clear": ((86, 140, 206), (190, 214, 232)),
    "partly cloudy": ((104, 150, 204), (198, 212, 224)),
    "overcast": ((158, 164, 170), (202, 204, 206)),
    "rainy": ((122, 128, 136), (168, 172, 176)),
    "snowy": ((182, 186, 192), (214, 216, 220)),
    "foggy": ((186, 190, 194), (206, 208, 210)),
}


def choose_look(rng: random.Random) -> Look:
    """Draw weather, scene and time of day in BDD100K's proportions, and the light that follows from them."""
    weather = rng.choices(("clear", "overcast", "partly cloudy", "rainy", "snowy", "foggy"), (48, 16, 14, 9, 9, 4))[0]
    scene = rng.choices(("city street", "residential", "highway", "parking lot"), (66, 17, 14, 3))[0]
    time = rng.choices(("daytime", "night", "dawn/dusk"), (62, 25, 13))[0]
    horizon = _SKIES[weather][1]
    haze: Colour
    if time == "night":
        light, tint, haze, lamps = rng.uniform(0.24, 0.4), (0.92, 0.96, 1.1), (26, 28, 36), rng.uniform(0.3, 0.55)
    elif time == "dawn/dusk":
        light, tint, lamps = rng.uniform(0.5, 0.75), (1.1, 0.97, 0.88), 0.1
        haze = mix(mix(horizon, (232, 168, 122), 0.5), (60, 56, 70), 0.25)
    else:
        light, tint, haze, lamps = rng.uniform(0.82, 1.05), (1.0, 1.0, 1.0), horizon, 0.0
        if weather == "clear":
            tint = (1.05, 1.02, 0.95)
    per_m = {"foggy": rng.uniform(0.014, 0.03), "rainy": 0.007, "snowy": 0.008}.get(weather, 0.0028)
    return Look(weather, scene, time, light, tint, haze, per_m, lamps)


def sky(canvas: Canvas, rng: random.Random) -> None:
    """The sky above the horizon, with clouds, and a skyline or hills on it."""
    look = canvas.look
    top, low = _SKIES[look.weather]
    if look.night:
        top, low = (10, 12, 22), (34, 34, 44)
    elif look.timeofday == "dawn/dusk":
        top, low = mix(top, (52, 58, 92), 0.55), look.haze
    share = np.linspace(0, 1, HEIGHT)[:, None] / max(canvas.horizon / HEIGHT, 0.1)
    column = np.array(top) + (np.array(low, float) - top) * np.clip(share, 0, 1)
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
    """A strip of ground between two lateral positions, in bands so that light and haze change with distance."""
    near, far = z
    edges = [near, *_BANDS_M[(near < _BANDS_M) & (far > _BANDS_M)], far]
    points = [[(canvas.road_x(x1, at), up, at), (canvas.road_x(x2, at), up, at)] for at in edges]
    px = canvas.project(np.array(points).reshape(-1, 3)).reshape(-1, 2, 2)
    for i in range(len(edges) - 1, 0, -1):
        quad = np.stack([px[i, 0], px[i, 1], px[i - 1, 1], px[i - 1, 0]])
        canvas.fill_px(quad, canvas.tone(colour, (edges[i] + edges[i - 1]) / 2), -1, smooth=False)


def dashes(canvas: Canvas, x: float, colour: Colour, pattern: tuple[float, float], width: float = 0.14) -> None:
    """A broken lane line: `pattern` metres of paint and of gap."""
    at = 2.0
    while at < 90:
        end = at + pattern[0]
        near, far = canvas.road_x(x, at), canvas.road_x(x, end)
        half = width / 2
        corners = np.array([(near - half, 0, at), (near + half, 0, at), (far + half, 0, end), (far - half, 0, end)])
        canvas.fill_px(canvas.project(corners), canvas.tone(colour, at), -1)
        at = end + pattern[1]


def patches(canvas: Canvas, rng: random.Random, x: tuple[float, float], colour: Colour, count: int) -> None:
    """Puddles, repairs, manholes: flat blobs on the road."""
    turn = np.linspace(0, 2 * math.pi, 12, endpoint=False)
    for _ in range(count):
        at, z = rng.uniform(*x), rng.uniform(4, 32)
        size = rng.uniform(0.3, 1.5)
        wobble = np.array([rng.uniform(0.7, 1.2) for _ in turn]) * size
        blob = np.stack([canvas.road_x(at, z) + np.cos(turn) * wobble, 0 * turn, z + np.sin(turn) * wobble], axis=1)
        canvas.fill_px(canvas.project(blob), canvas.tone(colour, z), -1)


def shadow(canvas: Canvas, footprint: np.ndarray, drift: float, strength: float) -> None:
    """The dark patch below a thing, footprint world points [4, 3]; `drift` moves it sideways as the sun does."""
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


def building(
    canvas: Canvas, rng: random.Random, side: float, x: float, z: tuple[float, float], tall: float, house: bool
) -> Thing:
    """A facade along the street at `x` (side -1 left, 1 right) from z[0] to z[1], `tall` metres high."""
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
    """Rows of windows on a street facade, a shop front or door below."""
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
    """A few windows on the wall that faces the camera."""
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
    """A trunk and a crown of ragged blobs in two shades; bare or white in snow."""
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
    """A street lamp, a traffic light on a mast, or a road sign."""
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
    """A board on posts: a plain area in the colours of cars, sometimes over the road like a highway sign."""
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
    """A fence of boards or a guard rail along the road."""
    parts, colour = Parts(), (150, 152, 154) if rail else any_paint(rng)
    z1, z2 = z
    x1, x2 = canvas.road_x(x, z1), canvas.road_x(x, z2)
    low = tall * 0.45 if rail else 0.0
    parts.fill(np.array([(x1, low, z1), (x2, low, z2), (x2, tall, z2), (x1, tall, z1)]), colour, 0.9)
    for share in np.linspace(0, 1, 9):
        at, where = z1 + (z2 - z1) * share, x1 + (x2 - x1) * share
        parts.line(np.array([(where, 0, at), (where, tall, at)]), mix(colour, (40, 40, 40), 0.5), 0.06)
    return Thing(min(x1, x2) - 0.05, max(x1, x2) + 0.05, z1, z2, [(None, parts)])


def kiosk(canvas: Canvas, rng: random.Random, frame: Frame) -> Thing:
    """A container, shelter or kiosk of a van's or a bus' size, without wheels or lamps."""
    parts, colour = Parts(), any_paint(rng)
    length, half, tall = rng.uniform(2, 5), rng.uniform(0.7, 1.2), rng.uniform(2.2, 2.9)
    prism(
        parts, frame, (-length / 2, length / 2), box_section(half, 0.0, tall), colour, mix(colour, (60, 60, 60), 0.15)
    )
    prism(
        parts,
        frame,
        (-length / 2 - 0.2, length / 2 + 0.2),
        box_section(half + 0.2, tall, tall + 0.15),
        any_paint(rng),
        (90, 90, 90),
    )
    reach = max(length / 2, half)
    return Thing(frame.x - reach, frame.x + reach, frame.z - reach, frame.z + reach, [(None, parts)])


def weather_and_camera(canvas: Canvas, rng: random.Random) -> None:
    """Falling snow or rain, drops on the windscreen, then blur, exposure and sensor noise, in place."""
    look, numbers = canvas.look, np.random.default_rng(rng.getrandbits(32))
    if look.weather in ("rainy", "snowy"):
        count = rng.randint(120, 420)
        spots = numbers.random((count, 3))
        drift = rng.uniform(-6, 6)
        for x, y, near in spots:
            at = (int(x * WIDTH), int(y * HEIGHT))
            if look.snow:
                cv2.circle(
                    canvas.image,
                    at,
                    1 + int(near > 0.75) + int(near > 0.96),
                    canvas.tone((244, 246, 250), 6.0),
                    -1,
                    cv2.LINE_AA,
                )
            elif near < 0.5:
                end = (int(at[0] + drift), int(at[1] + 10 + 14 * near))
                cv2.line(canvas.image, at, end, canvas.tone((176, 182, 188), 6.0), 1, cv2.LINE_AA)
    if look.weather == "rainy" and rng.random() < 0.4:
        for x, y, size in numbers.random((14, 3)):
            x1, y1, reach = int(x * (WIDTH - 40)), int(y * (HEIGHT - 40)), int(8 + size * 18)
            drop = canvas.image[y1 : y1 + reach, x1 : x1 + reach]
            drop[:] = cv2.blur(drop, (9, 9))
    if rng.random() < 0.45:
        canvas.image = cv2.GaussianBlur(canvas.image, (0, 0), rng.uniform(0.5, 1.15))
    gain = rng.uniform(0.88, 1.12)
    if abs(gain - 1) > 0.02:
        canvas.image = cv2.convertScaleAbs(
            canvas.image, alpha=gain, beta=rng.uniform(-4, 8) if gain > 1 else rng.uniform(0, 8)
        )
    _noise(canvas.image, numbers, rng.uniform(1.0, 3.5) + (3.5 if look.night else 0.0))


def _noise(image: np.ndarray, numbers: np.random.Generator, sigma: float) -> None:
    """Sensor noise and surface texture: one tile, cropped at a different place for every band of rows."""
    grain, coarse = _grain()
    tile = np.rint(
        grain * sigma + coarse * numbers.uniform(0.2, 1.1)
    )  # [184, 4032], a third of it per channel and pixel
    up, down = np.maximum(tile, 0).astype(np.uint8), np.maximum(-tile, 0).astype(np.uint8)
    flat = image.reshape(HEIGHT, WIDTH * 3)
    for row in range(0, HEIGHT, 120):
        y, x = (int(v) for v in numbers.integers(0, 64, 2))
        band = flat[row : row + 120]
        cv2.add(band, up[y : y + 120, 3 * x : 3 * x + WIDTH * 3], dst=band)
        cv2.subtract(band, down[y : y + 120, 3 * x : 3 * x + WIDTH * 3], dst=band)


@functools.cache
def _grain() -> tuple[np.ndarray, np.ndarray]:
    """Fine noise (its own per channel) and coarse noise (one for all channels), float32 [184, 4032], unit variance."""
    numbers = np.random.default_rng(1)
    fine = numbers.standard_normal((184, (WIDTH + 64) * 3), np.float32)
    coarse = cv2.GaussianBlur(numbers.standard_normal((184, WIDTH + 64), np.float32), (0, 0), 2.5)
    return fine, np.repeat(coarse / coarse.std(), 3, axis=1)
