"""From material paths to the grey values that a detector and its console would store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from kellgren.simulate.attenuation import Map, Paths
from kellgren.simulate.view import View

_MU_FAT: Final = 0.0201
_MU_MUSCLE: Final = 0.0238
_MU_BONE: Final = 0.0814
"""Linear attenuation per mm at 50 keV of ICRU-44 adipose tissue, muscle and cortical bone (NIST tables)."""


@dataclass(frozen=True, slots=True)
class Technique:
    """How one exposure was made and shown.

    Attributes:
        scatter: Scattered over primary radiation behind the leg.
        blur: Standard deviation of focal spot and detector blur, mm.
        noise: Relative quantum noise behind the middle of the leg.
        heel: Relative change of the beam across the image, x and y.
        dark: Log exposure shown black, counted below soft tissue in units of bone over soft tissue.
        white: Log exposure shown white, counted above the brightest bone in the same unit.
        gamma: Exponent of the display curve; above 1 darkens.
        sharpen: Strength of the console's edge enhancement.
    """

    scatter: float
    blur: float
    noise: float
    heel: tuple[float, float]
    dark: float
    white: float
    gamma: float
    sharpen: float


def draw_technique(rng: np.random.Generator) -> Technique:
    """Draw an exposure; most are ordinary, some flat, some too dark or too bright."""
    return Technique(
        scatter=float(rng.uniform(0.2, 0.9)),
        blur=float(rng.uniform(0.15, 0.34)),
        noise=float(rng.uniform(0.003, 0.008)),
        heel=(float(rng.normal(0, 0.08)), float(rng.normal(0, 0.12))),
        dark=float(rng.choice([rng.uniform(1.2, 3.0), rng.uniform(3.0, 8.0)], p=[0.3, 0.7])),
        white=float(rng.choice([rng.uniform(0.2, 1.0), rng.uniform(1.0, 4.0)], p=[0.4, 0.6])),
        gamma=float(np.exp(rng.normal(0, 0.18))),
        sharpen=float(rng.choice([0.0, rng.uniform(0.2, 0.7)], p=[0.65, 0.35])),
    )


def expose(
    paths: Paths, technique: Technique, view: View, rng: np.random.Generator
) -> npt.NDArray[np.uint16]:
    """Attenuate a beam by Beer-Lambert's law, add scatter, blur and noise, and develop it.

    Returns:
        (H, W) uint16, bone bright, using 0 .. 65535.
    """
    h, w = view.shape
    primary = np.exp(-(_MU_FAT * paths.fat + _MU_MUSCLE * paths.muscle + _MU_BONE * paths.bone))
    behind_leg = float(np.median(primary))
    u, v = np.linspace(-0.5, 0.5, w)[None, :], np.linspace(-0.5, 0.5, h)[:, None]
    beam = primary * (1 + technique.heel[0] * u + technique.heel[1] * v).astype(np.float32)
    arriving = _blurred(beam, technique.blur / view.spacing) + technique.scatter * behind_leg * _veil(beam)
    level = behind_leg * (1 + technique.scatter)
    # Quantum noise grows with the root of what arrives.
    grain = rng.standard_normal(view.shape, dtype=np.float32)
    grain = 0.8 * grain + 0.6 * cv2.GaussianBlur(grain, (0, 0), 0.8)
    arriving += np.float32(technique.noise) * np.sqrt(arriving * np.float32(level)) * grain
    density = -np.log(np.maximum(arriving / level, 1e-3))
    return _developed(density, paths, technique, view)


def _developed(density: Map, paths: Paths, technique: Technique, view: View) -> npt.NDArray[np.uint16]:
    """Window the log exposure as a console does, and bend it like film."""
    bone = paths.bone > np.float32(3.0)
    soft = float(np.percentile(density[~bone], 75)) if not bone.all() else float(density.min())
    bright = float(np.percentile(density, 98.5))
    unit = max(bright - soft, 0.05)
    if technique.sharpen:
        density = density + technique.sharpen * (density - _blurred(density, 1.2 / view.spacing))
    low, high = soft - technique.dark * unit, bright + technique.white * unit
    # A soft toe and shoulder in place of hard clipping.
    value = (density - low) / (high - low)
    value = 1 / (1 + np.exp(-4.4 * (value - 0.5)))
    toe, shoulder = (1 / (1 + np.exp(2.2 * s)) for s in (1, -1))
    value = np.clip((value - toe) / (shoulder - toe), 0, 1) ** np.float32(technique.gamma)
    grey: npt.NDArray[np.uint16] = np.round(value * 65535).astype(np.uint16)
    return grey


def _veil(beam: Map) -> Map:
    """Scatter spreads over a third of the image; relative to its own mean."""
    small = np.asarray(cv2.resize(beam, (32, 32), interpolation=cv2.INTER_AREA), np.float32)
    small = _blurred(np.minimum(small, np.float32(4 * np.median(small))), 8)
    wide = cv2.resize(small / small.mean(), beam.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(wide, np.float32)


def _blurred(image: Map, sigma: float) -> Map:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(sigma, 0.3)), np.float32)
