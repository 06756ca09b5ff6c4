"""From material paths to the grey values that a detector and its console would store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from kellgren.simulate.attenuation import Map, Paths

_MU_FAT: Final = 0.0201
_MU_MUSCLE: Final = 0.0238
_MU_BONE: Final = 0.0814
_MU_METAL: Final = 0.30
"""Linear attenuation per mm at 50 keV of ICRU-44 adipose tissue, muscle and cortical bone (NIST tables), and
of titanium, less than NIST's 0.55 because metal hardens the beam."""

_LEAK: Final = 0.01
"""Share of the beam behind the collimator's shutters."""


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
        level: Share of the slow changes across the film that the console takes off.
    """

    scatter: float
    blur: float
    noise: float
    heel: tuple[float, float]
    dark: float
    white: float
    gamma: float
    sharpen: float
    level: float


def draw_technique(rng: np.random.Generator) -> Technique:
    """Draw an exposure as crops of cohorts show it; most are ordinary, some flat, some dark or bright."""
    return Technique(
        scatter=float(rng.uniform(0.3, 0.9)),
        blur=float(rng.uniform(0.15, 0.30)),
        noise=float(rng.uniform(0.002, 0.006)),
        heel=(float(rng.normal(0, 0.05)), float(rng.normal(0, 0.08))),
        dark=float(rng.choice([rng.uniform(2.3, 3.4), rng.uniform(3.4, 6.0)], p=[0.4, 0.6])),
        white=float(rng.choice([rng.uniform(0.5, 1.0), rng.uniform(1.0, 2.4)], p=[0.4, 0.6])),
        gamma=float(np.exp(rng.normal(-0.05, 0.10))),
        sharpen=float(rng.choice([0.0, rng.uniform(0.15, 0.5)], p=[0.7, 0.3])),
        level=0.0,
    )


def draw_film_technique(rng: np.random.Generator) -> Technique:
    """Draw an exposure of a whole film: air is black, bone bright, and most consoles level the film."""
    return Technique(
        scatter=float(rng.uniform(0.3, 1.0)),
        blur=float(rng.uniform(0.15, 0.34)),
        noise=float(rng.uniform(0.006, 0.02)),
        heel=(float(rng.normal(0, 0.05)), float(rng.normal(0, 0.10))),
        dark=float(rng.choice([rng.uniform(0.6, 1.5), rng.uniform(1.5, 3.2)], p=[0.65, 0.35])),
        white=float(rng.uniform(0.0, 0.5)),
        gamma=float(np.exp(rng.normal(0.05, 0.2))),
        sharpen=float(rng.choice([0.0, rng.uniform(0.2, 0.8)], p=[0.5, 0.5])),
        level=float(rng.choice([0.0, rng.uniform(0.2, 0.6)], p=[0.3, 0.7])),
    )


def expose(
    paths: Paths,
    technique: Technique,
    spacing: float,
    shape: tuple[int, int],
    rng: np.random.Generator,
    field: Map | None = None,
) -> npt.NDArray[np.uint16]:
    """Attenuate a beam by Beer-Lambert's law, add scatter, blur and noise, and develop it.

    Args:
        paths: What the beam crosses, on (h, w) pixels.
        technique: How the exposure is made and shown.
        spacing: Of the pixels of `paths`, mm.
        shape: (H, W) of the image; the same area on as many or more pixels. Noise is drawn on these.
        rng: Source of randomness.
        field: (h, w) share of the beam that the collimator lets through; everything if None.

    Returns:
        (H, W) uint16, bone bright, using 0 .. 65535.
    """
    h, w = paths.bone.shape
    weakened = _MU_FAT * paths.fat + _MU_MUSCLE * paths.muscle + _MU_BONE * paths.bone
    primary = np.exp(-(weakened + np.float32(_MU_METAL) * paths.metal))
    flesh = paths.muscle > np.float32(25.0)
    if field is not None:
        flesh &= field > np.float32(0.9)
    behind_leg = float(np.median(primary[flesh])) if flesh.any() else float(np.median(primary))
    u = np.linspace(-0.5, 0.5, w, dtype=np.float32)[None, :]
    v = np.linspace(-0.5, 0.5, h, dtype=np.float32)[:, None]
    beam = primary * (1 + np.float32(technique.heel[0]) * u + np.float32(technique.heel[1]) * v)
    if field is not None:
        beam *= np.float32(_LEAK) + np.float32(1 - _LEAK) * field
    scatter = technique.scatter * behind_leg * _veil(beam, behind_leg, spacing)
    arriving = _blurred(beam, technique.blur / spacing) + scatter
    level = behind_leg * (1 + technique.scatter)
    tone = _tones(np.asarray(arriving / level, np.float32), paths, technique, spacing, field)
    if shape != (h, w):
        tone_shift = cv2.resize(tone.shift, shape[::-1], interpolation=cv2.INTER_LINEAR)
        arriving = np.maximum(cv2.resize(arriving, shape[::-1], interpolation=cv2.INTER_CUBIC), 1e-6)
    else:
        tone_shift = tone.shift
    # Quantum noise grows with the root of what arrives; the detector's own blur makes it coarser.
    grain = rng.standard_normal(shape, dtype=np.float32)
    sigma = max(0.12 / (spacing * h / shape[0]), 0.3)
    soft = cv2.GaussianBlur(grain, (0, 0), sigma)
    grain = np.float32(0.7) * grain + np.float32(0.7 * 2 * np.sqrt(np.pi) * sigma) * soft
    arriving /= np.float32(level)
    arriving += np.float32(technique.noise) * np.sqrt(arriving) * grain
    np.maximum(arriving, 1e-3, out=arriving)
    density = np.log(arriving, out=arriving)
    np.negative(density, out=density)
    if technique.sharpen:
        density += np.float32(technique.sharpen) * (
            density - _blurred(density, 1.2 * shape[0] / (spacing * h))
        )
    density -= tone_shift
    return _developed(density, tone, technique)


@dataclass(frozen=True, slots=True)
class _Tones:
    """What is shown black and white.

    Attributes:
        low: Log exposure shown black.
        high: Log exposure shown white.
        shift: (h, w) what the console takes off to bring thick and thin parts into one range.
    """

    low: float
    high: float
    shift: Map


def _tones(arriving: Map, paths: Paths, technique: Technique, spacing: float, field: Map | None) -> _Tones:
    """Find the window as a console does, from the histogram of flesh and of bone."""
    coarse = max(1, round(0.6 / spacing))
    density = -np.log(np.maximum(arriving, 1e-3))
    small = density[::coarse, ::coarse]
    bone = paths.bone[::coarse, ::coarse] > np.float32(3.0)
    bare = paths.metal[::coarse, ::coarse] < np.float32(0.5)
    if field is not None:
        bare &= field[::coarse, ::coarse] > np.float32(0.9)
    flesh = ~bone & bare & (paths.muscle[::coarse, ::coarse] > np.float32(12.0))
    if not flesh.any() or not (bone & bare).any():
        # Letters alone: nothing to window by but the film itself.
        flesh = bone = bare = np.ones_like(bone)
    soft, bright = _levels(small, flesh, bone & bare)
    shift = np.zeros_like(density)
    if technique.level:
        unit = max(bright - soft, 0.05)
        kept = np.clip(density, soft - unit, bright + unit)
        wide = cv2.resize(kept, None, fx=0.1, fy=0.1, interpolation=cv2.INTER_AREA)
        wide = _blurred(np.asarray(wide, np.float32), 12 / (10 * spacing)) - np.float32((soft + bright) / 2)
        wide = cv2.resize(wide, density.shape[::-1], interpolation=cv2.INTER_CUBIC)
        shift = np.asarray(np.float32(technique.level) * wide, np.float32)
        soft, bright = _levels(small - shift[::coarse, ::coarse], flesh, bone & bare)
    unit = max(bright - soft, 0.05)
    return _Tones(soft - technique.dark * unit, bright + technique.white * unit, shift)


def _levels(density: Map, flesh: npt.NDArray[np.bool_], bone: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Log exposure of ordinary flesh and of bright bone."""
    return float(np.percentile(density[flesh], 60)), float(np.percentile(density[bone], 96))


