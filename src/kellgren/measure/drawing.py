"""What `--explain` draws of a measurement: lines in pixels of the crop, nothing painted here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kellgren.measure.space import LATERAL, MEDIAL, JointSpace
from kellgren.vocabulary import FloatArray


@dataclass(frozen=True, slots=True)
class Outline:
    """Lines in pixels of the crop as measured (as right), each (K, 2) as (x, y).

    Attributes:
        femur: Edge of the femur.
        tibia: Edge of the tibia.
        measured: Closed outlines of the two areas over which the mean is taken, lateral and medial.
        minima: The two places of smallest width: segments of two points from femur to tibia.
        points: (30, 2) the network's points.
    """

    femur: FloatArray
    tibia: FloatArray
    measured: tuple[FloatArray, FloatArray]
    minima: tuple[FloatArray, FloatArray]
    points: FloatArray

    def mirrored(self, columns: int) -> Outline:
        """The same on the crop flipped left to right, for a left knee.

        Args:
            columns: Width of the crop, pixels.
        """

        def flip(line: FloatArray) -> FloatArray:
            return np.asarray(line * np.array([-1.0, 1.0]) + np.array([columns - 1.0, 0.0]))

        return Outline(
            flip(self.femur),
            flip(self.tibia),
            (flip(self.measured[0]), flip(self.measured[1])),
            (flip(self.minima[0]), flip(self.minima[1])),
            flip(self.points),
        )


def outline(space: JointSpace) -> Outline:
    """The lines of a measurement."""
    edges = space.edges
    femur = edges.frame.from_frame(edges.x, edges.femur)
    tibia = edges.frame.from_frame(edges.x, edges.tibia)

    def area(part: tuple[float, float]) -> FloatArray:
        inside = (edges.x >= part[0]) & (edges.x <= part[1])
        return np.concatenate((femur[inside], tibia[inside][::-1], femur[inside][:1]))

    def segment(at: float) -> FloatArray:
        column = int(np.argmin(np.abs(edges.x - at)))
        return np.stack((femur[column], tibia[column]))

    return Outline(
        femur,
        tibia,
        (area(LATERAL), area(MEDIAL)),
        (segment(space.lateral.at), segment(space.medial.at)),
        np.concatenate((space.contour.femur, space.contour.tibia)),
    )
