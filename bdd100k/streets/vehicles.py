"""The vehicles of the drawn street scenes: cars, buses, trucks and trams."""

import math
import random

import numpy as np

from bdd100k.streets.bodies import CAB, CARS, Body, bus_body, railcar_body
from bdd100k.streets.canvas import Colour, Parts, any_paint, mix
from bdd100k.streets.extrusion import (
    GLASS,
    RING,
    TYRE,
    add_ends,
    box_section,
    extrude,
    prism,
    rectangle,
    tyres_from_behind,
)
from bdd100k.streets.pose import Pose, Thing


def car(rng: random.Random, pose: Pose, snow: bool = False, lit: bool = True) -> Thing:
    """Draw a sedan, SUV, hatchback or van in a random colour; a parked one is not `lit`."""
    body = CARS[rng.choices(("sedan", "suv", "hatch", "van"), (40, 30, 20, 10))[0]]
    colour = any_paint(rng)
    roof = mix(colour, (235, 238, 242), 0.75) if snow and rng.random() < 0.6 else colour
    parts, start = Parts(), -body.length / 2
    extrude(parts, pose, body, colour, roof, start)
    low = body.outline[2][1] - 0.26
    add_ends(
        parts,
        pose,
        rng,
        (start, start + body.length, body.width / 2),
        (low, low + 0.2),
        lit and rng.random() < 0.35,
        lit,
    )
    if body.height > 1.7 and rng.random() < 0.3:  # roof rails
        parts.line(pose.world(np.array([-0.9, 0.9]), body.width * 0.36, body.height + 0.06), (60, 60, 64), 0.05)
    return Thing.over(pose, body.length, body.width, [("car", parts)])


def bus(rng: random.Random, pose: Pose, snow: bool = False) -> Thing:
    """Draw a city bus or coach: one long box, windows along its sides, a route sign."""
    length, height = rng.uniform(9.5, 12.5), rng.uniform(2.9, 3.35)
    body, colour = bus_body(length, height), any_paint(rng)
    parts, start = Parts(), -length / 2
    extrude(parts, pose, body, colour, (230, 232, 236) if snow else mix(colour, (200, 200, 200), 0.4), start)
    if rng.random() < 0.7:
        stripe = any_paint(rng)
        for sign in (1.0, -1.0):
            if pose.seen((0.0, sign, 0.0), (0.0, sign * 1.25, 1.0)):
                along = np.array([start + 0.05, -start - 0.05, -start - 0.05, start + 0.05])
                parts.fill(pose.world(along, sign * 1.27, np.array([0.75, 0.75, 1.05, 1.05])), stripe, 0.85)
    add_ends(parts, pose, rng, (start, -start, 1.25), (0.75, 1.05), rng.random() < 0.3)
    if pose.seen((1.0, 0.0, 0.0), (-start, 0.0, 2.0)):
        parts.fill(rectangle(pose, -start + 0.02, (-0.9, 0.9), (height - 0.42, height - 0.12)), (20, 20, 22))
        parts.lamp(rectangle(pose, -start + 0.04, (-0.6, 0.6), (height - 0.34, height - 0.2)), (255, 180, 60), 0.0)
    return Thing.over(pose, length, 2.5, [("bus", parts)])


def railcar(rng: random.Random, pose: Pose, snow: bool = False) -> Thing:
    """Draw a tram or light-rail train: two or three cars with sloped noses and a pantograph each."""
    cars, length, height = rng.choice((2, 2, 3)), rng.uniform(10, 14), rng.uniform(3.3, 3.6)
    colour, stripe = any_paint(rng), any_paint(rng)
    body = railcar_body(length, height, rng.uniform(0.25, 0.9))
    parts, total = Parts(), cars * (length + 0.5)
    starts = [-total / 2 + i * (length + 0.5) for i in range(cars)]
    for start in sorted(starts, key=lambda s: -pose.joint(s + length / 2, 0.0, 0.0)[2]):
        prism(parts, pose, (start - 0.5, start + length + 0.2), box_section(0.9, 0.6, 2.9), (40, 40, 42), (40, 40, 42))
        extrude(parts, pose, body, colour, (228, 230, 234) if snow else (120, 122, 126), start)
        for sign in (1.0, -1.0):
            if pose.seen((0.0, sign, 0.0), (start, sign * 1.32, 1.0)):
                along = np.array([start, start + length, start + length, start])
                parts.fill(pose.world(along, sign * 1.34, np.array([0.3, 0.3, 0.62, 0.62])), (52, 54, 58))
                parts.fill(pose.world(along, sign * 1.34, np.array([0.95, 0.95, 1.3, 1.3])), stripe, 0.85)
                for door in (0.3, 0.7):
                    left = start + length * door
                    span = np.array([left, left + 1.2, left + 1.2, left])
                    parts.fill(
                        pose.world(span, sign * 1.35, np.array([0.45, 0.45, 2.55, 2.55])), mix(stripe, GLASS, 0.5), 0.9
                    )
        add_ends(parts, pose, rng, (start, start + length, 1.2), (0.8, 1.05), False)
        parts.line(
            pose.world(start + length * np.array([0.4, 0.5, 0.4]), 0.0, np.array([height, height + 0.7, height + 1.3])),
            (50, 50, 52),
            0.08,
        )
    return Thing.over(pose, total, 2.65, [("train", parts)])


