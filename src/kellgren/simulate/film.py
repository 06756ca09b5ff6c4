"""A simulated film: one or two knees as they stand before the detector, with the truth about each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

from kellgren.simulate.anatomy import Anatomy, Parameters, build_anatomy, draw_parameters, sibling
from kellgren.simulate.attenuation import Paths, Tissue, draw_tissue, paths
from kellgren.simulate.crop import KEY_POINTS
from kellgren.simulate.curves import Curve
from kellgren.simulate.exposure import draw_film_technique, expose
from kellgren.simulate.grades import Grades, draw_grades
from kellgren.simulate.implants import HARDWARE, Hardware, draw_metal, resurfaced
from kellgren.simulate.lateral import lateral_paths
from kellgren.simulate.legs import FilmView, Layout, Leg, draw_layout
from kellgren.simulate.marks import add_lead, draw_marks, field_of, print_marks
from kellgren.simulate.view import View
from kellgren.vocabulary import CROP_SIZE, Side

WORK_SPACING: Final = 0.3
"""Anatomy is projected on pixels of this size, mm; detail below it is lost in the detector's blur anyway."""

BOX: Final = (0.806, 0.490, 0.6195)
"""Framing of the published crops: plateau corner to corner over the box's width; place of its middle in the
box, across (from the lateral side) and down."""


@dataclass(frozen=True)
class SimulatedKnee:
    """One knee on a simulated film. Pixels: the centre of the first one is (0, 0).

    Attributes:
        side: The patient's right or left knee.
        grades: What was drawn; None where a prosthesis has replaced the joint, and off the front view.
        hardware: Metal in the knee.
        box: x0, y0, x1, y1 of the square framed as the published crops, pixels; may reach past the film.
        points: (30, 2) the joint line, pixels: femur0 .. femur12 from the lateral margin over the notch
            (femur6) to the medial margin, tibia0 .. tibia16 over the eminence (tibia8). Empty (0, 2) off
            the front view.
        jsw_lateral: Smallest and mean lateral joint space width in the detector's plane, mm; of a total
            prosthesis its insert's, None from the side.
        jsw_medial: The same medially.
        seen: Share of the box inside the exposed part of the film, 0-1.
    """

    side: Side
    grades: Grades | None
    hardware: Hardware
    box: tuple[float, float, float, float]
    points: Curve
    jsw_lateral: tuple[float, float] | None
    jsw_medial: tuple[float, float] | None
    seen: float

    @property
    def key_points(self) -> Curve:
        """(6, 2) of the points: femur0, femur6, femur12, tibia0, tibia8, tibia16."""
        return self.points[list(KEY_POINTS)] if len(self.points) else self.points


@dataclass(frozen=True)
class SimulatedFilm:
    """A simulated film.

    Attributes:
        pixels: (H, W) uint16, 0 .. 65535, bone bright unless `inverted`.
        spacing_mm: Pixel spacing in the detector's plane, mm.
        magnification: Size on the detector over size in the leg.
        view: What the film shows.
        inverted: Bone is dark and the background bright.
        knees: From the image's left to right; empty where no joint is on the film.
        sides: Of the legs, from the image's left to right; also of legs whose joint is not on the film.
    """

    pixels: npt.NDArray[np.uint16]
    spacing_mm: float
    magnification: float
    view: FilmView
    inverted: bool
    knees: tuple[SimulatedKnee, ...]
    sides: tuple[Side, ...]

    def crop(self, knee: int, size: int = CROP_SIZE) -> npt.NDArray[np.uint16]:
        """Cut and resample the box of a knee; outside the film is black.

        Args:
            knee: Index in `knees`.
            size: Width and height of the crop, pixels.

        Returns:
            (size, size) uint16.
        """
        x0, y0, x1, y1 = (round(v + 0.5) for v in self.knees[knee].box)
        h, w = self.pixels.shape
        cut = self.pixels[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
        border = (max(-y0, 0), max(y1 - h, 0), max(-x0, 0), max(x1 - w, 0))
        square = cv2.copyMakeBorder(cut, *border, cv2.BORDER_CONSTANT, value=0)
        return np.asarray(cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA), np.uint16)


