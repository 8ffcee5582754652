"""Layouts of the four kinds of street scene (lanes, kerbs, crossings, traffic), and the order of painting."""

import math
import random

import numpy as np

from bdd100k.streets.canvas import Canvas, Colour, mix
from bdd100k.streets.ground import dashes, ground_strip, patches
from bdd100k.streets.people import pedestrian, two_wheeler
from bdd100k.streets.pose import Pose, Thing
from bdd100k.streets.scenery import billboard, building, crate, fence, kiosk, pole, tree
from bdd100k.streets.vehicles import bus, car, railcar, truck

LANE_M = 3.4
_FAR_M = 78.0  # vehicles farther away would be smaller than the smallest labelled object


class Layout:
    """The layout of one scene: paints the ground and collects the things to paint on it."""

    def __init__(self, canvas: Canvas, rng: random.Random) -> None:
        """Lay out the kind of scene that `canvas.look.scene` names; `things` holds the result in arbitrary order."""
        self.canvas, self.rng = canvas, rng
        self.things: list[Thing] = []
        self.snow = canvas.look.snow
        self.busy = min(3.0, max(0.6, rng.lognormvariate(0.8, 0.3)))
        self.asphalt = mix((104, 104, 106), (70, 70, 74), rng.random())
        if self.snow:
            self.asphalt = mix(self.asphalt, (206, 209, 214), rng.uniform(0.2, 0.85))
        elif canvas.look.weather == "rainy":
            self.asphalt = mix(self.asphalt, (58, 62, 70), 0.7)
        {"highway": self._highway, "parking lot": self._parking_lot}.get(canvas.look.scene, self._street)()

    # Streets ---------------------------------------------------------------------------------------------------------

    def _street(self) -> None:
        """Lay out a city or residential street: lanes, parked cars, pavements, at times a crossing street or rails."""
        rng, house = self.rng, self.canvas.look.scene == "residential"
        same_left, same_right = (0, 0) if house else (rng.choice((0, 1)), rng.choice((0, 0, 1)))
        oncoming = rng.choice((1, 2)) if not house else 1
        parking = rng.random() < (0.95 if house else 0.8)
        bay = 2.3 if parking else 0.4
        right = LANE_M * (0.5 + same_right) + bay
        left = -LANE_M * (0.5 + same_left + oncoming) - bay
        walk = rng.uniform(2.2, 4.5)
        crossing = rng.uniform(11, 30) if rng.random() < (0.25 if house else 0.6) else None
        self._street_ground(left, right, walk, (same_left, same_right), crossing, house)
        tram = not house and rng.random() < 0.075
        for i in range(-same_left - oncoming, same_right + 1):
            oncoming_lane = i < -same_left
            self._lane(
                i * LANE_M,
                math.pi if oncoming_lane else 0.0,
                8.0 if i else rng.uniform(8, 22),
                crossing,
                tram and i == -same_left - 1,
            )
        if parking:
            for side, edge in ((1, right), (-1, left)):
                self._parked(edge - side * 1.15, side, crossing)
        self._pavements(left, right, walk, crossing, house)
        if crossing:
            self._cross_traffic(crossing, left, right)
        self._frontage(left - walk, right + walk, crossing, house)

    def _street_ground(
        self, left: float, right: float, walk: float, lanes: tuple[int, int], crossing: float | None, house: bool
    ) -> None:
        """Paint the ground of a street: carriageway, kerbs, pavements, markings and the crossing street."""
        canvas, rng = self.canvas, self.rng
        earth = (
            (216, 219, 224) if self.snow else rng.choice(((96, 118, 70), (118, 110, 84))) if house else (128, 124, 120)
        )
        stone: Colour = (222, 225, 229) if self.snow else mix((168, 164, 158), (132, 130, 128), rng.random())
        ground_strip(canvas, -220, 220, earth)
        ground_strip(canvas, left - walk, left, stone, up=0.12)
        ground_strip(canvas, right, right + walk, stone, up=0.12)
        ground_strip(canvas, left, right, self.asphalt)
        for edge in (left, right):
            ground_strip(canvas, edge - 0.08, edge + 0.08, mix(stone, (60, 60, 60), 0.35))
        paint = (206, 208, 206) if not self.snow else mix(self.asphalt, (220, 220, 220), 0.3)
        if not house or rng.random() < 0.4:
            middle = -LANE_M * (0.5 + lanes[0])
            for shift in (-0.15, 0.15):
                ground_strip(
                    canvas,
                    middle + shift - 0.06,
                    middle + shift + 0.06,
                    mix(self.asphalt, (214, 172, 58), 0.75),
                    z=(2.5, 120),
                )
            for i in range(-lanes[0] + 1, lanes[1] + 1):
                dashes(canvas, (i - 0.5) * LANE_M, paint, (3.0, 6.0))
        if crossing:
            ground_strip(canvas, -60, 60, self.asphalt, z=(crossing, crossing + 9))
            stripe = left + 0.6
            while stripe < right - 0.4:
                ground_strip(canvas, stripe, stripe + 0.5, paint, z=(crossing - 3.6, crossing - 0.8))
                stripe += 1.05
            ground_strip(
                canvas, -LANE_M / 2 - lanes[0] * LANE_M, right - 0.4, paint, z=(crossing - 5.0, crossing - 4.6)
            )
        wet = canvas.look.weather in ("rainy", "snowy")
        patches(
            canvas,
            rng,
            (left, right),
            mix(self.asphalt, canvas.look.haze, 0.5) if wet else mix(self.asphalt, (40, 40, 42), 0.4),
            rng.randint(1, 7 if wet else 4),
        )

    def _vehicle(self, x: float, z: float, yaw: float, kinds: tuple[float, float, float, float, float]) -> Thing:
        """Return one vehicle of a moving lane; `kinds` weighs car, truck, bus, ridden motorcycle and ridden bicycle."""
        rng, canvas = self.rng, self.canvas
        bend = math.atan(2 * canvas.curve * z)
        pose = Pose(canvas.road_x(x, z), z, yaw + bend + rng.gauss(0, 0.02), canvas.height)
        kind = rng.choices(("car", "truck", "bus", "motorcycle", "bicycle"), kinds)[0]
        if kind == "car":
            return car(rng, pose, self.snow)
        if kind in ("truck", "bus"):
            pose.z += 3.5  # so that the rear is where that of a car would be
            return (truck if kind == "truck" else bus)(rng, pose, self.snow)
        return two_wheeler(rng, pose, kind == "motorcycle", True)

    def _lane(self, x: float, yaw: float, start: float, crossing: float | None, tram: bool) -> None:
        """Fill one lane of a street with moving traffic or a tram."""
        rng, z = self.rng, start + self.rng.expovariate(1 / 9.0)
        if tram:
            for shift in (-0.72, 0.72):
                ground_strip(self.canvas, x + shift - 0.04, x + shift + 0.04, (140, 138, 136), z=(2.5, 90))
            at = rng.uniform(26, 45)
            self.things.append(railcar(rng, Pose(self.canvas.road_x(x, at), at, yaw, self.canvas.height), self.snow))
            return
        spread = rng.uniform(9, 30) / self.busy
        while z < _FAR_M:
            if not (crossing and crossing - 2 < z < crossing + 10):
                thing = self._vehicle(x + rng.gauss(0, 0.2), z, yaw, (82, 6, 4.0, 3.0, 2.5))
                self.things.append(thing)
                z = thing.z2
            z += 3.0 + rng.expovariate(1 / spread)

    def _parked(self, x: float, side: int, crossing: float | None) -> None:
        """Park cars, now and then a motorcycle or a truck, along the kerb."""
        rng, canvas = self.rng, self.canvas
        z, full = rng.uniform(4.5, 9), rng.uniform(0.3, 0.8) * min(1.3, self.busy)
        while z < 52:
            if crossing and crossing - 8 < z < crossing + 12:
                z = crossing + 13
                continue
            if rng.random() < full:
                yaw = 0.0 if side > 0 or rng.random() < 0.3 else math.pi
                pose = Pose(
                    canvas.road_x(x + rng.gauss(0, 0.1), z),
                    z,
                    yaw + math.atan(2 * canvas.curve * z) + rng.gauss(0, 0.02),
                    canvas.height,
                )
                draw = rng.random()
                if draw < 0.9:
                    thing = car(rng, pose, self.snow, False)
                elif draw < 0.96:
                    pose.yaw += rng.uniform(0.5, 1.3)
                    thing = two_wheeler(rng, pose, True, False)
                else:
                    pose.z += 2.5
                    thing = truck(rng, pose, self.snow)
                self.things.append(thing)
                z = max(z, thing.z2 - 2.3)
            z += rng.uniform(5.2, 6.4)

    def _people(self, x: tuple[float, float], z: tuple[float, float], count: int, along: bool) -> None:
        """Add pedestrians, alone or in small groups, walking along the street or across it."""
        rng, canvas = self.rng, self.canvas
        while count > 0:
            at, far = rng.uniform(*x), z[0] + (z[1] - z[0]) * rng.random() ** 1.4
            yaw = (rng.choice((0.0, math.pi)) if along else rng.choice((1, -1)) * math.pi / 2) + rng.gauss(0, 0.3)
            for _ in range(min(count, rng.choice((1, 1, 1, 2, 2, 3)))):
                self.things.append(
                    pedestrian(rng, Pose(canvas.road_x(at, far), far, yaw + rng.gauss(0, 0.15), canvas.height))
                )
                at, far = at + rng.choice((-1, 1)) * rng.uniform(0.5, 0.8), far + rng.gauss(0, 0.4)
                count -= 1

    def _pavements(self, left: float, right: float, walk: float, crossing: float | None, house: bool) -> None:
        """Fill both pavements with people, parked bicycles, poles, trees, bins and boxes."""
        rng, canvas = self.rng, self.canvas
        crowd = (0.6 + rng.expovariate(1 / (1.8 if house else 4.6))) * self.busy
        for side, edge in ((1, right), (-1, left)):
            near, far = sorted((edge + side * 0.5, edge + side * (walk - 0.4)))
            self._people((near, far), (8, 55), min(10, int(crowd * rng.uniform(0.3, 1.0) + 0.5)), True)
            if rng.random() < (0.25 if house else 0.42):
                z = rng.uniform(7, 24)
                for _ in range(rng.choice((1, 1, 2, 3))):
                    pose = Pose(
                        canvas.road_x(edge + side * rng.uniform(0.5, 1.1), z),
                        z,
                        rng.gauss(math.pi / 2, 0.5),
                        canvas.height,
                    )
                    self.things.append(two_wheeler(rng, pose, rng.random() < 0.22, False))
                    z += rng.uniform(0.8, 2.2)
            gap, z = rng.uniform(6, 22), rng.uniform(4, 14)
            while z < 75:
                draw = rng.random()
                if draw < 0.5:
                    self.things.append(pole(canvas, rng, edge + side * 0.45, z, side))
                elif draw < 0.85:
                    self.things.append(tree(canvas, rng, edge + side * rng.uniform(0.7, walk), z))
                else:
                    size = (rng.uniform(0.5, 1.0), rng.uniform(0.5, 1.1), rng.uniform(0.7, 1.4))
                    self.things.append(
                        crate(
                            rng,
                            Pose(canvas.road_x(edge + side * 0.8, z), z, rng.gauss(0, 0.1), canvas.height),
                            size,
                            self.snow,
                        )
                    )
                z += gap * rng.uniform(0.5, 1.5)
            if rng.random() < 0.2:
                z = rng.uniform(9, 30)
                self.things.append(
                    kiosk(
                        canvas,
                        rng,
                        Pose(
                            canvas.road_x(edge + side * (walk - 0.9), z), z, rng.choice((0, math.pi / 2)), canvas.height
                        ),
                    )
                )
            if rng.random() < 0.25:
                self.things.append(billboard(canvas, rng, edge + side * (walk - 0.3), rng.uniform(12, 45)))
        if crossing:
            self._people(
                (left + 0.5, right - 0.5),
                (crossing - 3.4, crossing - 0.9),
                min(9, int(rng.expovariate(1 / 2.2) * self.busy)),
                False,
            )
        if rng.random() < 0.14:  # a cyclist along the kerb
            z = rng.uniform(8, 28)
            pose = Pose(canvas.road_x(right - 2.7, z), z, rng.gauss(0, 0.08), canvas.height)
            if not any(
                t.x1 < pose.x + 0.5 and t.x2 > pose.x - 0.5 and t.z1 < z + 1.5 and t.z2 > z - 1.5 for t in self.things
            ):
                self.things.append(two_wheeler(rng, pose, False, True))

    def _cross_traffic(self, crossing: float, left: float, right: float) -> None:
        """Fill the two lanes of the crossing street with vehicles seen from the side, now and then a tram."""
        rng = self.rng
        for lane, yaw in ((crossing + 2.3, math.pi / 2), (crossing + 6.3, -math.pi / 2)):
            if rng.random() < 0.06:
                x = rng.uniform(-12, 12)
                for shift in (-0.72, 0.72):
                    ground_strip(self.canvas, -60, 60, (140, 138, 136), z=(lane + shift - 0.05, lane + shift + 0.05))
                self.things.append(railcar(rng, Pose(x, lane, yaw, self.canvas.height), self.snow))
                continue
            x = rng.uniform(left - 14, right + 2)
            reach = 0.72 * lane + 6
            while x < reach and rng.random() < 0.8:
                keep = self.canvas.curve
                self.canvas.curve = 0.0
                thing = self._vehicle(x, lane, yaw, (72, 8, 6, 6, 7))
                self.canvas.curve = keep
                self._move(thing, lane)
                self.things.append(thing)
                x = max(x, thing.x2) + 1.5 + rng.expovariate(1 / 6.0)

    @staticmethod
    def _move(thing: Thing, lane: float) -> None:
        """Move a crossing vehicle back into its lane: `_vehicle` has shifted long ones along the main road."""
        drift = (thing.z1 + thing.z2) / 2 - lane
        if abs(drift) > 0.5 and thing.footprint is not None:
            thing.z1, thing.z2 = thing.z1 - drift, thing.z2 - drift
            thing.footprint[:, 2] -= drift
            for _, parts in thing.layers:
                for kind, points, _, _ in parts.entries:
                    points[: 2 if kind == "limb" else len(points), 2] -= drift

    def _frontage(self, left: float, right: float, crossing: float | None, house: bool) -> None:
        """Line both sides with buildings, gaps and fences, leaving a crossing street open."""
        rng, canvas = self.rng, self.canvas
        for side, edge in ((1, right), (-1, left)):
            z, back = rng.uniform(-2, 6), rng.uniform(3, 8) if house else rng.uniform(0, 1.5)
            tall = rng.uniform(3.2, 6) if house else rng.uniform(5, 24)
            while z < 130:
                long = rng.uniform(8, 14) if house else rng.uniform(9, 30)
                if crossing and z < crossing + 12 and z + long > crossing - 5:
                    long = crossing - 5 - z
                    if long < 4:
                        z = crossing + 13
                        continue
                if rng.random() < 0.85:
                    self.things.append(
                        building(
                            canvas,
                            rng,
                            side,
                            edge + side * back,
                            (max(z, 1.5), max(z, 1.5) + long),
                            tall * rng.uniform(0.7, 1.3),
                            house,
                        )
                    )
                elif not house:
                    self.things.append(
                        fence(canvas, rng, edge, (max(z, 1.5), max(z, 1.5) + long), rng.uniform(1.2, 2.2), False)
                    )
                if house and rng.random() < 0.5:
                    self.things.append(
                        fence(
                            canvas,
                            rng,
                            edge + side * 0.3,
                            (max(z, 1.5), max(z, 1.5) + long),
                            rng.uniform(0.8, 1.6),
                            False,
                        )
                    )
                if house and rng.random() < 0.6 and 4 < z < 45:  # a car in the driveway
                    at = z + long + 1.0
                    pose = Pose(
                        canvas.road_x(edge + side * 2.2, at),
                        at,
                        rng.choice((1, -1)) * math.pi / 2 + rng.gauss(0, 0.1),
                        canvas.height,
                    )
                    self.things.append(car(rng, pose, self.snow, False))
                z += long + (rng.uniform(3, 6) if house else rng.choice((0.0, 0.0, rng.uniform(2, 8))))

    # Highway and parking lot -----------------------------------------------------------------------------------------

    def _highway(self) -> None:
        """Lay out a highway: three to five lanes one way, the other carriageway, guard rails, trees and signs."""
        rng, canvas = self.rng, self.canvas
        lanes_left, lanes_right = rng.choice((1, 1, 2)), rng.choice((1, 1, 2))
        left, right = -LANE_M * (0.5 + lanes_left) - 1.2, LANE_M * (0.5 + lanes_right) + 2.4
        far = left - rng.uniform(1.5, 6) - LANE_M * 3
        ground_strip(canvas, -260, 260, (220, 223, 227) if self.snow else rng.choice(((104, 116, 74), (136, 126, 92))))
        ground_strip(canvas, far, far + LANE_M * 3 + 0.6, self.asphalt)
        ground_strip(canvas, left, right, self.asphalt)
        for i in range(-lanes_left, lanes_right):
            dashes(canvas, (i + 0.5) * LANE_M, (212, 214, 212), (3.5, 8.0))
        for edge, colour in ((left + 0.8, (214, 172, 58)), (right - 2.2, (212, 214, 212))):
            ground_strip(canvas, edge - 0.08, edge + 0.08, mix(self.asphalt, colour, 0.8), z=(2, 200))
        for i in range(-lanes_left, lanes_right + 1):
            self._traffic(i * LANE_M, 0.0, rng.uniform(9, 20))
        for i in range(3):
            self._traffic(far + LANE_M * (i + 0.5), math.pi, 16.0)
        for x, tall in ((left - 0.3, rng.choice((0.8, 1.0))), (right + 0.4, 0.8)):
            for z in np.arange(2.0, 110.0, 12.0):
                self.things.append(fence(canvas, rng, x, (z, z + 12.0), tall, True))
        z = rng.uniform(8, 30)
        while z < 110:
            side = rng.choice((1, -1))
            edge = (right if side > 0 else far) + side * rng.uniform(2, 14)
            self.things.append(rng.choices((tree, billboard), (80, 20))[0](canvas, rng, edge, z))
            z += rng.uniform(2, 9)
        if rng.random() < 0.4:
            self.things.append(pole(canvas, rng, right + 1.0, rng.uniform(10, 40), 1))

    def _traffic(self, x: float, yaw: float, start: float) -> None:
        """Fill one lane of a highway."""
        rng = self.rng
        z, spread = start + rng.expovariate(1 / 8.0), rng.uniform(9, 26) / self.busy
        while z < _FAR_M:
            thing = self._vehicle(x + rng.gauss(0, 0.25), z, yaw, (85, 9, 3, 2.5, 0))
            self.things.append(thing)
            z = thing.z2 + 4.0 + rng.expovariate(1 / spread)

    def _parking_lot(self) -> None:
        """Lay out a car park: rows of parked cars seen from the aisle, people on their way to them."""
        rng, canvas = self.rng, self.canvas
        canvas.curve = 0.0
        ground_strip(canvas, -220, 220, (220, 223, 227) if self.snow else (122, 120, 112))
        ground_strip(canvas, -19, 19, self.asphalt)
        for side in (1, -1):
            for row in (6.2, 16.5):
                z = rng.uniform(6, 9)
                while z < 48:
                    corners = [
                        (side * (row - 2.6), 0, z - 1.4),
                        (side * (row + 2.6), 0, z - 1.4),
                        (side * (row + 2.6), 0, z - 1.28),
                        (side * (row - 2.6), 0, z - 1.28),
                    ]
                    canvas.fill_px(canvas.project(np.array(corners)), canvas.tone((206, 208, 206), z), -1)
                    if rng.random() < 0.5 * min(1.3, self.busy):
                        pose = Pose(
                            side * row, z, rng.choice((1, -1)) * math.pi / 2 + rng.gauss(0, 0.04), canvas.height
                        )
                        self.things.append(
                            car(rng, pose, self.snow, False)
                            if rng.random() < 0.93
                            else two_wheeler(rng, pose, True, False)
                        )
                    z += 2.85
        self._people((-3, 3), (9, 40), rng.randint(0, 6), rng.random() < 0.5)
        if rng.random() < 0.5:
            self.things.append(self._vehicle(0.5, rng.uniform(12, 35), math.pi, (85, 10, 5, 0, 0)))
        for z in np.arange(10.0, 50.0, 13.0):
            self.things.append(pole(canvas, rng, rng.choice((-3.3, 3.3, 11.4, -11.4)), float(z), rng.choice((1, -1))))
        for side in (1, -1):
            self.things.append(building(canvas, rng, side, side * 24, (6.0, 40.0), rng.uniform(4, 10), False))
        self.things.append(
            crate(
                rng,
                Pose(rng.uniform(-9, 9), 52.0, 0.0, canvas.height),
                (2.0, rng.uniform(2, 6), rng.uniform(1.2, 2.4)),
                self.snow,
            )
        )
        if rng.random() < 0.5:
            self.things.append(billboard(canvas, rng, rng.uniform(-9, 9), 55.0))


