"""Pixel spacing of a projection radiograph, and in which plane it holds (DICOM PS3.3 10.7.1)."""

from __future__ import annotations

import math
from typing import Final

from pydicom.dataset import Dataset

from kellgren.read.radiograph import Spacing
from kellgren.read.tags import numbers, text

# Detectors of radiography have pixels of 0.05 to 0.4 mm; a reduced copy may be coarser.
_SMALLEST_MM: Final = 0.01
_LARGEST_MM: Final = 2.0
_LARGEST_MAGNIFICATION: Final = 3.0


def read_spacing(dataset: Dataset, notes: list[str]) -> Spacing | None:
    """Read the spacing that the header states, and say for which plane.

    `"calibrated"` is a spacing that has been corrected for magnification: Pixel Spacing (0028,0030) with a
    Pixel Spacing Calibration Type (0028,0A02) of GEOMETRY or FIDUCIAL, or one that differs from Imager
    Pixel Spacing (0018,1164); PS3.3 10.7.1.3 says that the two being equal means no correction. A spacing
    in the detector's plane is divided by Estimated Radiographic Magnification Factor (0018,1114, the
    ratio of source-to-detector to source-to-patient distance) where that says more than 1: this is the
    correction that the standard calls GEOMETRY. A factor of exactly 1 cannot be true of a knee and is
    taken as not filled in. All else is `"detector"`: Imager Pixel Spacing, Nominal Scanned Pixel Spacing
    (0018,2010) of a digitised film, and Pixel Spacing alone, about which the standard promises nothing.

    Args:
        dataset: The header.
        notes: Gets a line where a stated spacing is unusable or was converted.

    Returns:
        The spacing in mm, rows before columns as in the tag, or None.
    """
    pixel = _pair(dataset, "PixelSpacing", notes)
    imager = _pair(dataset, "ImagerPixelSpacing", notes)
    if pixel and text(dataset, "PixelSpacingCalibrationType") in {"GEOMETRY", "FIDUCIAL"}:
        return Spacing(*pixel, "calibrated")
    if (
        pixel
        and imager
        and not all(math.isclose(p, i, rel_tol=1e-4) for p, i in zip(pixel, imager, strict=True))
    ):
        return Spacing(*pixel, "calibrated")
    if imager:
        factor = _magnification(dataset, notes)
        if factor is None:
            return Spacing(*imager, "detector")
        notes.append(f"pixel spacing divided by the header's magnification of {factor:.3f}")
        return Spacing(imager[0] / factor, imager[1] / factor, "calibrated")
    scanned = pixel or _pair(dataset, "NominalScannedPixelSpacing", notes)
    return Spacing(*scanned, "detector") if scanned else None


def _pair(dataset: Dataset, keyword: str, notes: list[str]) -> tuple[float, float] | None:
    """(row, column) spacing in mm, or None with a note where the values cannot be true."""
    try:
        values = numbers(dataset, keyword)
    except (ValueError, TypeError):
        values = (math.nan,)
    if not values:
        return None
    if len(values) == 2 and all(_SMALLEST_MM <= v <= _LARGEST_MM for v in values):
        return values[0], values[1]
    notes.append(f"{keyword} is not usable and was left out")
    return None


def _magnification(dataset: Dataset, notes: list[str]) -> float | None:
    """Return the stated magnification above 1, or None; a note where it cannot be true."""
    try:
        values = numbers(dataset, "EstimatedRadiographicMagnificationFactor")
    except (ValueError, TypeError):
        values = (math.nan,)
    if not values or values == (1.0,):
        return None
    if len(values) == 1 and 1.0 < values[0] <= _LARGEST_MAGNIFICATION:
        return values[0]
    notes.append("the header's magnification is not usable and was left out")
    return None
