"""Anatomy of one knee in millimetres, from a seeded set of parameters and the drawn grades.

Frame of every curve: that of `template`, in mm. Nothing here knows about pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from kellgren.simulate import template
from kellgren.simulate.curves import Curve, gap, smooth
from kellgren.simulate.grades import Grades
from kellgren.vocabulary import FloatArray

_JSW_LATERAL: Final = ((5.5, 0.7), (4.1, 0.5), (2.5, 0.5), (0.5, 0.3))
_JSW_MEDIAL: Final = ((4.8, 0.6), (3.8, 0.5), (2.3, 0.5), (0.5, 0.3))
"""Mean and spread, mm in the detector's plane, of the smallest joint space width by JSN grade 0-3."""

_SPUR_LENGTH: Final = (0.0, 2.3, 4.2, 6.6)
"""Mean length of an osteophyte by its grade 0-3, mm."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What differs from knee to knee whatever its grades.

    Attributes:
        width: Width of the tibial plateau in the detector's plane, mm.
        jsw: Standard scores of the lateral and the medial joint space width, within +-1.5.
        femur_scale: Width of the femur over the average, given the plateau.
        spines: Height of the tibial spines over the average.
        notch: Height of the notch over the average.
        patella: (2,) shift of the patella, plateau widths.
        fibula: (2,) shift of the fibula, plateau widths.
        warp: (3, 4) slow waves that bend every curve: wave numbers x and y, phase, amplitude, in plateau
            widths.
        ripple: (4, 4) quick waves of the same form, for the unevenness that grows with the KL grade.
        lines: Strength of each line seen inside the femur and the tibia over the average.
        spurs: Relative length and lift of each osteophyte, in the order FL FM TL TM.
        attrition: Relative collapse of the worn compartment of a KL 4 knee, 0-1.
        cysts: (3, 3) candidate subchondral cysts: place along the compartment 0-1, depth and radius, mm.
        valgus: Angle of the femur's shaft to the tibia's, degrees, positive lateral side up.
        bow: The same of the tibia's shaft to the plateau, positive foot to the medial side.
        turn: Turn of the leg about its axis, degrees, positive inwards.
    """

    width: float
    jsw: tuple[float, float]
    femur_scale: float
    spines: float
    notch: float
    patella: tuple[float, float]
    fibula: tuple[float, float]
    warp: Curve
    ripple: Curve
    lines: tuple[float, ...]
    spurs: tuple[tuple[float, float], ...]
    attrition: float
    cysts: Curve
    valgus: float
    bow: float
    turn: float


def draw_parameters(rng: np.random.Generator) -> Parameters:
    """Draw the anatomy of a random adult; the amount of randomness used does not depend on grades."""
    waves = np.column_stack(
        [rng.normal(0, 4, 3), rng.normal(0, 4, 3), rng.uniform(0, 2 * np.pi, 3), rng.normal(0, 0.008, 3)]
    )
    ripples = np.column_stack(
        [rng.normal(0, 32, 4), rng.normal(0, 32, 4), rng.uniform(0, 2 * np.pi, 4), rng.normal(0, 0.0011, 4)]
    )
    z = np.clip(rng.normal(size=2), -1.5, 1.5)
    return Parameters(
        width=float(np.clip(rng.normal(87, 5.5), 74, 102)),
        jsw=(float(z[0]), float(z[1])),
        femur_scale=float(rng.normal(1.0, 0.015)),
        spines=float(np.clip(rng.normal(1.0, 0.15), 0.6, 1.4)),
        notch=float(np.clip(rng.normal(1.0, 0.08), 0.8, 1.2)),
        patella=(float(rng.normal(0, 0.04)), float(rng.normal(0, 0.10))),
        fibula=(float(rng.normal(0, 0.03)), float(rng.normal(0.03, 0.06))),
        warp=waves,
        ripple=ripples,
        lines=tuple(rng.uniform(0.1, 0.9, len(template.FEMUR_LINES) + len(template.TIBIA_LINES)).tolist()),
        spurs=tuple((float(rng.uniform(0.85, 1.15)), float(rng.uniform(-0.25, 0.45))) for _ in range(4)),
        attrition=float(rng.uniform(0.2, 1.0)),
        cysts=np.column_stack([rng.uniform(0.15, 0.85, 3), rng.uniform(2.5, 6, 3), rng.uniform(0.9, 2.2, 3)]),
        valgus=float(np.clip(rng.normal(6, 2.5), -1, 14)),
        bow=float(np.clip(rng.normal(1, 2.0), -5, 7)),
        turn=float(np.clip(rng.normal(0, 5), -14, 14)),
    )


