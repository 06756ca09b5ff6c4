"""What reading per file yields: the modality pixel values and the few header facts that grading needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from kellgren.read.signatures import Kind
from kellgren.vocabulary import Side, SideSource

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1, pixels."""


Format = Kind | Literal["ARRAY"]
"""What a radiograph was decoded from: a kind of file, or an array in memory."""


@dataclass(frozen=True, slots=True)
class Spacing:
    """Pixel spacing of a film.

    Attributes:
        row: Distance between the centres of adjacent rows, mm (DICOM PS3.3 10.7.1.3: the first value).
        column: Distance between the centres of adjacent columns, mm (the second value).
        source: `"calibrated"` (in the patient's plane), `"detector"` (in the detector's plane,
            magnification unknown) or `"user"`.
    """

    row: float
    column: float
    source: Literal["calibrated", "detector", "user"]


@dataclass(frozen=True, slots=True)
class Laterality:
    """Which knee a file shows, and how that is known.

    Attributes:
        side: `"R"`, `"L"`, or None when unknown, when the film shows both knees, or in a conflict.
        source: Where the side is from; None exactly when `side` is None.
        conflict: Plain words naming the disagreement when two sources contradict, else None.
        both: True when a tag says that the film shows both knees.
    """

    side: Side | None = None
    source: SideSource | None = None
    conflict: str | None = None
    both: bool = False


@dataclass(frozen=True, slots=True)
class Radiograph:
    """A decoded film as its file describes it; nothing has been guessed from the pixels.

    Attributes:
        path: The file.
        pixels: (H, W) float32 modality values (after rescale slope and intercept or modality LUT for
            DICOM; luminance 0 .. 2**bits - 1 for rasters). Not inverted.
        bits: Meaningful bits of the stored values, 1-16.
        photometric: `"MONOCHROME1"` (smallest value shown white), `"MONOCHROME2"`, or None where the
            format has no such word (rasters).
        spacing: Pixel spacing if the file states one.
        laterality: Side from tags and file name.
        padding: (H, W) bool mask of pixels that the file declares as padding, or None.
        format: `"DICOM"`, or as Pillow calls it: `"PNG"`, `"JPEG"`, `"TIFF"`, ...; or `"ARRAY"`.
        notes: Plain words about anything unusual met while reading, without patient data.
        flags: Plain words why a person must read the film, whatever its grade: a lateral view by the header,
            a raw image, a spacing that contradicts the user's.
        polarity: The user states it: `"normal"` where bone is bright as the file shows it, `"inverted"`
            where it is dark; None where nothing is said.
        orientation: EXIF orientation (1-8) by which the stored image was turned to be upright.
    """

    path: Path
    pixels: npt.NDArray[np.float32]
    bits: int
    photometric: Literal["MONOCHROME1", "MONOCHROME2"] | None
    spacing: Spacing | None
    laterality: Laterality
    padding: npt.NDArray[np.bool_] | None
    format: Format
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    polarity: Literal["normal", "inverted"] | None = None
    orientation: int = 1

    def stored_box(self, box: Box) -> Box:
        """Bring a box from the upright image to the image as it is stored (Exif 2.3, Orientation).

        Args:
            box: x0, y0, x1, y1 in pixels of `pixels`.
        """
        height, width = self.pixels.shape
        ends = [(box[0], box[1]), (box[2], box[3])]
        if self.orientation in (2, 3, 6, 7):
            ends = [(width - x, y) for x, y in ends]
        if self.orientation in (3, 4, 7, 8):
            ends = [(x, height - y) for x, y in ends]
        if self.orientation >= 5:
            ends = [(y, x) for x, y in ends]
        (x0, y0), (x1, y1) = ends
        return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