def painting_order(things: list[Thing]) -> list[Thing]:
    """Return things sorted far to near.

    A thing is behind another that ends nearer than it starts. Where their depths overlap, the one farther from the
    camera's axis is behind.
    """
    if not things:
        return []
    x1, x2, z1, z2 = (np.array([getattr(thing, name) for thing in things]) for name in ("x1", "x2", "z1", "z2"))
    farther = z1[:, None] >= z2[None, :] - 1e-6  # [n, n]: the row is behind the column
    right = (x2[None, :] >= 0) & (x1[:, None] >= x2[None, :] - 1e-6)  # both right of the camera, the row farther out
    left = (x1[None, :] <= 0) & (x2[:, None] <= x1[None, :] + 1e-6)
    overlap = ~farther & ~farther.T
    behind = farther | (overlap & (right | left))
    np.fill_diagonal(behind, False)
    waiting = behind.sum(axis=0).astype(np.int64)  # number of things to paint first
    centre = (z1 + z2) / 2
    done, order = np.zeros(len(things), bool), []
    for _ in things:
        ready = np.where(~done & (waiting == 0))[0]
        pool = ready if len(ready) else np.where(~done)[0]  # in a cycle the farthest comes first
        pick = int(pool[np.argmax(centre[pool])])
        done[pick] = True
        waiting = waiting - behind[pick]
        order.append(things[pick])
    return order
