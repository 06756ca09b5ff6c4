"""Gates of input quality: what a crop must be for its grade to be worth that of the validated ones.

Each gate is a measured quantity and a threshold that was set on training crops; how many ordinary knees it
stops and what it lets through is in `docs/reference/results/input-quality.md`. Colour and damaged JPEGs are
flagged where they are read (`kellgren.read.raster`), polarity in `kellgren.grade.polarity`.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from kellgren.locate import JointCrop
from kellgren.measure import Contour
from kellgren.vocabulary import CROP_SIZE, Grey

SMALLEST: Final = 224
"""Side of the smallest crop that is graded without a word, pixels: the smaller of the published sizes."""

TIGHTEST: Final = 0.95
"""Largest share of an image's width that the tibial plateau may fill; published crops have 0.72 to 0.92."""

METAL: Final = 62.0
"""Largest `metal` of a joint without implants; all but 2 of 240 training crops have less."""

_RIM: Final = 18


def gate(crop: JointCrop, line: Contour | None, *, line_sought: bool) -> tuple[str, ...]:
    """Reasons why a person must read a knee because of how its image is; empty if there are none.

    Args:
        crop: The joint as it is graded.
        line: Its joint line, in pixels of the crop; None where none was recognised.
        line_sought: Whether a joint line was looked for, which takes a known side.
    """
    reasons = []
    side = min(crop.pixels.shape)
    if side < SMALLEST:
        reasons.append(f"the joint is {side} pixels wide: at least {SMALLEST} are needed")
    if line_sought and line is None:
        reasons.append("no joint line is recognised: is it an upright front view of a joint?")
    if crop.is_image and line is not None and line.width > TIGHTEST * crop.pixels.shape[1]:
        reasons.append("the image is cut too close to the joint: margins of the bones are missing")
    if metal(crop.pixels) > METAL:
        reasons.append("metal in the joint: an implant cannot be graded")
    return tuple(reasons)


def metal(pixels: Grey) -> float:
    """How much a crop shows of what is bright, even and sharply bounded, as implants are and bone is not.

    At every even place (5 x 5 pixels of a crop of 299) the smaller of two heights is taken: how far it stands
    out from its surroundings (a white top-hat of a tenth of the crop), and the height of the steepest edge
    nearby. The value that 3 in 1,000 places exceed is returned.

    Args:
        pixels: (H, W) crop.

    Returns:
        In levels of 0..255 of the crop's own range.
    """
    shrinks = min(pixels.shape) > CROP_SIZE
    crop = cv2.resize(
        pixels, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    ).astype(np.float32)
    sample = crop[15:-15:3, 15:-15:3]
    shown = sample[sample > 0]  # what lies beyond the film is black
    low, high = np.percentile(shown, (1, 99.9)) if shown.size else (0.0, 0.0)
    levels = np.clip((crop - low) * (255 / max(high - low, 1.0)), 0, 255).astype(np.uint8)
    image = cv2.GaussianBlur(levels, (0, 0), 0.8)
    slope = np.hypot(*(cv2.Sobel(image, cv2.CV_32F, x, 1 - x, scale=1 / 8) for x in (1, 0)))
    edge = cv2.dilate(slope, np.ones((11, 11), np.uint8)) * 4
    half = cv2.resize(image, (150, 150), interpolation=cv2.INTER_AREA)
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15))
    ridges = cv2.morphologyEx(half, cv2.MORPH_TOPHAT, ellipse)
    height = cv2.resize(ridges, (CROP_SIZE, CROP_SIZE)).astype(np.float32)
    mean, square = (cv2.boxFilter(image.astype(np.float32) ** power, -1, (5, 5)) for power in (1, 2))
    even = square - mean**2 < 36
    heights = (np.minimum(edge, height) * even)[_RIM : CROP_SIZE - _RIM, _RIM : CROP_SIZE - _RIM]
    return float(np.percentile(heights, 99.7))
