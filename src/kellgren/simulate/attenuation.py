"""From anatomy to how many millimetres of each material every ray crosses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from kellgren.simulate import template
from kellgren.simulate.anatomy import Anatomy, Bone
from kellgren.simulate.curves import Curve, smooth
from kellgren.simulate.trabeculae import fat_planes, patches, trabeculae
from kellgren.simulate.view import View

Map = npt.NDArray[np.float32]
"""(H, W) map."""

_FINER: Final = 2
"""Outlines are drawn on pixels this many times smaller, then averaged: no staircase at the edges."""

_LINE: Final = 0.9
"""Path through a line of strength 1 inside a bone, mm."""


@dataclass(frozen=True, slots=True)
class _Build:
    """How a bone of the joint is built along the beam.

    Attributes:
        down: Sign of y from the bone across the joint: 1 femur, -1 tibia.
        near: Depth from the joint line, mm, at which a condyle has its full thickness.
        spongy: Spongy bone along the beam at the joint, mm.
        plate: Subchondral plate along the beam under full load, mm.
        dense: The same of the denser spongy bone behind the plate.
        sclerosis: Depth of sclerosis over that in the tibia.
    """

    down: int
    near: float
    spongy: float
    plate: float
    dense: float
    sclerosis: float


# The condyles curve away from the beam, the plateaus lie along it.
_FEMUR: Final = _Build(down=1, near=5.0, spongy=23.0, plate=2.4, dense=1.0, sclerosis=0.7)
_TIBIA: Final = _Build(down=-1, near=2.5, spongy=17.0, plate=4.6, dense=2.6, sclerosis=1.0)

_FRACTION_BITS: Final = 4
"""Fractional bits of the coordinates given to OpenCV's drawing functions."""


@dataclass(frozen=True, slots=True)
class Tissue:
    """What the leg is made of, whatever its shape.

    Attributes:
        leg: Thickness of the leg at its middle along the beam, mm.
        half_width: Distance from the middle of the knee to the lateral and to the medial skin, mm.
        fat: Share of the leg's half width that is subcutaneous fat.
        trabecular: Volume share of bone in spongy bone.
        cortex: Thickness of the cortical shell over the average.
        coarseness: Strength of the trabecular pattern over the average.
    """

    leg: float
    half_width: tuple[float, float]
    fat: float
    trabecular: float
    cortex: float
    coarseness: float


def draw_tissue(rng: np.random.Generator, width: float) -> Tissue:
    """Draw the leg of a random adult whose plateau is `width` mm wide."""
    return Tissue(
        leg=float(rng.uniform(88, 135)),
        half_width=(float(width * rng.uniform(0.72, 1.04)), float(width * rng.uniform(0.68, 0.98))),
        fat=float(rng.uniform(0.06, 0.24)),
        trabecular=float(rng.uniform(0.15, 0.24)),
        cortex=float(rng.uniform(0.7, 1.25)),
        coarseness=float(rng.uniform(0.7, 1.4)),
    )


@dataclass(frozen=True, slots=True)
class Paths:
    """Path of each ray through each material, mm: what Beer-Lambert's law needs.

    Attributes:
        fat: (H, W) float32.
        muscle: (H, W) float32, all water-like tissue, marrow included.
        bone: (H, W) float32, mineralised bone at the density of cortical bone.
        metal: (H, W) float32, titanium, or as much of it as weakens the beam like another metal.
    """

    fat: Map
    muscle: Map
    bone: Map
    metal: Map

    def __add__(self, other: Paths) -> Paths:
        return Paths(*(getattr(self, n) + getattr(other, n) for n in ("fat", "muscle", "bone", "metal")))


