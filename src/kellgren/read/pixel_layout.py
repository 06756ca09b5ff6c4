"""How the pixels of a DICOM image lie in memory, checked before anything believes it (PS3.3 C.7.6.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kellgren.errors import UnreadableImage
from kellgren.read.limits import Limits
from kellgren.read.tags import Header

GREY: Final = ("MONOCHROME1", "MONOCHROME2")
PALETTE: Final = "PALETTE COLOR"
COLOURS: Final = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
"""Three samples a pixel; the rest of the standard's list is retired or of video."""

_MOST_FRAMES: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """The Image Pixel module's numbers.

    Attributes:
        rows: Height, pixels.
        columns: Width, pixels.
        samples: 1 for grey and palette, 3 for colour.
        photometric: Photometric Interpretation.
        allocated: Bits of a sample in memory, 8 or 16.
        stored: Bits of a sample that mean something, 8-16.
        high: The highest of these, counted from 0; `stored` - 1 but in old files.
        signed: Whether samples are two's complement.
        planar: 1 where whole planes of one colour follow each other; None where the header of an uncompressed
            colour image does not say.
        frames: Number of frames, at least 1.
    """

    rows: int
    columns: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    high: int
    signed: bool
    planar: int | None
    frames: int

    @property
    def frame_bytes(self) -> int:
        """Size of one uncompressed frame."""
        samples = self.rows * self.columns * self.samples
        if self.photometric == "YBR_FULL_422":  # two pixels share their chroma (PS3.3 C.7.6.3.1.2)
            samples = samples * 2 // 3
        return samples * self.allocated // 8


def read_pixel_layout(header: Header, limits: Limits, notes: list[str]) -> PixelLayout:
    """Read and check the layout.

    Args:
        header: The header.
        limits: Sizes.
        notes: Gets a line where the header contradicts itself.

    Raises:
        UnreadableImage: A number is missing, impossible, or of a kind that is not read.
    """
    photometric, samples = _photometric(header, notes), header.integer("SamplesPerPixel")
    colours = 3 if photometric in COLOURS else 1
    limits.check_size(header.integer("Rows"), header.integer("Columns"), header.path, colours=colours)
    if samples != (3 if photometric in COLOURS else 1):
        raise UnreadableImage(
            f"the DICOM image is {photometric} and has {samples} samples per pixel", path=header.path
        )
    allocated, stored = header.integer("BitsAllocated"), header.integer("BitsStored")
    high = stored - 1
    if "HighBit" in header:
        high = header.integer("HighBit")
    else:
        notes.append(f"HighBit is missing; {high} was assumed")
    # Before 2007 the stored bits could lie anywhere in the allocated ones; since then High Bit is one less
    # than Bits Stored (PS3.5 8.1.1).
    if allocated not in (8, 16) or not 8 <= stored <= allocated or not stored - 1 <= high < allocated:
        raise UnreadableImage(
            f"the pixel layout is not read: {allocated} bits allocated, {stored} stored, high bit {high}",
            path=header.path,
            remedy="8 to 16 stored bits in 8 or 16 allocated ones are read",
        )
    sign = header.integer("PixelRepresentation")
    if sign not in (0, 1) or (sign and photometric not in GREY):
        raise UnreadableImage("the DICOM header has an unusable PixelRepresentation", path=header.path)
    planar: int | None = 0
    if samples > 1 and photometric != "YBR_FULL_422":  # which lies one way only (PS3.3 C.7.6.3.1.2)
        planar = header.integer("PlanarConfiguration") if "PlanarConfiguration" in header else None
    if planar not in (0, 1, None):
        raise UnreadableImage("the DICOM header has an unusable PlanarConfiguration", path=header.path)
    return PixelLayout(
        rows=header.integer("Rows"),
        columns=header.integer("Columns"),
        samples=samples,
        photometric=photometric,
        allocated=allocated,
        stored=stored,
        high=high,
        signed=sign == 1,
        planar=planar,
        frames=_frames(header, notes),
    )


def _frames(header: Header, notes: list[str]) -> int:
    """Number of Frames; 1 where it is absent, empty or 0, which some programs write into single images."""
    try:
        stated = header.numbers("NumberOfFrames")
    except ValueError:
        stated = (-1.0,)
    if not stated:
        return 1
    if not (0 <= stated[0] < _MOST_FRAMES and stated[0].is_integer()):
        raise UnreadableImage("the DICOM header has an unusable NumberOfFrames", path=header.path)
    if stated[0] == 0:
        notes.append("NumberOfFrames is 0; 1 was assumed")
    return max(1, int(stated[0]))


def _photometric(header: Header, notes: list[str]) -> str:
    """Photometric Interpretation, or else what Presentation LUT Shape implies."""
    stated = header.text("PhotometricInterpretation")
    # INVERSE goes with MONOCHROME1, IDENTITY with MONOCHROME2 (PS3.3 C.8.11.3.1.2).
    shape = header.text("PresentationLUTShape")
    by_shape = {"INVERSE": "MONOCHROME1", "IDENTITY": "MONOCHROME2"}.get(shape or "")
    if stated is None and by_shape is not None:
        notes.append("PhotometricInterpretation is missing; PresentationLUTShape was used")
        return by_shape
    if stated is None:
        raise UnreadableImage("the DICOM header has no PhotometricInterpretation", path=header.path)
    if stated in GREY and by_shape is not None and stated != by_shape:
        notes.append("PhotometricInterpretation and PresentationLUTShape contradict each other")
    if stated not in (*GREY, PALETTE, *COLOURS):
        raise UnreadableImage(
            "the DICOM header has a PhotometricInterpretation that is not read",
            path=header.path,
            remedy="export the image in grey",
        )
    return stated
