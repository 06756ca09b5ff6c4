"""The joint's own frame of reference, and smooth curves through the points in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kellgren.vocabulary import FloatArray

_PER_SEGMENT = 12


@dataclass(frozen=True, slots=True)
class Frame:
    """Coordinates along and across the joint.

    `x` runs along the line that touches both femoral condyles, 0 at the lateral margin of the femur and 1 at
    its medial margin: the OAI's coordinate (Neumann 2009, Duryea 2010), counted the other way. `y` is at
    right angles to it, towards the tibia, in the same unit of length.

    Attributes:
        origin: (2,) place of x = 0, y = 0.
        along: (2,) unit vector from lateral to medial.
        across: (2,) unit vector from femur to tibia.
        length: Length of x = 0 .. 1 in the unit of the points.
    """

    origin: FloatArray
    along: FloatArray
    across: FloatArray
    length: float

    def to_frame(self, points: FloatArray) -> FloatArray:
        """Points (..., 2) as (x, y) in the frame, both in units of `length`."""
        offset = points - self.origin
        return np.stack((offset @ self.along, offset @ self.across), axis=-1) / self.length

    def from_frame(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """The inverse of `to_frame`: arrays of one shape (...) to points (..., 2)."""
        return np.asarray(
            self.origin + self.length * (x[..., None] * self.along + np.asarray(y)[..., None] * self.across)
        )


def frame_of(femur: FloatArray) -> Frame:
    """The frame of a femoral curve.

    Args:
        femur: (13, 2) points, lateral to medial, notch at index 6, y pointing down.
    """
    curve = smooth(femur)
    notch = 6 * _PER_SEGMENT
    along = _unit(femur[-1] - femur[0])
    for _ in range(3):  # each pass finds the lowest points for the direction of the last one
        depth = curve @ np.array([-along[1], along[0]])
        lateral, medial = int(np.argmax(depth[:notch])), notch + int(np.argmax(depth[notch:]))
        along = _unit(curve[medial] - curve[lateral])
    across = np.array([-along[1], along[0]])
    length = float((femur[-1] - femur[0]) @ along)
    touch = curve[medial] @ across
    origin = along * float(femur[0] @ along) + across * float(touch)
    return Frame(origin, along, across, length)


def smooth(points: FloatArray) -> FloatArray:
    """A curve through the points: centripetal Catmull-Rom (Yuksel 2011), which has no loops between them.

    Args:
        points: (P, 2).

    Returns:
        (12 (P - 1) + 1, 2); every twelfth is a given point.
    """
    padded = np.concatenate((2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]))
    knots = np.sqrt(np.maximum(np.hypot(*np.diff(padded, axis=0).T), 1e-6))
    p0, p1, p2, p3 = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    d1, d2, d3 = (knots[i : len(points) - 1 + i, None] for i in range(3))
    out = d2 * ((p1 - p0) / d1 - (p2 - p0) / (d1 + d2)) + (p2 - p1)
    into = d2 * ((p3 - p2) / d3 - (p3 - p1) / (d2 + d3)) + (p2 - p1)
    t = (np.arange(_PER_SEGMENT) / _PER_SEGMENT)[None, :, None]
    p1, p2, out, into = (a[:, None] for a in (p1, p2, out, into))
    curve = (
        (2 * t**3 - 3 * t**2 + 1) * p1
        + (t**3 - 2 * t**2 + t) * out
        + (3 * t**2 - 2 * t**3) * p2
        + (t**3 - t**2) * into
    )
    return np.concatenate((curve.reshape(-1, 2), points[-1:]))


def height_at(curve: FloatArray, x: FloatArray) -> FloatArray:
    """Heights of a curve at places x, both in the frame.

    Where a curve turns back on itself (an osteophyte) the points are taken in order of x.

    Args:
        curve: (K, 2) as (x, y).
        x: (J,) places; beyond the curve's ends its end heights are taken.
    """
    order = np.argsort(curve[:, 0], kind="stable")
    return np.asarray(np.interp(x, curve[order, 0], curve[order, 1]))


def _unit(vector: FloatArray) -> FloatArray:
    return np.asarray(vector / max(float(np.hypot(*vector)), 1e-9))
