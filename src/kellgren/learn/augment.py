"""Random changes of a crop in training: geometry, exposure, blur and noise. Seeded per knee and epoch."""

from __future__ import annotations

import math

import cv2
import numpy as np

from kellgren.learn.recipe import Augment
from kellgren.steps import Image


def augment(image: Image, ranges: Augment, rng: np.random.Generator) -> tuple[Image, bool]:
    """One random variant of a crop.

    Args:
        image: (H, W) float32 in [0, 1].
        ranges: How far each change may go; all zero (gamma 1) returns the image unchanged.
        rng: Source of every random number.

    Returns:
        (H, W) float32 in [0, 1], and whether it was mirrored (lateral and medial have changed places).
    """
    flipped = bool(rng.random() < ranges.flip)
    image = _geometry(image, ranges, rng, flipped=flipped)
    image = _exposure(image, ranges, rng)
    if ranges.blur > 0 and rng.random() < 0.5:
        sigma = rng.uniform(0.1, max(ranges.blur, 0.1))
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.float32)
    if ranges.noise > 0 and rng.random() < 0.5:
        deviation = np.float32(rng.uniform(0.0, ranges.noise))
        image = image + deviation * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image, 0.0, 1.0), flipped


def _geometry(image: Image, ranges: Augment, rng: np.random.Generator, *, flipped: bool) -> Image:
    height, width = image.shape
    angle = math.radians(rng.uniform(-1, 1) * ranges.rotate)
    zoom = 1.0 + rng.uniform(-1, 1) * ranges.scale
    shift = rng.uniform(-1, 1, size=2) * ranges.shift * (width, height)
    if not (flipped or angle or zoom != 1.0 or shift.any()):
        return image
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    mirror = -1.0 if flipped else 1.0
    linear = np.array([[cos * mirror, -sin], [sin * mirror, cos]])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.hstack([linear, (centre + shift - linear @ centre)[:, None]])
    warped = cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(warped, dtype=np.float32)


def _exposure(image: Image, ranges: Augment, rng: np.random.Generator) -> Image:
    contrast = np.float32(1.0 + rng.uniform(-1, 1) * ranges.contrast)
    brightness = np.float32(rng.uniform(-1, 1) * ranges.brightness)
    exponent = np.float32(ranges.gamma ** rng.uniform(-1, 1))
    if exponent != 1.0:
        image = np.power(image, exponent)
    if contrast != 1.0 or brightness != 0.0:
        image = np.clip((image - np.float32(0.5)) * contrast + np.float32(0.5) + brightness, 0.0, 1.0)
    return image