def sibling(one: Parameters, rng: np.random.Generator) -> Parameters:
    """Draw the other knee of the same person: as large, otherwise its own."""
    other = draw_parameters(rng)
    return replace(
        other,
        width=one.width * float(np.clip(rng.normal(1, 0.01), 0.97, 1.03)),
        jsw=(0.6 * one.jsw[0] + 0.4 * other.jsw[0], 0.6 * one.jsw[1] + 0.4 * other.jsw[1]),
        valgus=0.6 * one.valgus + 0.4 * other.valgus,
        bow=0.6 * one.bow + 0.4 * other.bow,
        patella=((one.patella[0] + other.patella[0]) / 2, 0.8 * one.patella[1] + 0.2 * other.patella[1]),
        fibula=((one.fibula[0] + other.fibula[0]) / 2, 0.8 * one.fibula[1] + 0.2 * other.fibula[1]),
    )


@dataclass(frozen=True, slots=True)
class Bone:
    """One of the two bones of the joint.

    Attributes:
        joint: (N, 2) articular line, lateral margin to medial margin, mm.
        lateral: (N, 2) side line from the shaft to the lateral margin, mm.
        medial: (N, 2) side line from the shaft to the medial margin, mm.
        lines: Strength and (N, 2) points of each line seen inside the bone.
        spurs: Closed outlines of the osteophytes by feature name (absent at grade 0).
    """

    joint: Curve
    lateral: Curve
    medial: Curve
    lines: tuple[tuple[float, Curve], ...]
    spurs: dict[str, Curve]

    @property
    def outline(self) -> Curve:
        """(N, 2) closed outline without osteophytes, mm."""
        return np.vstack([self.lateral, self.joint[1:-1], self.medial[::-1]])

    def moved(self, move: Callable[[Curve], Curve]) -> Bone:
        """Apply `move` to every curve."""
        return Bone(
            move(self.joint),
            move(self.lateral),
            move(self.medial),
            tuple((strength, move(line)) for strength, line in self.lines),
            {name: move(spur) for name, spur in self.spurs.items()},
        )


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A knee in millimetres, lateral side at negative x (a left knee is mirrored by its `View`).

    Attributes:
        grades: What was drawn.
        width: Width of the tibial plateau, mm.
        femur: The femur, seated on the tibia so that the joint spaces have their drawn widths.
        tibia: The tibia.
        fibula: (N, 2) closed outline, mm.
        patella: (N, 2) closed outline, mm.
        cysts: (N, 3) x, y and radius of subchondral cysts, mm.
        jsw_lateral: Smallest and mean lateral joint space width, mm.
        jsw_medial: Smallest and mean medial joint space width, mm.
        shafts: Shift of the two shafts per mm of height, femur and tibia (`axis`).
    """

    grades: Grades
    width: float
    femur: Bone
    tibia: Bone
    fibula: Curve
    patella: Curve
    cysts: Curve
    jsw_lateral: tuple[float, float]
    jsw_medial: tuple[float, float]
    shafts: tuple[float, float]

    @property
    def points(self) -> Curve:
        """(30, 2) the joint line, mm: `femur0` .. `femur12` lateral to medial, then `tibia0` .. `tibia16`."""
        return np.vstack([self.femur.joint[::8], self.tibia.joint[::8]])

    def axis(self, y: FloatArray) -> FloatArray:
        """Shift of the leg's axis at heights `y`, mm: none at the joint, along the shafts far from it."""
        return _axis(y, self.width, self.shafts)