def truck(rng: random.Random, pose: Pose, snow: bool = False) -> Thing:
    """Draw a truck: a cab with a box, a loaded flatbed or a tank."""
    load = rng.choices(("box", "flatbed", "tank"), (60, 20, 20))[0]
    bed = rng.uniform(4.2, 8.0)
    total, cab_colour, cargo = bed + 2.3, any_paint(rng), any_paint(rng)
    start, parts, cab = -total / 2, Parts(), Parts()
    extrude(cab, pose, CAB, cab_colour, (230, 232, 236) if snow else cab_colour, start + bed + 0.2)
    add_ends(cab, pose, rng, (-99.0, start + total, 1.15), (0.75, 1.0), False)
    span = (start, start + bed)
    _truck_chassis(parts, pose, span, rng)
    if load == "box":
        top = rng.uniform(3.0, 3.9)
        prism(parts, pose, span, box_section(1.25, 0.95, top), cargo, mix(cargo, (90, 90, 90), 0.15))
        _cargo_lines(parts, pose, span, top, cargo, rng)
    elif load == "tank":
        ring = np.stack(
            [np.cos(np.arange(12) * math.pi / 6) * 1.12, np.sin(np.arange(12) * math.pi / 6) * 0.95 + 2.0], axis=1
        )
        prism(parts, pose, span, ring, mix(cargo, (200, 204, 208), 0.5), mix(cargo, (150, 154, 158), 0.5))
    else:
        prism(parts, pose, span, box_section(1.2, 0.95, 1.2), (90, 84, 76), (80, 76, 70))
        at = span[0] + 0.3
        while at < span[1] - 0.8:
            long, tall = rng.uniform(0.8, 2.2), rng.uniform(0.5, 1.5)
            crate = any_paint(rng)
            prism(
                parts,
                pose,
                (at, min(at + long, span[1])),
                box_section(rng.uniform(0.7, 1.15), 1.2, 1.2 + tall),
                crate,
                mix(crate, (60, 60, 60), 0.2),
            )
            at += long + rng.uniform(0.1, 0.9)
    add_ends(parts, pose, rng, (start, 99.0, 1.2), (0.85, 1.02), rng.random() < 0.3)
    facing_us = math.cos(pose.yaw) < 0
    whole = Parts([*parts.entries, *cab.entries] if facing_us else [*cab.entries, *parts.entries])
    return Thing.over(pose, total, 2.5, [("truck", whole)])


def _truck_chassis(parts: Parts, pose: Pose, span: tuple[float, float], rng: random.Random) -> None:
    """Add the frame and the rear wheels below the load."""
    axles = (0.9, 2.0) if span[1] - span[0] > 5.5 else (1.2,)
    wheels = Body(
        ((0, 0.5), (0, 0.95), (span[1] - span[0], 0.95), (span[1] - span[0], 0.5)), (), 2.3, 9.0, 0.0, (), axles, 0.48
    )
    tyres_from_behind(parts, pose, wheels, span[0])
    prism(parts, pose, (span[0] + 0.1, span[1] + 1.0), box_section(0.8, 0.55, 0.95), (46, 46, 48), (40, 40, 42))
    for sign in (1.0, -1.0):
        if pose.seen((0.0, sign, 0.0), (0.0, sign * 1.15, 1.0)):
            for axle in axles:
                for radius, colour in ((0.48, TYRE), (0.26, (130, 130, 134))):
                    parts.fill(
                        pose.world(RING[:, 0] * radius + span[0] + axle, sign * 1.16, RING[:, 1] * radius + 0.48),
                        colour,
                    )


def _cargo_lines(
    parts: Parts, pose: Pose, span: tuple[float, float], top: float, colour: Colour, rng: random.Random
) -> None:
    """Add the doors at the rear of a cargo box, and ribs or a sign on its visible side."""
    dark = mix(colour, (0, 0, 0), 0.35)
    if pose.seen((-1.0, 0.0, 0.0), (span[0], 0.0, 1.0)):
        for across in (-1.2, 0.0, 1.2):
            parts.line(pose.world(span[0] - 0.02, np.array([across, across]), np.array([1.0, top - 0.05])), dark, 0.05)
        parts.line(pose.world(span[0] - 0.02, np.array([-1.2, 1.2]), np.array([top - 0.1, top - 0.1])), dark, 0.06)
    sign_colour = any_paint(rng)
    for sign in (1.0, -1.0):
        if pose.seen((0.0, sign, 0.0), (0.0, sign * 1.25, 1.0)):
            if rng.random() < 0.5:
                long = span[1] - span[0]
                along = span[0] + long * np.array([0.2, 0.8, 0.8, 0.2])
                parts.fill(
                    pose.world(along, sign * 1.26, np.array([1.6, 1.6, top - 0.5, top - 0.5])), sign_colour, 0.85
                )
            else:
                for at in np.arange(span[0] + 0.5, span[1], 0.7):
                    parts.line(pose.world(np.array([at, at]), sign * 1.26, np.array([1.0, top - 0.05])), dark, 0.04)