def paths(anatomy: Anatomy, tissue: Tissue, view: View, rng: np.random.Generator) -> Paths:
    """Project a knee: spongy and cortical bone, sclerosis, cysts, and the soft tissue around them."""
    x, y = view.millimetres()
    spongy, cortical = np.zeros(view.shape, np.float32), np.zeros(view.shape, np.float32)
    for bone, build in ((anatomy.femur, _FEMUR), (anatomy.tibia, _TIBIA)):
        s, c = _joint_bone(anatomy, bone, build, view, x, y)
        spongy += s
        cortical += c
    for outline, depth, radius, shell in (
        (anatomy.fibula, 12.0, 6.0, 7.0),
        (anatomy.patella, 7.0, 16.0, 0.35),
    ):
        s, c = round_bone(outline, view, depth, radius, shell)
        spongy += s
        cortical += c
    _add_cysts(spongy, cortical, anatomy.cysts, x, y)
    wear = max(anatomy.grades.KL - 2, 0)
    bone_map = mineral(
        spongy, cortical, tissue, view, rng, roughness=1 + 0.12 * wear, mottle=0.05 + 0.02 * wear
    )
    leg, flesh = leg_thickness(anatomy.width, anatomy.axis, tissue, x, y)
    return soft_paths(leg, flesh, bone_map, view, rng)


def mineral(
    spongy: Map,
    cortical: Map,
    tissue: Tissue,
    view: View,
    rng: np.random.Generator,
    *,
    roughness: float = 1.0,
    mottle: float = 0.05,
) -> Map:
    """Path through mineralised bone, mm, of spongy and cortical bone with their texture."""
    pattern = trabeculae(rng, view, roughness=tissue.coarseness * roughness, mottle=mottle)
    bone = spongy * np.float32(tissue.trabecular) * (1 + pattern)
    return np.asarray(
        np.maximum(bone + cortical * np.float32(tissue.cortex) * (1 + 0.5 * pattern), 0), np.float32
    )


def soft_paths(leg: Map, flesh: Map, bone: Map, view: View, rng: np.random.Generator) -> Paths:
    """Fill a leg of given thickness with flesh, fat and bone; muscle bellies and fat planes run along it."""
    flesh = flesh * (1 + np.float32(0.012) * patches(rng, view, 6.0, 2.5))
    flesh *= 1 - np.float32(0.05) * fat_planes(rng, view)
    return Paths(
        fat=np.maximum(leg - flesh, 0),
        muscle=np.maximum(flesh - bone, 0),
        bone=bone,
        metal=np.zeros_like(bone),
    )


def _joint_bone(anatomy: Anatomy, bone: Bone, build: _Build, view: View, x: Map, y: Map) -> tuple[Map, Map]:
    """Project one bone of the joint: spongy and cortical path, mm."""
    w = anatomy.width
    inside, to_side, to_joint = _distances(bone, build.down * 0.3 * w, view.finer(_FINER))
    height = np.abs(y) / np.float32(w)
    # Spines and notch are thin along the beam.
    middle = _bump(x, 0.0, 0.15 * w)
    spongy = inside * build.spongy * (0.55 + 0.45 * np.exp(-((height / 0.35) ** 2)))
    spongy *= 0.15 + 0.85 * _rounded(to_side, 20.0) ** 1.6
    spongy *= 0.4 - 0.3 * middle + (0.6 + 0.3 * middle) * _rounded(to_joint, build.near + 18.0 * middle)
    if build is _FEMUR:
        spongy *= 1 - 0.35 * middle * np.exp(-to_joint / np.float32(0.12 * w))
    else:
        spongy *= 1 - 0.55 * np.clip(-y / np.float32(0.12 * w), 0, 1)
    # The plates are strong where load is carried, a little stronger medially.
    load = 0.15 + _bump(x, -0.29 * w, 0.17 * w) + 1.25 * _bump(x, 0.29 * w, 0.17 * w)
    plate = load * (build.plate * np.exp(-to_joint / 0.9) + build.dense * np.exp(-to_joint / 5.0))
    # The cortex is a thin shell near the joint and thickens towards the shaft.
    shaft = np.clip(height - 0.25, 0, 1)
    shaft = np.minimum(shaft, 0.7)
    shell = (2.6 + 9.0 * shaft) * np.exp(-to_side / (0.7 + 1.6 * shaft)) + 0.6 * np.exp(-to_side / 3.0)
    sclerosis = _sclerosis(anatomy, x, to_joint / np.float32(build.sclerosis))
    # The shaft is a tube of cortical bone around marrow.
    tube = np.clip((height - 0.75) / np.float32(1.1), 0, 1)
    shell += tube * (13.0 * np.exp(-to_side / 2.6) + 5.0)
    spongy *= 1 - 0.8 * tube
    cortical = inside * (plate + shell + sclerosis + _lines(bone, view))
    return np.asarray(spongy, np.float32), np.asarray(cortical, np.float32)


