"""Poses of things in a drawn street scene, and the things themselves with their parts and painting order."""

import math
from dataclasses import dataclass, field

import numpy as np

from bdd100k.streets.canvas import Parts


@dataclass
class Pose:
    """The pose of a thing: centre (x, z) and camera height `eye` in metres, heading in radians (0 faces away)."""

    x: float
    z: float
    yaw: float
    eye: float

    def world(self, along: np.ndarray | float, across: np.ndarray | float, up: np.ndarray | float) -> np.ndarray:
        """Transform points from the thing's coordinates to the world.

        Args:
            along, across, up: Metres ahead, to the right and up, [k] or one number for all points.

        Returns:
            float64 [k, 3], metres.
        """
        sin, cos = math.sin(self.yaw), math.cos(self.yaw)
        points = np.empty((max(np.size(along), np.size(across), np.size(up)), 3))
        points[:, 0] = along * sin + across * cos + self.x
        points[:, 1] = up
        points[:, 2] = along * cos - across * sin + self.z
        return points

    def joint(self, ahead: float, right: float, up: float) -> np.ndarray:
        """Transform one point (metres ahead, right and up) to the world, float64 [3] in metres."""
        sin, cos = math.sin(self.yaw), math.cos(self.yaw)
        return np.array((ahead * sin + right * cos + self.x, up, ahead * cos - right * sin + self.z))

    def seen(self, normal: tuple[float, float, float], point: tuple[float, float, float]) -> bool:
        """Return whether a face at `point` with this outward normal faces the camera; both in the thing's metres."""
        sin, cos = math.sin(self.yaw), math.cos(self.yaw)
        ahead = -(self.x * sin + self.z * cos) - point[0]
        right = -(self.x * cos - self.z * sin) - point[1]
        return normal[0] * ahead + normal[1] * right + normal[2] * (self.eye - point[2]) > 0


@dataclass
class Thing:
    """A placed thing.

    Attributes:
        x1, x2, z1, z2: Extent on the ground in metres; decides the painting order.
        layers: (category or None for background, parts) of each object that the thing consists of, far to near.
        footprint: World points [4, 3] in metres that cast its shadow; None casts none.
    """

    x1: float
    x2: float
    z1: float
    z2: float
    layers: list[tuple[str | None, Parts]] = field(default_factory=list)
    footprint: np.ndarray | None = None

    @classmethod
    def over(cls, pose: Pose, length: float, width: float, layers: list[tuple[str | None, Parts]]) -> "Thing":
        """Return a thing that covers a rectangle of `length` x `width` metres around its pose."""
        along = np.array([-length, length, length, -length]) / 2
        across = np.array([-width, -width, width, width]) / 2
        ground = pose.world(along, across, np.zeros(4))
        return cls(ground[:, 0].min(), ground[:, 0].max(), ground[:, 2].min(), ground[:, 2].max(), layers, ground)
