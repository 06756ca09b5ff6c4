"""Joint space width: from the edges of femur and tibia to figures of the two compartments, and lines."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from kellgren.errors import NotAKnee
from kellgren.measure.contour import Contour, ContourModel
from kellgren.measure.edge import Edges, refine
from kellgren.vocabulary import FloatArray, Image

Unit = Literal["mm", "width"]
SpacingSource = Literal["calibrated", "detector", "user"]

LATERAL: Final = (0.10, 0.30)
MEDIAL: Final = (0.70, 0.85)
"""Part of the joint, 0 lateral .. 1 medial, over which mean and area are taken: the OAI's fixed locations,
x = 0.15 .. 0.30 from the medial margin and 0.70 .. 0.90 (Neumann 2009; Duryea 2010)."""

LATERAL_MINIMUM: Final = (0.08, 0.30)
MEDIAL_MINIMUM: Final = (0.70, 0.92)
"""Part over which the minimum is searched: wider, but clear of the margins' osteophytes and the spines."""

PLATEAU_MM: Final = (50.0, 125.0)
"""Width in mm that an adult's tibial plateau can have on a film. In the bone it is 60 to 100 mm. The contours
of 99 % of 275 validation knees are between 6 % narrower and 22 % wider than the silver standard's, and a
detector's uncorrected magnification adds up to a quarter. A spacing wrong by a factor of 2 or more is outside
for nearly every knee."""

LEAST_SCORE: Final = 0.5
"""A contour with a lower score is no joint line: all but 1 of the 1,156 held-out knees have more."""


@dataclass(frozen=True, slots=True)
class Compartment:
    """The joint space of one compartment.

    Attributes:
        minimum: Smallest width, 0 or more.
        mean: Mean width over the OAI's fixed locations.
        area: Area of the joint space over the same part, in squares of the unit.
        at: Place of the minimum along the joint, 0 lateral .. 1 medial.
    """

    minimum: float
    mean: float
    area: float
    at: float


@dataclass(frozen=True, slots=True)
class JointSpace:
    """Joint space width of one knee.

    Attributes:
        lateral: Lateral compartment.
        medial: Medial compartment.
        unit: `mm`, or `width`: shares of the joint's width, the distance of the plateau's two margins.
        spacing_source: What the millimetres rest on; None for `width`.
        joint_width: The joint's width, in mm for `mm`, else in pixels of the crop.
        withheld_mm: The joint's width by a pixel spacing that was withheld because no adult's plateau has it
            (`PLATEAU_MM`); the unit is then `width`.
        contour: The network's 30 points in pixels of the crop.
        edges: The refined edges.
    """

    lateral: Compartment
    medial: Compartment
    unit: Unit
    spacing_source: SpacingSource | None
    joint_width: float
    contour: Contour
    edges: Edges
    withheld_mm: float | None = None


def joint_space(
    crop: Image,
    model: ContourModel,
    spacing_mm: tuple[float, float] | float | None = None,
    source: SpacingSource | None = None,
) -> JointSpace:
    """Measure the joint space of a crop.

    Args:
        crop: (H, W) float32 in [0, 1], bone bright, as right: lateral on the left, so a left knee is
            mirrored first.
        model: Finds the joint line.
        spacing_mm: Size of a pixel of the crop in mm, (row, column) or one for both; None if not known.
        source: What `spacing_mm` rests on; needed with it.

    Returns:
        Widths in mm where the spacing is known and possible, else in joint widths.

    Raises:
        NotAKnee: If no joint line is recognised.
        ValueError: If the spacing is not positive or has no source.
    """
    if spacing_mm is not None and source is None:
        raise ValueError("a spacing needs its source")
    contour = model.find(crop)
    if contour.score < LEAST_SCORE:
        raise NotAKnee("no joint line was recognised, so no joint space was measured")
    return measure(contour, refine(crop, contour), spacing_mm, source)


def measure(
    contour: Contour,
    edges: Edges,
    spacing_mm: tuple[float, float] | float | None = None,
    source: SpacingSource | None = None,
) -> JointSpace:
    """Figures of the two compartments from a contour and its refined edges; see `joint_space`."""
    rows, columns = spacing_mm if isinstance(spacing_mm, tuple) else (spacing_mm, spacing_mm)
    if rows is None or columns is None:
        unit: Unit = "width"
        scale_along = scale_across = edges.frame.length / contour.width
        joint_width = contour.width
    else:
        if not (0 < rows < np.inf and 0 < columns < np.inf):
            raise ValueError(f"spacing {spacing_mm} is not positive")
        unit = "mm"
        mm = np.array([columns, rows])
        scale_along = edges.frame.length * float(np.hypot(*(edges.frame.along * mm)))
        scale_across = edges.frame.length * float(np.hypot(*(edges.frame.across * mm)))
        joint_width = float(np.hypot(*((contour.tibia[-1] - contour.tibia[0]) * mm)))
        if not PLATEAU_MM[0] <= joint_width <= PLATEAU_MM[1]:
            return replace(measure(contour, edges), withheld_mm=joint_width)
    gap = widths(edges)

    def compartment(fixed: tuple[float, float], searched: tuple[float, float]) -> Compartment:
        inside, wide = _between(edges.x, fixed), _between(edges.x, searched)
        smallest = int(np.argmin(np.where(wide, gap, np.inf)))
        mean = float(gap[inside].mean()) * scale_across
        return Compartment(
            minimum=float(gap[smallest]) * scale_across,
            mean=mean,
            area=mean * (fixed[1] - fixed[0]) * scale_along,
            at=float(edges.x[smallest]),
        )

    return JointSpace(
        lateral=compartment(LATERAL, LATERAL_MINIMUM),
        medial=compartment(MEDIAL, MEDIAL_MINIMUM),
        unit=unit,
        spacing_source=source if unit == "mm" else None,
        joint_width=joint_width,
        contour=contour,
        edges=edges,
    )


def widths(edges: Edges) -> FloatArray:
    """Width of the joint space (J,) at each place, at right angles to the femoral tangent, in frame units."""
    return np.maximum(edges.tibia - edges.femur, 0.0)


def _between(x: FloatArray, part: tuple[float, float]) -> npt.NDArray[np.bool_]:
    return (x >= part[0] - 1e-9) & (x <= part[1] + 1e-9)


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