def draw_film(
    rng: np.random.Generator,
    *,
    knees: Literal[1, 2] | None = None,
    KL: Sequence[int | None] | None = None,
    view: FilmView | None = "ap",
    hardware: Hardware | None = "none",
    inverted: bool | None = None,
) -> SimulatedFilm:
    """Draw a weight-bearing film of one or two knees.

    Args:
        rng: Source of randomness; the same state gives the same film.
        knees: How many knees a front view has, or None to draw it.
        KL: Grade of each knee 0-4 from the image's left to right, None where it is to be drawn.
        view: What the film shows, or None to draw it: 8 of 10 front views.
        hardware: Metal in one of the knees of a front view, or None to draw it: 7 of 10 films have none.
        inverted: Bone dark and background bright; drawn, about one film in twelve, if None.

    Raises:
        ValueError: `KL` has another length than there are legs, or a grade is outside 0-4.
    """
    chosen: FilmView = view or ("ap", "lateral", "shaft")[int(rng.choice(3, p=[0.8, 0.12, 0.08]))]
    layout = draw_layout(rng, chosen, knees)
    wanted = [None] * len(layout.legs) if KL is None else list(KL)
    if len(wanted) != len(layout.legs):
        raise ValueError(f"KL names {len(wanted)} knees; the film has {len(layout.legs)}")
    metals = _metals(rng, hardware if chosen == "ap" else "none", len(layout.legs))
    total, drawn = _legs(rng, layout, chosen, wanted, metals)
    marks = draw_marks(rng, layout)
    add_lead(total.metal, marks, WORK_SPACING)
    field = field_of(marks.field, total.bone.shape, WORK_SPACING)
    pixels = expose(total, draw_film_technique(rng), WORK_SPACING, layout.shape, rng, field)
    print_marks(pixels, marks, layout)
    turned = bool(rng.random() < 0.08)
    dark = turned if inverted is None else inverted
    return SimulatedFilm(
        pixels=np.asarray(65535 - pixels, np.uint16) if dark else pixels,
        spacing_mm=layout.spacing,
        magnification=layout.magnification,
        view=chosen,
        inverted=dark,
        knees=tuple(_truth(leg, layout, field) for leg in drawn) if chosen != "shaft" else (),
        sides=tuple(leg.side for leg in layout.legs),
    )


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A leg as drawn; `anatomy` is None from the side."""

    anatomy: Anatomy | None
    hardware: Hardware
    width: float
    view: View


def _metals(rng: np.random.Generator, hardware: Hardware | None, legs: int) -> list[Hardware]:
    """Choose the metal of every leg: at most one has some, but both may have a total prosthesis."""
    one: Hardware = hardware or HARDWARE[int(rng.choice(6, p=[0.7, 0.11, 0.05, 0.06, 0.05, 0.03]))]
    metals: list[Hardware] = ["none"] * legs
    metals[int(rng.integers(legs))] = one
    if one == "total" and rng.random() < 0.3:
        metals = ["total"] * legs
    return metals


def _legs(
    rng: np.random.Generator,
    layout: Layout,
    kind: FilmView,
    wanted: Sequence[int | None],
    metals: Sequence[Hardware],
) -> tuple[Paths, list[_Drawn]]:
    """Project every leg of the film; both belong to one person."""
    work = (round(layout.height / WORK_SPACING), round(layout.width / WORK_SPACING))
    total = Paths(*(np.zeros(work, np.float32) for _ in range(4)))
    drawn: list[_Drawn] = []
    person: tuple[Parameters, Tissue] | None = None
    for leg, kl, metal in zip(layout.legs, wanted, metals, strict=True):
        parameters = draw_parameters(rng) if person is None else sibling(person[0], rng)
        tissue = draw_tissue(rng, parameters.width) if person is None else person[1]
        person = (parameters, tissue)
        view = _view(leg, work)
        reach = 2.2 * parameters.width / WORK_SPACING
        x0, x1 = max(0, int(view.origin[0] - reach)), min(work[1], int(view.origin[0] + reach))
        part = view.part(x0, 0, x1, work[0])
        anatomy = None
        if kind == "lateral":
            one = lateral_paths(parameters.width, float(rng.uniform(5, 35)), tissue, part, rng)
        else:
            anatomy = build_anatomy(parameters, draw_grades(rng, kl))
            anatomy = resurfaced(anatomy) if metal == "total" else anatomy
            one = paths(anatomy, tissue, part, rng)
            if metal != "none":
                one.metal[...] = draw_metal(metal, anatomy, part, rng)
        _add(total, one, x0, x1)
        drawn.append(_Drawn(anatomy, metal, parameters.width, view))
    return total, drawn


def _view(leg: Leg, shape: tuple[int, int]) -> View:
    x, y = (v / WORK_SPACING - 0.5 for v in leg.place)
    return View(shape, WORK_SPACING, (x, y), leg.rotation, leg.side)


def _add(total: Paths, leg: Paths, x0: int, x1: int) -> None:
    """Add a leg's paths to columns x0 .. x1 - 1 of the film's, in place."""
    for name in ("bone", "metal"):
        getattr(total, name)[:, x0:x1] += getattr(leg, name)
    # Legs that touch give way to one another: soft parts do not add up.
    fat, muscle = (getattr(total, name)[:, x0:x1] for name in ("fat", "muscle"))
    thicker = leg.fat + leg.muscle > fat + muscle
    np.copyto(fat, leg.fat, where=thicker)
    np.copyto(muscle, leg.muscle, where=thicker)


def _truth(leg: _Drawn, layout: Layout, field: npt.NDArray[np.float32]) -> SimulatedKnee:
    view, anatomy = leg.view, leg.anatomy
    corners = np.array([(-0.5 * leg.width, 0.0), (0.5 * leg.width, 0.0)])
    scale = np.array(layout.shape[::-1]) / np.array(view.shape[::-1])

    def placed(curve: Curve) -> Curve:
        return np.asarray((view.place(curve) + 0.5) * scale - 0.5)

    points = placed(anatomy.points) if anatomy else np.empty((0, 2))
    lateral, medial = points[[13, 29]] if anatomy else placed(corners)
    box = framed(lateral, medial, view.side)
    return SimulatedKnee(
        side=view.side,
        grades=anatomy.grades if anatomy and leg.hardware not in ("total", "partial") else None,
        hardware=leg.hardware,
        box=box,
        points=points,
        jsw_lateral=anatomy.jsw_lateral if anatomy else None,
        jsw_medial=anatomy.jsw_medial if anatomy else None,
        seen=_seen(box, field, layout.shape),
    )


def framed(lateral: Curve, medial: Curve, side: Side) -> tuple[float, float, float, float]:
    """Frame the box of a knee about the two corners of its plateau as the published crops are framed."""
    width = float(np.hypot(*(medial - lateral))) / BOX[0]
    middle = (lateral + medial) / 2
    across = BOX[1] if side == "R" else 1 - BOX[1]
    x0, y0 = float(middle[0]) - across * width, float(middle[1]) - BOX[2] * width
    return (x0, y0, x0 + width, y0 + width)


def _seen(
    box: tuple[float, float, float, float], field: npt.NDArray[np.float32], shape: tuple[int, int]
) -> float:
    """Share of the box that is on the film and in the collimator's field."""
    scale = field.shape[0] / shape[0]
    x0, y0, x1, y1 = (round(v * scale) for v in box)
    part = field[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    inside = float(np.sum(part, dtype=np.float64)) / max((x1 - x0) * (y1 - y0), 1)
    return float(round(min(inside, 1.0), 3))