def build_anatomy(parameters: Parameters, grades: Grades) -> Anatomy:
    """Shape the average knee by `parameters`, then wear it as `grades` say."""
    p, w = parameters, parameters.width
    shafts = (float(np.tan(np.deg2rad(p.valgus))), -float(np.tan(np.deg2rad(p.bow))))
    bend = _bend(p, grades, shafts)
    femur = _femur(p, grades).moved(bend)
    tibia = _tibia(p, grades).moved(bend)
    femur = _seat(femur, tibia, p, grades)
    windows = [(a * w, b * w) for a, b in (template.LATERAL_WINDOW, template.MEDIAL_WINDOW)]
    # A leg turned inwards carries the patella to the medial side and uncovers the fibula.
    turned = np.array([np.sin(np.deg2rad(p.turn)), 0.0])
    return Anatomy(
        grades=grades,
        width=w,
        femur=femur,
        tibia=tibia,
        fibula=bend((smooth(template.FIBULA, closed=True) + p.fibula - 0.45 * turned) * w),
        patella=bend((smooth(template.PATELLA, closed=True) + p.patella + 0.5 * turned) * w),
        cysts=_cysts(p, grades, tibia),
        jsw_lateral=gap(femur.joint, tibia.joint, windows[0]),
        jsw_medial=gap(femur.joint, tibia.joint, windows[1]),
        shafts=shafts,
    )


def _axis(y: FloatArray, width: float, shafts: tuple[float, float]) -> FloatArray:
    above = np.clip(-y / width - 0.5, 0, None)
    below = np.clip(y / width - 0.4, 0, None)
    # Rounded where the shaft leaves the joint.
    shift = [slope * v * v / (v + 0.4) for slope, v in zip(shafts, (above, below), strict=True)]
    return np.asarray(-(shift[0] + shift[1]) * width)


def _bend(p: Parameters, grades: Grades, shafts: tuple[float, float]) -> Callable[[Curve], Curve]:
    """Make the knee's own irregularity and alignment: a smooth displacement of any curve."""
    waves = np.vstack([p.warp, p.ripple * (1, 1, 1, (0.7, 0.7, 0.9, 1.3, 2.0)[grades.KL])])
    amplitude = waves[:, 3] * p.width

    def bend(curve: Curve) -> Curve:
        phase = curve / p.width @ waves[:, :2].T + waves[:, 2]
        moved: Curve = curve + np.column_stack([np.sin(phase) @ amplitude, np.cos(phase) @ amplitude])
        moved[:, 0] += _axis(curve[:, 1], p.width, shafts)
        return moved

    return bend


def _femur(p: Parameters, grades: Grades) -> Bone:
    joint = np.array(template.FEMUR_JOINT)
    apex = np.exp(-(((joint[:, 0] - joint[template.FEMUR_APEX, 0]) / 0.1) ** 2))
    joint[:, 1] += (p.notch - 1) * 0.18 * -apex
    size = np.array([p.femur_scale, 1.0]) * p.width
    spurs = {
        name: _spur(np.array(start) * size, outward, -1, getattr(grades, name), shape)
        for name, start, outward, shape in (
            ("FL", (-0.500, -0.122), -1, p.spurs[0]),
            ("FM", (0.512, -0.120), 1, p.spurs[1]),
        )
        if getattr(grades, name)
    }
    return Bone(
        smooth(joint * size),
        smooth(np.array(template.FEMUR_LATERAL) * size),
        smooth(np.array(template.FEMUR_MEDIAL) * size),
        _lines(template.FEMUR_LINES, p.lines, size),
        spurs,
    )


def _tibia(p: Parameters, grades: Grades) -> Bone:
    joint = np.array(template.TIBIA_JOINT)
    middle = np.abs(joint[:, 0] - 0.01) < 0.16
    joint[middle, 1] *= p.spines
    if grades.KL == 4:
        # Attrition: the worn plateau sinks towards its margin.
        sign = 1 if grades.JSN_M >= grades.JSN_L else -1
        joint[:, 1] += 0.022 * p.attrition * np.clip((sign * joint[:, 0] - 0.2) / 0.2, 0, 1)
    spurs = {
        name: _spur(np.array(start) * p.width, outward, 1, getattr(grades, name), shape)
        for name, start, outward, shape in (
            ("TL", (-0.505, 0.012), -1, p.spurs[2]),
            ("TM", (0.505, -0.006), 1, p.spurs[3]),
        )
        if getattr(grades, name)
    }
    lateral, medial = np.array(template.TIBIA_LATERAL), np.array(template.TIBIA_MEDIAL)
    lateral[-1], medial[-1] = joint[0], joint[-1]
    return Bone(
        smooth(joint * p.width),
        smooth(lateral * p.width),
        smooth(medial * p.width),
        _lines(template.TIBIA_LINES, p.lines[len(template.FEMUR_LINES) :], np.full(2, p.width)),
        spurs,
    )


