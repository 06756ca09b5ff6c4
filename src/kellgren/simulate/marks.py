"""What lies on a film beside the leg: the collimated field, side markers, print, calibration ball, ruler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

from kellgren.simulate.curves import Curve
from kellgren.simulate.legs import Layout
from kellgren.vocabulary import Grey

_TEXTS: Final = ("WB", "STANDING", "AP", "ERECT", "WEIGHT BEARING", "20 DEG", "A P", "PA")
_FONTS: Final = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX)

Map = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Letters:
    """A word on the film.

    Attributes:
        text: What it says.
        place: x, y of its lower left corner, mm.
        height: Of a letter, mm.
        style: `lead` on the cassette, `box` (dark letter on a bright plate) or `print` added by the console.
        font: Font of OpenCV.
        grey: Brightness of print, 0-1.
    """

    text: str
    place: tuple[float, float]
    height: float
    style: Literal["lead", "box", "print"]
    font: int
    grey: float


@dataclass(frozen=True, slots=True)
class Marks:
    """Everything beside the leg.

    Attributes:
        field: (N, 2) outline of the collimated field, mm.
        shutter: Grey outside the field: black as consoles mask it, or None as it was exposed.
        letters: Words.
        ball: x, y and diameter on the film of a steel calibration ball, mm, or None.
        ruler: x of a lead ruler along the leg, mm, or None.
    """

    field: Curve
    shutter: float | None
    letters: tuple[Letters, ...]
    ball: tuple[float, float, float] | None
    ruler: float | None


def draw_marks(rng: np.random.Generator, layout: Layout) -> Marks:
    """Draw what lies beside the legs of a film."""
    font = int(rng.choice(_FONTS))
    style: Literal["lead", "box", "print"] = ("lead", "box", "print")[int(rng.choice(3, p=[0.35, 0.4, 0.25]))]
    letters = []
    for leg in layout.legs:
        if rng.random() < 0.75:
            away = float(rng.uniform(62, 85)) * (-1 if leg.side == "R" else 1)
            x = float(np.clip(leg.place[0] + away, 4, layout.width - 14))
            y = float(np.clip(leg.place[1] - rng.uniform(-40, 110), 16, layout.height - 6))
            letters.append(Letters(leg.side, (x, y), float(rng.uniform(6, 11)), style, font, 0.95))
    if rng.random() < 0.35:
        place = (float(rng.uniform(5, 0.6 * layout.width)), float(rng.choice([12, layout.height - 8])))
        kind: Literal["lead", "print"] = "lead" if style == "lead" else "print"
        size = float(rng.uniform(4, 8))
        letters.append(Letters(str(rng.choice(_TEXTS)), place, size, kind, font, 0.8))
    ball = None
    if rng.random() < 0.12:
        x = layout.width / 2 if len(layout.legs) == 2 else float(rng.choice([18, layout.width - 18]))
        ball = (x, float(rng.uniform(0.3, 0.9)) * layout.height, 25.0 * layout.magnification)
    ruler = float(rng.uniform(0.45, 0.55)) * layout.width if rng.random() < 0.05 else None
    shutter = float(rng.choice([0.0, 0.0, 0.03])) if rng.random() < 0.85 else None
    return Marks(_draw_field(rng, layout), shutter, tuple(letters), ball, ruler)


def _draw_field(rng: np.random.Generator, layout: Layout) -> Curve:
    """Draw the outline of the beam: the whole film, a rectangle, a tilted one, or a round one."""
    w, h = layout.width, layout.height
    kind = rng.choice(["none", "straight", "tilted", "round"], p=[0.40, 0.36, 0.20, 0.04])
    inset = rng.uniform(0, 0.09, 4) * (w, h, w, h)
    angle = np.deg2rad(float(np.clip(rng.normal(0, 2.5), -6, 6)))
    if kind == "none":
        return np.array([(-9, -9), (w + 9, -9), (w + 9, h + 9), (-9, h + 9)], float)
    if kind == "round":
        # Round enough to hold the joints.
        centre = np.mean([leg.place for leg in layout.legs], axis=0)
        radius = max(np.hypot(*(np.array(leg.place) - centre)) for leg in layout.legs) + rng.uniform(85, 120)
        turn = np.linspace(0, 2 * np.pi, 90, endpoint=False)
        return np.asarray(centre + radius * np.column_stack([np.cos(turn), np.sin(turn)]))
    x0, y0, x1, y1 = inset[0], inset[1], w - inset[2], h - inset[3]
    outline = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    if kind == "tilted":
        middle = np.array([w / 2, h / 2])
        turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        outline = (outline - middle) @ turned + middle
    return outline


def field_of(outline: Curve, shape: tuple[int, int], spacing: float) -> Map:
    """Share of each pixel inside the field, (h, w), with the penumbra of the shutters."""
    mask = np.zeros(shape, np.float32)
    cv2.fillPoly(mask, [_fixed(outline / spacing - 0.5)], 1.0, shift=4)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.8 / spacing), np.float32)


def add_lead(metal: Map, marks: Marks, spacing: float) -> None:
    """Lay lead letters, ball and ruler on the cassette: adds to (h, w) paths through metal, mm, in place."""
    for word in marks.letters:
        if word.style == "lead":
            mask, left, top = _mask(word, spacing, metal.shape)
            metal[top : top + mask.shape[0], left : left + mask.shape[1]] += np.float32(8.0) * mask
    if marks.ball is not None:
        x, y, diameter = (v / spacing for v in marks.ball)
        u = np.arange(metal.shape[1], dtype=np.float32)[None, :] - np.float32(x)
        v = np.arange(metal.shape[0], dtype=np.float32)[:, None] - np.float32(y)
        metal += np.float32(2 * spacing) * np.sqrt(
            np.maximum(np.float32(diameter / 2) ** 2 - u * u - v * v, 0)
        )
    if marks.ruler is not None:
        drawn = np.zeros(metal.shape, np.float32)
        x = marks.ruler / spacing
        for tick in range(int(metal.shape[0] * spacing / 5)):
            y, long = 5 * tick / spacing, (8 if tick % 2 == 0 else 4) / spacing
            cv2.line(drawn, (round(x), round(y)), (round(x + long), round(y)), 5.0, 2)
        metal += drawn


def print_marks(pixels: Grey, marks: Marks, layout: Layout) -> None:
    """Mask what lies outside the field and print letters as a console does, in place."""
    if marks.shutter is not None:
        outside = np.ones(pixels.shape, np.uint8)
        cv2.fillPoly(outside, [_fixed(marks.field / layout.spacing - 0.5)], 0, shift=4)
        pixels[outside == 1] = round(marks.shutter * 65535)
    for word in marks.letters:
        if word.style == "box":
            width, height = _size(word, layout.spacing)
            margin = round(0.45 * word.height / layout.spacing)
            x, y = (round(v / layout.spacing) for v in word.place)
            corner, other = (x - margin, y - height - margin), (x + width + margin, y + margin)
            pixels[max(corner[1], 0) : other[1], max(corner[0], 0) : other[0]] = round(0.85 * 65535)
            _print(pixels, word, layout.spacing, 0.15)
        elif word.style == "print":
            _print(pixels, word, layout.spacing, word.grey)


def _scale(word: Letters, spacing: float) -> tuple[float, int]:
    scale = cv2.getFontScaleFromHeight(word.font, max(8, round(word.height / spacing)))
    return scale, max(1, round(0.09 * word.height / spacing))


def _size(word: Letters, spacing: float) -> tuple[int, int]:
    (width, height), _ = cv2.getTextSize(word.text, word.font, *_scale(word, spacing))
    return width, height


def _mask(word: Letters, spacing: float, shape: tuple[int, int]) -> tuple[npt.NDArray[np.float32], int, int]:
    """Coverage of a word, and where its left column and top row lie on the image."""
    width, height = _size(word, spacing)
    pad = 4 + height // 3
    drawn = np.zeros((height + 2 * pad, width + 2 * pad), np.uint8)
    cv2.putText(drawn, word.text, (pad, pad + height), word.font, _scale(word, spacing)[0], (255,),
                _scale(word, spacing)[1], cv2.LINE_AA)  # fmt: skip
    x, y = (round(v / spacing) for v in word.place)
    left, top = x - pad, y - height - pad
    cut = drawn[max(-top, 0) : max(shape[0] - top, 0), max(-left, 0) : max(shape[1] - left, 0)]
    return np.asarray(cut, np.float32) / np.float32(255), max(left, 0), max(top, 0)


def _print(pixels: Grey, word: Letters, spacing: float, value: float) -> None:
    """Blend a word into the image, in place; what passes its edge is cut off."""
    mask, left, top = _mask(word, spacing, pixels.shape)
    part = pixels[top : top + mask.shape[0], left : left + mask.shape[1]]
    part[...] = np.round(part * (1 - mask) + mask * np.float32(value * 65535)).astype(np.uint16)


def _fixed(points: Curve) -> npt.NDArray[np.int32]:
    return np.round(points * 16).astype(np.int32)
