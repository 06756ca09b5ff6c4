"""From modality values to values that look like the films a model has learned from.

A radiograph for presentation has been processed to be looked at. Two things can still lie between its
modality values and that look: a tone curve that its maker left to the viewer (VOI, PS3.3 C.11.2), and, for
raw images, the whole processing (PS3.3 C.8.11.3). Cutting a range out is neither: the film stage finds the
range itself, and a window that is too narrow would lose bone for good.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from kellgren.errors import UnreadableImage
from kellgren.read.bands import in_bands
from kellgren.read.lut import read_lut
from kellgren.read.tags import Header

Photometric = Literal["MONOCHROME1", "MONOCHROME2"]

_FULL: Final = 65535.0
_SAMPLE: Final = 65536

_FEWEST_LEVELS: Final = 32
"""A tone curve that leaves fewer grey values on the film was not made for it."""

_FARTHEST: Final = 1e9
"""No window lies beyond this, or is as narrow as its inverse: single precision would overflow."""

_DYNAMIC_RANGE: Final = 4096.0
"""Exposures below this part of the largest are taken for noise before the logarithm."""


def is_raw(header: Header) -> bool:
    """Whether the image is For Processing: not the one that was meant to be looked at."""
    return header.text("PresentationIntentType") == "FOR PROCESSING"


def apply_tone_curve(
    values: npt.NDArray[np.float32], header: Header, notes: list[str]
) -> npt.NDArray[np.float32]:
    """Apply the first VOI LUT, or else a sigmoid window, where it bends the scale without breaking it.

    Linear windows are left alone. So is a curve that does not rise or fall throughout, or that leaves
    hardly any grey values: it belongs to other pixels.

    Args:
        values: (H, W) modality values, which are overwritten.
        header: The header.
        notes: Gets what was done.

    Returns:
        (H, W) values on the curve's output scale, or `values` unchanged.
    """
    if is_raw(header):
        return values
    sequence = header.items("VOILUTSequence")
    if sequence:
        return _apply_lut(values, sequence[0], notes)
    if header.text("VOILUTFunction") == "SIGMOID":
        return _apply_sigmoid(values, header, notes)
    return values


def _apply_lut(values: npt.NDArray[np.float32], item: Header, notes: list[str]) -> npt.NDArray[np.float32]:
    try:
        table = read_lut(item, "LUTDescriptor", "LUTData", signed=bool(values.min() < 0), name="VOI LUT")
    except UnreadableImage:
        notes.append("the header's VOI LUT is incomplete and was left out")
        return values
    outputs = table.values.astype(np.float32)
    first, last = table.index(np.array([values.min(), values.max()]))
    steps = np.diff(outputs[first : last + 1])
    monotone = bool((steps >= 0).all() or (steps <= 0).all())
    if not monotone or np.unique(outputs[table.index(_sample(values))]).size < _FEWEST_LEVELS:
        notes.append("the header's VOI LUT does not fit the pixels and was left out")
        return values
    notes.append("the header's VOI LUT was applied")
    return in_bands(values, lambda band: outputs[table.index(band)], out=values)


def _apply_sigmoid(
    values: npt.NDArray[np.float32], header: Header, notes: list[str]
) -> npt.NDArray[np.float32]:
    """Apply Window Center and Width with VOI LUT Function SIGMOID (PS3.3 C.11.2.1.3.1)."""
    centre, width = header.numbers("WindowCenter"), header.numbers("WindowWidth")
    if not centre or not width or not abs(centre[0]) < _FARTHEST or not 1 / _FARTHEST < width[0] < _FARTHEST:
        notes.append("the header's sigmoid window is not usable and was left out")
        return values

    def curve(band: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        exponent = np.clip((band - np.float32(centre[0])) * np.float32(-4 / width[0]), -60, 60)
        return np.asarray(np.float32(_FULL) / (1 + np.exp(exponent, dtype=np.float32)), np.float32)

    if np.unique(np.rint(curve(_sample(values)))).size < _FEWEST_LEVELS:
        notes.append("the header's sigmoid window does not fit the pixels and was left out")
        return values
    notes.append("the header's sigmoid window was applied")
    return in_bands(values, curve, out=values)


def from_intensity(
    values: npt.NDArray[np.float32],
    header: Header,
    photometric: Photometric,
    bits: int,
    notes: list[str],
    flags: list[str],
) -> tuple[npt.NDArray[np.float32], Photometric]:
    """Bring a raw image to a logarithmic scale and its stated polarity; others are left as they are.

    Pixel Intensity Relationship (0028,1040) says whether values are linear in the X-ray intensity or its
    logarithm, its Sign (0028,1041) whether larger values are more (1) or less (-1) of it
    (PS3.3 C.8.11.3.1.2). What a film shows is the attenuation, the negative logarithm of the intensity.

    Args:
        values: (H, W) modality values, which are overwritten.
        header: The header.
        photometric: By Photometric Interpretation; used where there is no sign.
        bits: Stored bits: where values fall with the intensity, no intensity is their largest number.
        notes: Gets what was done.
        flags: Gets that the image is raw: the enhancement of a film's edges and contrast, which the models
            know, is missing.

    Returns:
        Values and their polarity.
    """
    if not is_raw(header):
        return values, photometric
    flags.append("a raw image (FOR PROCESSING), not the one that was meant to be looked at")
    try:
        sign = header.numbers("PixelIntensityRelationshipSign")
    except ValueError:
        sign = ()
    by_sign: Photometric = photometric
    if sign in {(1.0,), (-1.0,)}:
        by_sign = "MONOCHROME1" if sign == (1.0,) else "MONOCHROME2"
        if by_sign != photometric:
            notes.append("PixelIntensityRelationshipSign decided which values are bone")
    if header.text("PixelIntensityRelationship") not in ("LIN", "SQRT"):
        return values, by_sign
    largest = max(float(values.max()), (1 << bits) - 1)
    falls = by_sign != "MONOCHROME1"
    top = largest - float(values.min()) if falls else float(values.max())
    if top <= 0:
        return values, by_sign
    notes.append("values linear in the exposure were brought to their logarithm")

    def attenuation(band: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        intensity = np.float32(largest) - band if falls else band
        return -np.log(np.maximum(intensity, np.float32(top / _DYNAMIC_RANGE)))

    return in_bands(values, attenuation, out=values), "MONOCHROME2"


def _sample(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """About `_SAMPLE` values on a regular grid."""
    step = max(1, math.isqrt(max(1, values.size // _SAMPLE)))
    return values[::step, ::step]
