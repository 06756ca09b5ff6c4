"""Pixel spacing of a projection radiograph, and in which plane it holds (DICOM PS3.3 10.7.1)."""

from __future__ import annotations

import math
from typing import Final

from kellgren.read.radiograph import Spacing
from kellgren.read.tags import Header

# Detectors of radiography have pixels of 0.05 to 0.4 mm; a reduced copy may be coarser.
_SMALLEST_MM: Final = 0.01
_LARGEST_MM: Final = 2.0
_LARGEST_MAGNIFICATION: Final = 3.0

_AGREES: Final = 0.02
"""Spacings that differ by a smaller share say the same; so do the sides of a square pixel."""


def read_spacing(header: Header, notes: list[str], flags: list[str]) -> Spacing | None:
    """Read the spacing that the header states, and say for which plane.

    `"calibrated"` is a spacing that has been corrected for magnification: Pixel Spacing (0028,0030) with a
    Pixel Spacing Calibration Type (0028,0A02) of GEOMETRY or FIDUCIAL, or one that is smaller than Imager
    Pixel Spacing (0018,1164); PS3.3 10.7.1.3 says that the two being equal means no correction. In the
    patient a pixel is smaller than on the detector, never larger: a larger Pixel Spacing is that of a
    reduced copy. A spacing in the detector's plane is divided by Estimated Radiographic Magnification
    Factor (0018,1114, the ratio of source-to-detector to source-to-patient distance) where that says more
    than 1: this is the correction that the standard calls GEOMETRY. A factor of exactly 1 cannot be true
    of a knee and is taken as not filled in. All else is `"detector"`: Imager Pixel Spacing, Nominal Scanned
    Pixel Spacing (0018,2010) of a digitised film, and Pixel Spacing alone, about which the standard
    promises nothing.

    Args:
        header: The header.
        notes: Gets a line where a stated spacing is unusable or was converted.
        flags: Gets a line where pixels are not square: shapes are then not what the models know.

    Returns:
        The spacing in mm, rows before columns as in the tag, or None.
    """
    spacing = _decide(header, notes)
    ratio = spacing.row / spacing.column if spacing is not None else _aspect_ratio(header)
    if not math.isclose(ratio, 1, rel_tol=_AGREES):
        flags.append(f"pixels are not square by the header ({ratio:.3f} times as high as wide)")
    return spacing


def decide_spacing(by_header: Spacing | None, by_user: Spacing | None, flags: list[str]) -> Spacing | None:
    """Take the user's spacing before the header's, and flag what cannot both be true.

    The user's may be smaller than one in the detector's plane, which magnification explains, but not larger.

    Args:
        by_header: What `read_spacing` gave.
        by_user: What the user states.
        flags: Gets the contradiction.
    """
    if by_user is None or by_header is None:
        return by_user or by_header
    ratios = (by_user.row / by_header.row, by_user.column / by_header.column)
    lowest = 1 / _LARGEST_MAGNIFICATION if by_header.source == "detector" else 1 - _AGREES
    if not all(lowest <= ratio <= 1 + _AGREES for ratio in ratios):
        flags.append(
            f"the user says a pixel spacing of {by_user.row:g} x {by_user.column:g} mm, the header "
            f"{by_header.row:g} x {by_header.column:g} mm ({by_header.source})"
        )
    return by_user


def _decide(header: Header, notes: list[str]) -> Spacing | None:
    pixel = _pair(header, "PixelSpacing", notes)
    imager = _pair(header, "ImagerPixelSpacing", notes)
    if pixel and header.text("PixelSpacingCalibrationType") in {"GEOMETRY", "FIDUCIAL"}:
        return Spacing(*pixel, "calibrated")
    if pixel and imager:
        ratios = [p / i for p, i in zip(pixel, imager, strict=True)]
        if all(1 / _LARGEST_MAGNIFICATION <= ratio < 1 - 1e-4 for ratio in ratios):
            return Spacing(*pixel, "calibrated")
        if any(not math.isclose(ratio, 1, rel_tol=1e-4) for ratio in ratios):
            notes.append("PixelSpacing is no correction of ImagerPixelSpacing for magnification; resized?")
            return Spacing(*pixel, "detector")
    if imager:
        factor = _magnification(header, notes)
        if factor is None:
            return Spacing(*imager, "detector")
        notes.append(f"pixel spacing divided by the header's magnification of {factor:.3f}")
        return Spacing(imager[0] / factor, imager[1] / factor, "calibrated")
    scanned = pixel or _pair(header, "NominalScannedPixelSpacing", notes)
    return Spacing(*scanned, "detector") if scanned else None


def _pair(header: Header, keyword: str, notes: list[str]) -> tuple[float, float] | None:
    """(row, column) spacing in mm, or None with a note where the values cannot be true."""
    values = _numbers(header, keyword)
    if not values:
        return None
    if len(values) == 2 and usable_mm(values[0]) and usable_mm(values[1]):
        return values[0], values[1]
    notes.append(f"{keyword} is not usable and was left out")
    return None


def usable_mm(value: float) -> bool:
    """Whether a pixel of a radiograph can have this side, mm."""
    return _SMALLEST_MM <= value <= _LARGEST_MM


def _magnification(header: Header, notes: list[str]) -> float | None:
    """Return the stated magnification above 1, or None; a note where it cannot be true."""
    values = _numbers(header, "EstimatedRadiographicMagnificationFactor")
    if not values or values == (1.0,):
        return None
    if len(values) == 1 and 1.0 < values[0] <= _LARGEST_MAGNIFICATION:
        return values[0]
    notes.append("the header's magnification is not usable and was left out")
    return None


def _aspect_ratio(header: Header) -> float:
    """Height of a pixel by its width, by Pixel Aspect Ratio (0028,0034), vertical before horizontal."""
    values = _numbers(header, "PixelAspectRatio")
    return values[0] / values[1] if len(values) == 2 and all(v > 0 for v in values) else 1.0


def _numbers(header: Header, keyword: str) -> tuple[float, ...]:
    """All values; one that is not a number where an element holds none."""
    try:
        return header.numbers(keyword)
    except ValueError:
        return (math.nan,)
