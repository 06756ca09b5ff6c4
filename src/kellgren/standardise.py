"""Film stage: one grey scale for every film, whatever file it came from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

from kellgren.errors import NotAKnee
from kellgren.read.radiograph import Laterality, Radiograph, Spacing

_FULL: Final = 65535
"""The brightest value of a film."""

# The range is taken from about this many pixels on a regular grid: sorting more changes nothing.
_SAMPLE: Final = 32768

# Scaled in bands of about this many pixels: a film of 20 million pixels is 80 MB in single precision.
_BAND: Final = 1 << 18

# Share of the pixels beyond either end of the range. Small, because on a whole film the bright rims of the
# joint are well below one percent of the image; large enough to pass over dead pixels.
_TAIL: Final = 0.001

# A radiograph has hundreds of grey values, a drawing or a mask a handful.
_FEWEST_LEVELS: Final = 8

# The polarity check looks at the film reduced to this many pixels square, whatever its size.
_THUMB: Final = 64
_MARGIN: Final = 2
_CENTRE: Final = (slice(16, 48), slice(8, 56))

INVERTED_ABOVE: Final = 0.12
"""Margins that are lighter than the centre by more than this share of the range speak for an inverted image:
a raster is inverted, a header is doubted."""

# A step between neighbouring columns of the reduced film that is steeper than any limb's outline: the
# straight edge of a collimator or a scanner's frame, whose white says nothing about the air.
_STRAIGHT_EDGE: Final = 0.3


@dataclass(frozen=True, slots=True)
class Film:
    """A film on the common grey scale.

    Attributes:
        pixels: (H, W) uint16, 0 (least dense) .. 65535 (most dense): bone is bright.
        spacing: Pixel spacing, if known.
        laterality: Side and its source.
        inverted: Whether the film was inverted against the file's word, or, without one, as it was stored.
        polarity_source: `"header"` where the file's word was taken, `"image"` where the image decided,
            `"user"` where the user did.
        polarity_doubt: Whether the polarity needs a second opinion: no header states it, or the margins
            contradict the header (`kellgren.grade.polarity`).
        notes: Plain words for a reader, e.g. that the polarity tag contradicted the image.
        flags: Why a person must read the film whatever its grade, from reading it.
    """

    pixels: npt.NDArray[np.uint16]
    spacing: Spacing | None
    laterality: Laterality
    inverted: bool
    polarity_source: Literal["header", "image", "user"]
    polarity_doubt: bool
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


def standardise(radiograph: Radiograph, *, inverted: bool | None = None) -> Film:
    """Bring a radiograph to the common grey scale.

    The 0.1st to 99.9th percentile of the modality values, padding aside, is stretched linearly over 0 ..
    65535, so that rescaling a film changes nothing. MONOCHROME1 films are inverted within that known
    output range (DICOM PS3.3 C.7.6.3.1.2), not by their own maximum, which one marker would move. The user's
    word on the polarity decides; then the header stands; where there is neither, the margins decide
    (`margin_excess`). What margins say is weak evidence, since collimation may be painted in any grey:
    `polarity_doubt` asks for a better judge. Padding becomes 0.

    Args:
        radiograph: What `read` gave.
        inverted: The better judge's word: whether the film is the negative of what the file says.

    Returns:
        The film, bone bright.

    Raises:
        NotAKnee: The image holds one grey value only, or too few to be a radiograph.
    """
    valid = None if radiograph.padding is None else ~radiograph.padding
    low, high = _robust_range(radiograph, valid)
    pixels = np.empty(radiograph.pixels.shape, np.uint16)
    rows = max(1, _BAND // radiograph.pixels.shape[1])
    for start in range(0, len(pixels), rows):
        scaled = radiograph.pixels[start : start + rows] - np.float32(low)
        scaled *= np.float32(_FULL / (high - low))
        np.clip(scaled, 0, _FULL, out=scaled)
        pixels[start : start + rows] = np.rint(scaled, out=scaled)
    if radiograph.photometric == "MONOCHROME1":
        np.subtract(_FULL, pixels, out=pixels)

    notes, flags = list(radiograph.notes), list(radiograph.flags)
    header, stated = radiograph.photometric, radiograph.polarity
    doubt = False
    if stated is not None:
        inverted = stated == "inverted"
    elif inverted is None:
        contradicted = margin_excess(_without_padded_border(pixels, valid)) > INVERTED_ABOVE
        inverted = header is None and contradicted
        doubt = header is None or contradicted
    if inverted:
        np.subtract(_FULL, pixels, out=pixels)
        if stated is not None:
            notes.append("bone is dark in the image, as the user says; it was inverted")
        elif header is None:
            notes.append("bone is dark in the image; it was inverted")
        else:
            flags.append(f"the header says {header}, but a joint is seen only with bright and dark exchanged")
    source: Literal["header", "image", "user"] = "image" if header is None or inverted else "header"
    if radiograph.padding is not None:
        pixels[radiograph.padding] = 0
    return Film(
        pixels=pixels,
        spacing=radiograph.spacing,
        laterality=radiograph.laterality,
        inverted=inverted,
        polarity_source=source if stated is None else "user",
        polarity_doubt=doubt,
        notes=tuple(notes),
        flags=tuple(flags),
    )


def margin_excess(pixels: npt.NDArray[np.uint16]) -> float:
    """Measure how much lighter a film's left and right margins are than its centre.

    At the sides of a knee there is air or little soft tissue, in the middle there is bone: on a
    bone-bright film the margins are darker, on an inverted one lighter, and turning the film over changes
    nothing but the sign. It holds for crops of one joint and for whole films of one or two legs, since
    the centre is three quarters of the width and the middle half of the height. A margin that ends in
    a straight edge is a collimator's or a scanner's frame and is no evidence: it counts as 0.

    Args:
        pixels: (H, W) film on the common grey scale.

    Returns:
        Mean of the margins less mean of the centre, as a share of the range: -1 (plainly bone bright) .. 1
        (plainly inverted).
    """
    thumb = cv2.resize(pixels, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA) * np.float32(1 / _FULL)
    margins = np.concatenate([thumb[:, :_MARGIN], thumb[:, -_MARGIN:]], axis=1)
    excess = float(margins.mean() - thumb[_CENTRE].mean())
    profile = thumb[_CENTRE[0]].mean(axis=0)
    outer = _THUMB // 3
    inwards = np.concatenate([-np.diff(profile)[:outer], np.diff(profile)[-outer:]])
    if excess > 0 and inwards.max() > _STRAIGHT_EDGE:
        return 0.0
    return excess


def _robust_range(radiograph: Radiograph, valid: npt.NDArray[np.bool_] | None) -> tuple[float, float]:
    """Find the values that become 0 and 65535 (or 65535 and 0).

    Both ends are order statistics of the same rank from below and from above, so that a film and its
    negative have the same range, exactly.
    """
    step = max(1, math.ceil(math.sqrt(radiograph.pixels.size / _SAMPLE)))
    sample = radiograph.pixels[::step, ::step]
    sample = sample.ravel() if valid is None else sample[valid[::step, ::step]]
    if sample.size:
        rank = int(_TAIL * (sample.size - 1))
        parted = np.partition(sample, (rank, sample.size - 1 - rank))
        low, high = float(parted[rank]), float(parted[-1 - rank])
        if high > low:
            levels = np.unique(sample[::5]).size
            if levels < _FEWEST_LEVELS:
                raise NotAKnee(f"the image holds about {levels} grey values only", path=radiograph.path)
            return low, high
    raise NotAKnee("the image holds one grey value only", path=radiograph.path)


def _without_padded_border(
    pixels: npt.NDArray[np.uint16], valid: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.uint16]:
    """Cut out the smallest rectangle of the film that holds every pixel which is not padding."""
    if valid is None:
        return pixels
    rows, columns = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