def _developed(density: Map, tone: _Tones, technique: Technique) -> npt.NDArray[np.uint16]:
    """Bend the windowed log exposure like film, in place: a soft toe and shoulder, no hard clipping."""
    toe, shoulder = (1 / (1 + np.exp(2.2 * s)) for s in (1, -1))
    # One table of the curve in place of an exponential and a power for every pixel.
    steps = np.linspace(-0.5, 1.5, 4096)
    curve = np.clip((1 / (1 + np.exp(-4.4 * (steps - 0.5))) - toe) / (shoulder - toe), 0, 1)
    table = np.round(curve**technique.gamma * 65535).astype(np.uint16)
    density -= np.float32(tone.low - 0.5 * (tone.high - tone.low))
    density *= np.float32(2047.5 / (tone.high - tone.low))
    np.clip(density, 0, 4095, out=density)
    grey: npt.NDArray[np.uint16] = table[density.astype(np.uint16)]
    return grey


def _veil(beam: Map, behind_leg: float, spacing: float) -> Map:
    """Scatter made in the leg spreads over centimetres; relative to what comes behind the leg."""
    cell = 5.0 / spacing
    h, w = beam.shape
    shape = (max(4, round(w / cell)), max(4, round(h / cell)))
    small = np.asarray(cv2.resize(beam, shape, interpolation=cv2.INTER_AREA), np.float32)
    # Where the beam misses the leg nothing scatters it.
    small = _blurred(np.where(small < 4 * behind_leg, small, 0.3 * behind_leg), 5.0)
    wide = cv2.resize(small / np.float32(behind_leg), beam.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.maximum(wide, 0.02), np.float32)


def _blurred(image: Map, sigma: float) -> Map:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(sigma, 0.3)), np.float32)