def _lines(
    lines: tuple[tuple[float, template.Points], ...], strengths: tuple[float, ...], size: Curve
) -> tuple[tuple[float, Curve], ...]:
    pairs = zip(lines, strengths, strict=False)
    return tuple((strength * own, smooth(np.array(line) * size)) for (strength, line), own in pairs)


def _spur(start: Curve, outward: int, away: int, grade: int, shape: tuple[float, float]) -> Curve:
    """Outline a marginal osteophyte, mm: a closed lip that leaves the margin and hooks to the joint.

    Args:
        start: (2,) margin of the bone, mm.
        outward: Sign of x away from the joint's middle.
        away: Sign of y away from the joint line.
        grade: 1-3.
        shape: Relative length, and lift of the tip towards the joint in parts of the length.
    """
    length, lift = _SPUR_LENGTH[grade] * shape[0], shape[1]
    to_joint = smooth(
        [(-5.0, 1.0), (-1.0, 0.0), (0.6 * length, -0.4 * lift * length), (length, -lift * length)]
    )
    back = smooth(
        [
            (length, -lift * length),
            (1.02 * length, (0.25 - lift) * length),
            (0.62 * length, 0.65 * length),
            (0.12 * length, 1.15 * length + 1.5),
            (-3.5, 1.5 * length + 4.0),
        ]
    )
    spur: Curve = start + np.vstack([to_joint[:-1], back]) * (outward, away)
    return spur


def _seat(femur: Bone, tibia: Bone, p: Parameters, grades: Grades) -> Bone:
    """Shift and tilt the femur until both joint spaces have their drawn smallest widths.

    A rigid movement, as in the living knee: a worn medial compartment gives a varus tilt.
    """
    windows = np.array([template.LATERAL_WINDOW, template.MEDIAL_WINDOW]) * p.width
    drawn = (_JSW_LATERAL[grades.JSN_L], _JSW_MEDIAL[grades.JSN_M])
    wanted = np.array([max(mean + z * sd, 0.1) for (mean, sd), z in zip(drawn, p.jsw, strict=True)])
    centres = windows.mean(axis=1)
    for _ in range(6):
        lateral, medial = (gap(femur.joint, tibia.joint, (float(a), float(b)))[0] for a, b in windows)
        drop = np.array([lateral, medial]) - wanted
        slope = (drop[1] - drop[0]) / (centres[1] - centres[0])
        femur = femur.moved(_tilt(slope, drop[0] - slope * centres[0]))
    return femur


def _tilt(slope: float, offset: float) -> Callable[[Curve], Curve]:
    c, s = np.cos(np.arctan(slope)), np.sin(np.arctan(slope))
    turn = np.array([[c, s], [-s, c]])

    def move(curve: Curve) -> Curve:
        moved: Curve = curve @ turn + (0.0, offset)
        return moved

    return move


def _cysts(p: Parameters, grades: Grades, tibia: Bone) -> Curve:
    """Up to three subchondral cysts under a plateau that is sclerotic to grade 3."""
    worn = [
        w
        for w, sc in ((template.LATERAL_WINDOW, grades.SC_L), (template.MEDIAL_WINDOW, grades.SC_M))
        if sc == 3
    ]
    if not worn:
        return np.empty((0, 3))
    (a, b), (place, depth, radius) = worn[0], p.cysts.T
    x = (a + place * (b - a)) * p.width
    y = np.interp(x, tibia.joint[:, 0], tibia.joint[:, 1]) + depth
    return np.column_stack([x, y, radius])
