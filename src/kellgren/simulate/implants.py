"""Metal in a knee: prostheses, screws, plates and nails, as paths through titanium.

Shapes are outlines in plateau widths in the frame of `template`, placed by hand after the look of common
implants; every one has its own random size. A total prosthesis replaces the joint: `resurfaced` first cuts
the bones as a surgeon does, so that the drawn gap is that of the insert.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

from kellgren.simulate.anatomy import Anatomy
from kellgren.simulate.curves import Curve, gap, smooth
from kellgren.simulate.template import LATERAL_WINDOW, MEDIAL_WINDOW
from kellgren.simulate.view import View

Hardware = Literal["none", "total", "partial", "screws", "plate", "nail"]
"""Metal in a knee: none, total or unicompartmental prosthesis, screws, a plate, an intramedullary nail."""

HARDWARE: Final[tuple[Hardware, ...]] = ("none", "total", "partial", "screws", "plate", "nail")

Piece = tuple[float, Curve]
"""Path through titanium, mm, and the closed outline of a piece, mm."""

_COBALT: Final = 14.0
"""Path through titanium that weakens the beam like a cobalt-chrome component, mm."""


def resurfaced(anatomy: Anatomy) -> Anatomy:
    """Cut the tibia level and lift the femur off it as a total prosthesis does; no grades apply any more."""
    w = anatomy.width
    joint = anatomy.tibia.joint.copy()
    joint[:, 1] = 0.015 * w
    tibia = replace(anatomy.tibia, joint=joint, spurs={}, lines=())
    window = (-0.43 * w, 0.43 * w)
    lift = gap(anatomy.femur.joint, joint, window)[0] - 0.10 * w
    femur = replace(anatomy.femur.moved(lambda c: c + np.array([0.0, lift])), spurs={})
    sides = [(a * w, b * w) for a, b in (LATERAL_WINDOW, MEDIAL_WINDOW)]
    return replace(
        anatomy,
        femur=femur,
        tibia=tibia,
        cysts=np.empty((0, 3)),
        jsw_lateral=gap(femur.joint, joint, sides[0]),
        jsw_medial=gap(femur.joint, joint, sides[1]),
    )


def draw_metal(
    hardware: Hardware, anatomy: Anatomy, view: View, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Draw the metal of one knee.

    Args:
        hardware: Which.
        anatomy: The knee; of a total prosthesis, the `resurfaced` one.
        view: The pixels.
        rng: Source of randomness.

    Returns:
        (H, W) float32, path through titanium, mm.
    """
    metal = np.zeros(view.shape, np.float32)
    for thickness, outline in _PIECES[hardware](anatomy, rng) if hardware != "none" else ():
        mask = np.zeros(view.shape, np.uint8)
        cv2.fillPoly(mask, [np.round(view.place(outline) * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
        metal += mask.astype(np.float32) * np.float32(thickness / 255)
    return metal


def _total(anatomy: Anatomy, rng: np.random.Generator) -> list[Piece]:
    """Femoral shield, tray with stem, sometimes pegs and a button on the patella."""
    w, joint = anatomy.width, anatomy.femur.joint
    top = float(rng.uniform(0.30, 0.42)) * w
    ledge = float(joint[:, 1].max())
    sides = [joint[-1] + (0.015 * w, -0.20 * w), (0.30 * w, ledge - top), (-0.28 * w, ledge - top),
             joint[0] + (-0.015 * w, -0.20 * w)]  # fmt: skip
    runner = joint[::4].copy()
    runner[:, 1] += 0.01 * w
    shield = np.vstack([runner, smooth(np.array(sides), per_span=6)])
    tray, thick = float(anatomy.tibia.joint[:, 1].mean()), float(rng.uniform(0.045, 0.065)) * w
    stem = float(rng.uniform(0.28, 0.65)) * w
    half = float(rng.uniform(0.06, 0.09)) * w
    pieces = [
        (_COBALT, shield),
        (_COBALT, _rectangle(-0.50 * w, tray, 0.50 * w, tray + thick)),
        (9.0, np.array([(-half, tray), (half, tray), (0.7 * half, tray + stem), (0, tray + stem + half),
                        (-0.7 * half, tray + stem)])),
    ]  # fmt: skip
    if rng.random() < 0.6:
        keel = float(rng.uniform(0.16, 0.26)) * w
        pieces.append((4.0, np.array([(-keel, tray), (keel, tray), (half, tray + 0.7 * stem),
                                      (-half, tray + 0.7 * stem)])))  # fmt: skip
    return pieces


def _partial(anatomy: Anatomy, rng: np.random.Generator) -> list[Piece]:
    """Runner and tray of one compartment, mostly the medial one."""
    w = anatomy.width
    medial = bool(rng.random() < 0.85)
    a, b = MEDIAL_WINDOW if medial else LATERAL_WINDOW
    x = np.linspace((a - 0.02) * w, (b + 0.03) * w, 24)
    upper = np.interp(x, anatomy.femur.joint[:, 0], anatomy.femur.joint[:, 1])
    lower = np.interp(x, anatomy.tibia.joint[:, 0], anatomy.tibia.joint[:, 1])
    back = float(rng.uniform(0.10, 0.18)) * w
    middle, floor = float(x.mean()), float(np.max(lower))
    runner = np.vstack([np.column_stack([x, upper]), np.column_stack([x, upper - 0.05 * w])[::-1]])
    peg = _rectangle(middle - 0.03 * w, float(upper.min()) - back, middle + 0.03 * w, float(upper.max()))
    return [
        (_COBALT, runner),
        (8.0, peg),
        (_COBALT, _rectangle(float(x[0]), floor, float(x[-1]), floor + 0.045 * w)),
        (8.0, _rectangle(middle - 0.025 * w, floor, middle + 0.025 * w, floor + back)),
    ]


def _screws(anatomy: Anatomy, rng: np.random.Generator) -> list[Piece]:
    """One to four screws in one of the two bones, or the screws and button of a ligament."""
    w = anatomy.width
    up = bool(rng.random() < 0.4)
    pieces: list[Piece] = []
    first = float(rng.uniform(0.16, 0.35)) * (-1 if up else 1) - (0.12 if up else 0.0)
    angle = float(rng.normal(0, 8))
    for index in range(int(rng.integers(1, 5))):
        y = (first + 0.11 * index * (-1 if up else 1)) * w
        start = np.array([float(rng.uniform(-0.46, -0.40)) * w, y])
        length = float(rng.uniform(0.35, 0.8)) * w
        pieces += _screw(start, angle + float(rng.normal(0, 3)), length, float(rng.uniform(4.0, 6.5)))
    if rng.random() < 0.5:  # mostly from the medial side
        pieces = [(t, o * (-1, 1)) for t, o in pieces]
    return pieces


def _screw(start: npt.NDArray[np.float64], angle: float, length: float, width: float) -> list[Piece]:
    """Make a screw: head, shank, thread."""
    a = np.deg2rad(angle)
    turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    threads = np.arange(0.4 * length, length - width, 1.8)
    edge = np.column_stack([np.repeat(threads, 2), np.tile([0.5 * width, 0.35 * width], len(threads))])
    shank = np.vstack([[(0, -0.32 * width), (0, 0.32 * width)], edge, [(length, 0)], edge[::-1] * (1, -1)])
    head = _rectangle(-0.6 * width, -0.75 * width, 0.25 * width, 0.75 * width)
    return [(0.8 * width, shank @ turn + start), (1.2 * width, head @ turn + start)]


def _plate(anatomy: Anatomy, rng: np.random.Generator) -> list[Piece]:
    """A plate along the lateral or medial side of one bone, with screws across it."""
    w = anatomy.width
    bone, down = (anatomy.femur, -1) if rng.random() < 0.45 else (anatomy.tibia, 1)
    lateral = bool(rng.random() < 0.7)
    line, inward = (bone.lateral, 1) if lateral else (bone.medial, -1)
    length = float(rng.uniform(1.0, 2.0)) * w
    y = np.linspace(0.10 * w if down > 0 else -0.25 * w, down * length, 40)
    order = np.argsort(line[:, 1])
    x = np.interp(y, line[order, 1], line[order, 0]) - inward * 0.5
    thick = float(rng.uniform(3.0, 4.5))
    outline = np.vstack([np.column_stack([x, y]), np.column_stack([x - inward * thick, y])[::-1]])
    pieces: list[Piece] = [(12.0, outline)]
    for place in np.linspace(1, 37, int(rng.integers(5, 10))).astype(int):
        reach = (0.72 if abs(y[place]) < 0.45 * w else 0.36) * w * float(rng.uniform(0.8, 1.0))
        screw = _screw(np.array([0.0, 0.0]), float(rng.normal(0, 2)), reach, float(rng.uniform(3.5, 5.0)))
        pieces += [(t, o * (inward, 1) + (x[place], y[place])) for t, o in screw]
    return pieces


def _nail(anatomy: Anatomy, rng: np.random.Generator) -> list[Piece]:
    """A nail in the marrow of the femur or of the tibia, locked by screws."""
    w = anatomy.width
    down = -1 if rng.random() < 0.4 else 1
    y = down * np.linspace(0.22 if down < 0 else 0.08, 5.6, 60) * w
    x = anatomy.axis(y) + float(rng.normal(0, 1.0))
    half = float(rng.uniform(4.5, 6.0))
    outline = np.vstack([np.column_stack([x - half, y]), np.column_stack([x + half, y])[::-1]])
    pieces: list[Piece] = [(1.5 * half, outline)]
    for away in (0.30, 0.55)[: int(rng.integers(1, 3))]:
        start = np.array([-0.36 * w, down * (away + 0.1) * w])
        pieces += _screw(start, float(rng.normal(0, 3)), 0.72 * w, 4.5)
    return pieces


def _rectangle(x0: float, y0: float, x1: float, y1: float) -> Curve:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)


_PIECES: Final[dict[str, Callable[[Anatomy, np.random.Generator], list[Piece]]]] = {
    "total": _total,
    "partial": _partial,
    "screws": _screws,
    "plate": _plate,
    "nail": _nail,
}
