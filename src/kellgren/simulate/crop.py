"""A simulated crop of one knee with the truth about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from kellgren.simulate.anatomy import Anatomy, build_anatomy, draw_parameters
from kellgren.simulate.attenuation import draw_tissue, paths
from kellgren.simulate.exposure import draw_technique, expose
from kellgren.simulate.grades import Grades, draw_grades
from kellgren.simulate.view import View
from kellgren.vocabulary import CROP_SIZE, Side

_PLATEAU_SHARE: Final = 0.80
"""Width of the plateau, corner to corner, over the width of the crop."""

_PLATEAU_HEIGHT: Final = 0.61
"""Height of the plateau in the crop, from its top; the middle of the joint space lies a little above."""


KEY_POINTS: Final = (0, 6, 12, 13, 21, 29)
"""Which of the 30 points of the joint line are the six key points: femur0, 6, 12 and tibia0, 8, 16."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known about a simulated knee because it was drawn so.

    Attributes:
        side: The knee's side.
        KL: Kellgren-Lawrence grade, 0-4.
        FL: Osteophyte at the lateral femur, 0-3.
        FM: Osteophyte at the medial femur, 0-3.
        TL: Osteophyte at the lateral tibia, 0-3.
        TM: Osteophyte at the medial tibia, 0-3.
        JSN_L: Lateral joint space narrowing, 0-3.
        JSN_M: Medial joint space narrowing, 0-3.
        SC_L: Subchondral sclerosis of the lateral tibia, 0-3.
        SC_M: Subchondral sclerosis of the medial tibia, 0-3.
        points: (30, 2) the joint line, x, y in pixels (centre of the first pixel is 0, 0): femur0 .. femur12
            from the lateral margin over the notch (femur6) to the medial margin, then tibia0 .. tibia16 over
            the eminence (tibia8).
        jsw_lateral: Smallest lateral joint space width, pixels.
        jsw_medial: Smallest medial joint space width, pixels.
        jsw_lateral_mm: The same in the detector's plane, mm.
        jsw_medial_mm: The same in the detector's plane, mm.
    """

    side: Side
    KL: int
    FL: int
    FM: int
    TL: int
    TM: int
    JSN_L: int
    JSN_M: int
    SC_L: int
    SC_M: int
    points: npt.NDArray[np.float64]
    jsw_lateral: float
    jsw_medial: float
    jsw_lateral_mm: float
    jsw_medial_mm: float

    @property
    def key_points(self) -> npt.NDArray[np.float64]:
        """(6, 2) of the points: femur0, femur6 (notch), femur12, tibia0, tibia8 (eminence), tibia16."""
        return self.points[list(KEY_POINTS)]


@dataclass(frozen=True)
class Phantom:
    """A simulated crop.

    Attributes:
        pixels: (H, W) uint16, 0 .. 65535, bone bright.
        truth: What was drawn.
        spacing_mm: Pixel spacing in the detector's plane, mm.
    """

    pixels: npt.NDArray[np.uint16]
    truth: Truth
    spacing_mm: float


def draw_crop(
    rng: np.random.Generator, *, KL: int | None = None, side: Side | None = None, size: int = CROP_SIZE
) -> Phantom:
    """Draw one knee, framed as the published single-knee crops are.

    Args:
        rng: Source of randomness; the same state gives the same crop.
        KL: Grade 0-4, or None to draw it as frequently as cohorts have it.
        side: Side of the knee, or None to draw it.
        size: Width and height in pixels, 64 or more.

    Raises:
        ValueError: `KL` is outside 0-4, or `size` below 64.
    """
    grades = draw_grades(rng, KL)
    drawn_side: Side = "R" if rng.random() < 0.5 else "L"
    return draw_graded_crop(rng, grades, side or drawn_side, size=size)


def draw_graded_crop(
    rng: np.random.Generator, grades: Grades, side: Side, *, size: int = CROP_SIZE
) -> Phantom:
    """Draw one knee with given readings; the same `rng` state gives the same person at every grade.

    Args:
        rng: Source of randomness.
        grades: What to draw.
        side: Side of the knee.
        size: Width and height in pixels, 64 or more.

    Raises:
        ValueError: `size` is below 64.
    """
    if size < 64:
        raise ValueError(f"size is {size}; a crop needs 64 pixels or more")
    parameters = draw_parameters(rng)
    view = _framed(rng, parameters.width, side, size)
    tissue, technique = draw_tissue(rng, parameters.width), draw_technique(rng)
    anatomy = build_anatomy(parameters, grades)
    # Noise belongs to the film and not to the leg: a mirrored knee has the mirrored anatomy, not pixels.
    pixels = expose(paths(anatomy, tissue, view, rng), technique, view.spacing, view.shape, rng)
    return Phantom(pixels, _truth(anatomy, view), round(view.spacing, 4))


def _framed(rng: np.random.Generator, width: float, side: Side, size: int) -> View:
    """Frame a square about 1.25 plateaus wide, as loosely as found boxes do."""
    spacing = round(width / (_PLATEAU_SHARE * rng.normal(1.0, 0.02) * size), 4)
    x = 0.5 + rng.normal(0, 0.012)
    y = _PLATEAU_HEIGHT + rng.normal(0, 0.018)
    rotation = float(np.clip(rng.normal(0, 2.0), -5, 5))
    across = 1 - x if side == "L" else x
    return View((size, size), spacing, (across * size - 0.5, y * size - 0.5), rotation, side)


def _truth(anatomy: Anatomy, view: View) -> Truth:
    g = anatomy.grades
    return Truth(
        side=view.side,
        **{name: getattr(g, name) for name in g.__slots__},
        points=view.place(anatomy.points),
        jsw_lateral=anatomy.jsw_lateral[0] / view.spacing,
        jsw_medial=anatomy.jsw_medial[0] / view.spacing,
        jsw_lateral_mm=anatomy.jsw_lateral[0],
        jsw_medial_mm=anatomy.jsw_medial[0],
    )
