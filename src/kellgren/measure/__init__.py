"""Joint space width: a contour of 30 points, refined on the edge, and what is measured between.

    joint_space(crop, load()) -> JointSpace

Numpy, OpenCV and onnxruntime only. What is measured where, and what it is worth:
`docs/explanation/joint-space-width.md`.
"""

from kellgren.measure.contour import (
    DEFAULT,
    FEMUR_POINTS,
    KEY_POINTS,
    POINTS,
    TIBIA_POINTS,
    Contour,
    ContourModel,
    load,
)
from kellgren.measure.drawing import Outline, outline
from kellgren.measure.edge import Edges, refine
from kellgren.measure.space import LEAST_SCORE, Compartment, JointSpace, joint_space, measure

__all__ = [
    "DEFAULT",
    "FEMUR_POINTS",
    "KEY_POINTS",
    "LEAST_SCORE",
    "POINTS",
    "TIBIA_POINTS",
    "Compartment",
    "Contour",
    "ContourModel",
    "Edges",
    "JointSpace",
    "Outline",
    "joint_space",
    "load",
    "measure",
    "outline",
    "refine",
]
