"""Joint space width: a contour of 30 points, refined on the edge, and the space between.

    joint_space(crop, load()) -> JointSpace

In the order in which a crop passes: `contour` finds 30 points along the joint line; `frame` lays the joint's
own coordinates through them; `edge` refines them on the image's edges; `space` measures between the edges,
and gives the lines that a picture shows. What is measured where, and how good it is:
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
from kellgren.measure.edge import Edges, refine
from kellgren.measure.space import (
    LEAST_SCORE,
    PLATEAU_MM,
    Compartment,
    JointSpace,
    Outline,
    joint_space,
    measure,
    outline,
)

__all__ = [
    "DEFAULT",
    "FEMUR_POINTS",
    "KEY_POINTS",
    "LEAST_SCORE",
    "PLATEAU_MM",
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
