"""Side profiles of the drawn vehicles, in metres: four cars, a truck cab, and buses and railcars of any length."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Body:
    """A side profile; the rear is at 0.

    Attributes:
        outline: Points (along, up) in metres, from the bottom of the rear over the roof to the bottom of the front.
        glass: Indices of the outline's edges that are windscreens.
        width: Metres between the two sides.
        belt: Metres above the ground at which the sides start to lean in.
        lean: Fraction of the half width lost between belt and roof.
        windows: Outlines of the side windows, points (along, up) in metres.
        wheels: Positions of the axles along the body in metres.
        wheel: Radius of a wheel in metres.
    """

    outline: tuple[tuple[float, float], ...]
    glass: tuple[int, ...]
    width: float
    belt: float
    lean: float
    windows: tuple[tuple[tuple[float, float], ...], ...]
    wheels: tuple[float, ...]
    wheel: float

    @property
    def length(self) -> float:
        """Return the distance from bumper to bumper in metres."""
        return max(point[0] for point in self.outline)

    @property
    def height(self) -> float:
        """Return the height of the roof above the ground in metres."""
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


def bus_body(length: float, height: float) -> Body:
    """Return a bus of this size in metres, with a pane about every 1.5 m."""
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


def railcar_body(length: float, height: float, nose: float) -> Body:
    """Return a railcar of this size in metres whose ends slope back by `nose` metres; it has no visible wheels."""
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
