"""A knee from the side, slightly bent: condyles that overlap, plateau, patella in front, fibula behind.

Frame: mm, x to the front of the knee, y to the foot, origin in the middle of the joint. Drawn so that a
program for front views can be shown what it must refuse; no grades, no joint line.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from kellgren.simulate.attenuation import Paths, Tissue, leg_thickness, mineral, round_bone, soft_paths
from kellgren.simulate.curves import Curve, smooth
from kellgren.simulate.view import View

_SHAFT: Final = ((-0.12, -5.6), (-0.14, -2.2), (-0.20, -1.2), (-0.33, -0.78))
_CONDYLE: Final = (
    (-0.46, -0.52), (-0.45, -0.24), (-0.28, -0.06), (-0.02, -0.03), (0.20, -0.14), (0.32, -0.36),
)  # fmt: skip
_ROOF: Final = ((0.16, -0.50), (-0.06, -0.56), (-0.28, -0.60))
_FRONT: Final = ((0.30, -0.62), (0.22, -0.82), (0.20, -1.2), (0.20, -2.2), (0.18, -5.6))
_TIBIA: Final = (
    (-0.28, 0.03), (0.02, -0.01), (0.28, -0.02), (0.31, 0.12), (0.27, 0.34), (0.22, 0.60), (0.15, 1.2),
    (0.13, 2.4), (0.10, 5.6), (-0.20, 5.6), (-0.19, 2.4), (-0.17, 1.2), (-0.20, 0.60), (-0.29, 0.32),
    (-0.34, 0.12),
)  # fmt: skip
_FIBULA: Final = (
    (-0.36, 0.20), (-0.24, 0.22), (-0.22, 0.40), (-0.24, 0.8), (-0.24, 2.4), (-0.26, 5.6), (-0.36, 5.6),
    (-0.34, 2.4), (-0.34, 0.8), (-0.40, 0.40),
)  # fmt: skip
_PATELLA: Final = ((0.36, -0.62), (0.50, -0.58), (0.56, -0.42), (0.50, -0.22), (0.40, -0.16), (0.36, -0.34))
"""Control points in plateau widths: the femur's outline in three parts and the roof of its second condyle."""


def lateral_paths(width: float, bend: float, tissue: Tissue, view: View, rng: np.random.Generator) -> Paths:
    """Project a knee from the side.

    Args:
        width: Width of the plateau from the front, mm.
        bend: Flexion, degrees.
        tissue: Of the leg.
        view: The pixels.
        rng: Source of randomness.
    """
    x, y = view.millimetres()
    spongy, cortical = np.zeros(view.shape, np.float32), np.zeros(view.shape, np.float32)
    femur = smooth(np.array(_SHAFT + _CONDYLE + _FRONT), closed=False)
    # The two condyles are not quite congruent.
    offset = np.array([float(rng.normal(0, 0.03)), -0.02])
    second = smooth(np.array(_CONDYLE + _ROOF) * float(rng.uniform(0.88, 0.97)) + offset, closed=True)
    fibula = smooth(_FIBULA, closed=True) + np.array([float(rng.normal(0, 0.05)), 0.0])
    for outline, depth, radius, shell, turned in (
        (femur, 16.0, 9.0, 6.0, True),
        (second, 8.0, 9.0, 1.0, True),
        (smooth(_TIBIA, closed=True), 16.0, 8.0, 6.0, False),
        (fibula, 9.0, 6.0, 5.0, False),
        (smooth(_PATELLA, closed=True), 16.0, 8.0, 2.5, True),
    ):
        placed = (_bent(outline, bend) if turned else outline) * width
        s, c = round_bone(placed, view, depth, radius, shell)
        spongy += s
        cortical += c
    bone = mineral(spongy, cortical, tissue, view, rng)
    slope = float(np.tan(np.deg2rad(bend)))

    def axis(height: Curve) -> Curve:
        above = np.clip(-height / width - 0.2, 0, None)
        return np.asarray(-slope * above * above / (above + 0.3) * width - 0.05 * width)

    leg, flesh = leg_thickness(width, axis, tissue, x, y)
    return soft_paths(leg, flesh, bone, view, rng)


def _bent(curve: Curve, bend: float) -> Curve:
    """Turn the femur (in plateau widths) back by the flexion about the middle of the condyles."""
    a = np.deg2rad(bend)
    centre = np.array([-0.06, -0.25])
    turned: Curve = (curve - centre) @ np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) + centre
    return turned