def _distances(bone: Bone, beyond: float, fine: View) -> tuple[Map, Map, Map]:
    """Share of each pixel inside the bone, and its distances to the bone's sides and joint line, mm.

    The sides are rounded and have a shell of their own; the joint line must not count as a side, so the
    bone is prolonged by `beyond` mm across the joint before distances to the sides are taken.
    """
    spurs = [fine.place(s) for s in bone.spurs.values()]
    inside = _averaged(_filled(fine.shape, fine.place(bone.outline), *spurs).astype(np.float32))
    past = np.vstack([bone.lateral[-1] + (0.0, beyond), bone.medial[-1] + (0.0, beyond)])
    prolonged = np.vstack([bone.lateral, past, bone.medial[::-1]])
    to_side = _depth(_filled(fine.shape, fine.place(prolonged), *spurs), fine)
    away = np.full(fine.shape, 255, np.uint8)
    cv2.polylines(away, [_fixed(fine.place(bone.joint))], False, 0, 1, shift=_FRACTION_BITS)
    return inside, to_side, _depth(away, fine)


def _sclerosis(anatomy: Anatomy, x: Map, depth: Map) -> Map:
    """Dense bone at `depth` mm under a worn surface, mm."""
    w, total = anatomy.width, np.zeros_like(depth)
    for grade, centre in ((anatomy.grades.SC_L, -0.33 * w), (anatomy.grades.SC_M, 0.34 * w)):
        if grade:
            reach = 2.0 + 1.7 * grade
            total += (0.8 + 1.1 * grade) * _bump(x, centre, 0.13 * w) * np.exp(-((depth / reach) ** 2))
    return total


def _lines(bone: Bone, view: View) -> Map:
    """Lines seen inside a bone (plateau rims, growth scar, notch walls), mm."""
    drawn = np.zeros(view.shape, np.float32)
    for strength, line in bone.lines:
        cv2.polylines(drawn, [_fixed(view.place(line))], False, strength, 1, shift=_FRACTION_BITS)
    # About 1.5 mm wide whatever the pixel; a blurred line loses height as 1 / (sigma sqrt(2 pi)).
    sigma = max(0.6 / view.spacing, 0.5)
    return cv2.GaussianBlur(drawn, (0, 0), sigma) * np.float32(_LINE * sigma * np.sqrt(2 * np.pi))


def round_bone(outline: Curve, view: View, depth: float, radius: float, shell: float) -> tuple[Map, Map]:
    """Spongy and cortical path of a rounded bone (fibula, patella), mm."""
    fine = view.finer(_FINER)
    mask = _filled(fine.shape, fine.place(outline))
    inner, inside = _depth(mask, fine), _averaged(mask.astype(np.float32))
    return depth * inside * _rounded(inner, radius), shell * inside * np.exp(-inner / 0.9)


def _add_cysts(spongy: Map, cortical: Map, cysts: Curve, x: Map, y: Map) -> None:
    """Hollow out cysts, each with its sclerotic rim, in place."""
    for cx, cy, radius in cysts:
        r = np.sqrt((x - np.float32(cx)) ** 2 + (y - np.float32(cy)) ** 2) / np.float32(radius)
        spongy -= 0.3 * spongy * np.exp(-(r**4))
        cortical -= 0.5 * cortical * np.exp(-(r**4))
        cortical += 1.0 * np.exp(-(((r - 1.15) / 0.25) ** 2))


def leg_thickness(
    width: float, axis: Callable[[Curve], Curve], tissue: Tissue, x: Map, y: Map
) -> tuple[Map, Map]:
    """Thickness of the whole leg, and of its flesh without the subcutaneous fat, mm.

    Args:
        width: Width of the plateau, mm.
        axis: Shift of the leg's axis at a height.
        tissue: Of the leg.
        x: (H, W) mm in the knee's frame.
        y: (H, W) likewise.
    """
    height = (y / np.float32(width)).astype(np.float32)
    # The tables are read by one column of heights and spread: interpolating every pixel is slow.
    rows = np.linspace(float(height.min()), float(height.max()), 256)
    place = (height - np.float32(rows[0])) * np.float32(255 / max(rows[-1] - rows[0], 1e-6))

    top = np.zeros_like(place)

    def along(values: npt.NDArray[np.floating]) -> Map:
        line = np.asarray(values, np.float32)[None, :]
        spread = cv2.remap(line, place, top, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(spread, np.float32)

    across = x - along(axis(rows * width))
    lateral, medial = (
        along(half / table[0] * np.interp(rows, *table[1:]))
        for half, table in zip(tissue.half_width, _SKIN, strict=True)
    )
    thickness = tissue.leg * along(np.interp(rows, *_THICKNESS[1:]))
    u = np.where(across < 0, -across / lateral, across / medial)
    v = u / (1 - tissue.fat)
    # A little flatter than an ellipse: the popliteal fossa and the extensor take from the middle.
    leg = thickness * np.sqrt(np.clip(1 - u**4, 0, 1))
    flesh = thickness * np.float32(1 - tissue.fat) * np.sqrt(np.clip(1 - v**4, 0, 1))
    return leg.astype(np.float32), np.minimum(leg, flesh).astype(np.float32)


def _table(points: template.Points) -> tuple[float, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Value at the joint, and heights and values of a smooth line through the control points."""
    curve = smooth(points)
    return float(np.interp(0, curve[:, 1], curve[:, 0])), curve[:, 1], curve[:, 0]


_SKIN: Final = (_table(template.SKIN_LATERAL), _table(template.SKIN_MEDIAL))
_THICKNESS: Final = _table(template.THICKNESS)


def _bump(x: Map, centre: float, width: float) -> Map:
    bump: Map = np.exp(-(((x - np.float32(centre)) / np.float32(width)) ** 2))
    return bump


def _rounded(depth: Map, radius: float | Map) -> Map:
    """Share of the full thickness at `depth` mm from an edge rounded with `radius` mm, 0-1."""
    t = np.minimum(depth / np.float32(radius), 1)
    rounded: Map = np.sqrt(t * (2 - t))
    return rounded


def _filled(shape: tuple[int, int], *polygons: Curve) -> npt.NDArray[np.uint8]:
    mask = np.zeros(shape, np.uint8)
    for polygon in polygons:
        cv2.fillPoly(mask, [_fixed(polygon)], 1, shift=_FRACTION_BITS)
    return mask


def _depth(mask: npt.NDArray[np.uint8], fine: View) -> Map:
    """Distance of every pixel inside `mask` to its edge, mm, on the view's own pixels."""
    # OpenCV gives a huge number where no edge is on the image.
    pixels = np.minimum(cv2.distanceTransform(mask, cv2.DIST_L2, 5), np.float32(1e5))
    return _averaged(pixels * np.float32(fine.spacing))


def _averaged(fine: Map) -> Map:
    h, w = fine.shape
    small = cv2.resize(fine, (w // _FINER, h // _FINER), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def _fixed(points: Curve) -> npt.NDArray[np.int32]:
    return np.round(points * (1 << _FRACTION_BITS)).astype(np.int32)
