"""From the bytes of a DICOM file to its header and its undecoded pixels (PS3.10 7, PS3.5 A)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.datadict import tag_for_keyword

from kellgren.errors import UnreadableImage
from kellgren.read.elements import UNDEFINED, ElementReader, Elements
from kellgren.read.limits import Limits
from kellgren.read.syntaxes import BIG_ENDIAN, COMPRESSED, DEFLATED, EXPLICIT, IMPLICIT, NATIVE, syntax_name
from kellgren.read.tags import Header

# Everything that is looked at. Names, dates and identifiers are never taken into memory.
_KEYWORDS: Final = (
    "SOPClassUID", "Modality", "PresentationIntentType", "BodyPartExamined", "BurnedInAnnotation",
    "ViewPosition", "EstimatedRadiographicMagnificationFactor", "ImagerPixelSpacing",
    "NominalScannedPixelSpacing", "PixelSpacing", "PixelSpacingCalibrationType", "PixelAspectRatio",
    "Laterality", "ImageLaterality", "FrameLaterality", "PatientOrientation", "SamplesPerPixel",
    "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "PixelIntensityRelationship", "PixelIntensityRelationshipSign",
    "RescaleIntercept", "RescaleSlope", "ModalityLUTSequence", "VOILUTSequence", "VOILUTFunction",
    "WindowCenter", "WindowWidth", "PresentationLUTShape", "LossyImageCompression",
    "LossyImageCompressionRatio", "RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "PatientOrientationCodeSequence",
)  # fmt: skip

# Overlays are a repeating group, 6000 to 601E; looked at is only where one lies (PS3.3 C.9.2).
_OVERLAY_GROUPS: Final = range(0x6000, 0x6020, 2)

_WANTED: Final = frozenset(
    {
        *(int(tag) for keyword in _KEYWORDS if (tag := tag_for_keyword(keyword)) is not None),
        *(group << 16 | 0x0102 for group in _OVERLAY_GROUPS),
    }
)
_PIXEL_DATA: Final = 0x7FE00010
_PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, _PIXEL_DATA})  # of floats, of doubles, of integers

_PREAMBLE: Final = bytes(128) + b"DICM"
_INFLATE_STEP: Final = 1 << 20
_HEADER_ROOM: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Parsed:
    """A DICOM file taken apart.

    Attributes:
        header: The elements that grading looks at.
        syntax: Transfer syntax UID.
        sop_class: What kind of object it is, by the header or else by the file meta group.
        pixels: Value of Pixel Data as it lies in the file, to its end or the end of the file; None without.
        word_pixels: Whether Pixel Data is said to be of 16-bit words (VR OW), which matters for bytes stored
            big endian.
        floating: Whether the pixels are floating-point ones.
        overlay_bits: Whether an overlay is said to lie in unused bits of the pixels (retired, PS3.5 8.1.2).
    """

    header: Header
    syntax: str
    sop_class: str | None
    pixels: memoryview | None
    word_pixels: bool
    floating: bool
    overlay_bits: bool


def parse(data: bytes, path: Path, limits: Limits) -> Parsed:
    """Take a DICOM file apart without decoding pixels, and inflating no more than a film can need.

    Args:
        data: The whole file; preamble, file meta group or both may be missing.
        path: Its name, for messages.
        limits: Sizes.

    Raises:
        UnreadableImage: The transfer syntax is not read, or a deflated data set is damaged or too large.
    """
    if data[128:132] != b"DICM" and data.startswith(b"\x02\x00"):
        data = _PREAMBLE + data  # only the preamble was left out
    place = 0
    syntax = media = None
    if data[128:132] == b"DICM":
        reader = ElementReader(memoryview(data), path, implicit=False, little=True)
        meta, place = reader.read(len(_PREAMBLE), lambda _: True, lambda tag: tag >> 16 != 2)
        syntax = Header((meta,), path).text("TransferSyntaxUID")
        media = Header((meta,), path).text("MediaStorageSOPClassUID")
    if syntax is not None and syntax not in (*NATIVE, *COMPRESSED):
        raise UnreadableImage(
            f"the transfer syntax {syntax_name(syntax)} is not read",
            path=path,
            remedy="convert the file to Explicit VR Little Endian",
        )
    if syntax == DEFLATED:
        data, place = _inflate(data[place:], path, limits), 0
    guessed, implicit = _encoding(data[place : place + 6], syntax)
    reader = ElementReader(memoryview(data), path, implicit=implicit, little=guessed != BIG_ENDIAN)
    elements, place = reader.read(place, _WANTED.__contains__, _PIXELS.__contains__)
    pixel_tag, words, pixels = None, True, None
    if place + 8 <= len(data):
        pixel_tag, representation, length, start = reader.head(place, implicit)
        words = representation in (None, b"OW")
        pixels = memoryview(data)[start : None if length == UNDEFINED else start + length]
    header = Header((elements,), path)
    return Parsed(
        header=header,
        syntax=guessed,
        sop_class=header.text("SOPClassUID") or media,
        pixels=pixels if pixel_tag == _PIXEL_DATA else None,
        word_pixels=words,
        floating=pixel_tag in _PIXELS and pixel_tag != _PIXEL_DATA,
        overlay_bits=any(_bit_position(elements, group) for group in _OVERLAY_GROUPS),
    )


def _encoding(first: bytes, syntax: str | None) -> tuple[str, bool]:
    """Transfer syntax, guessed from the first element where none is stated, and whether VRs are implicit.

    A group number beyond 0x00FF in a first element that has a VR is one read from the wrong end. Files
    that state an explicit syntax and have no VRs, or the reverse, exist; what is there decides.
    """
    explicit = len(first) == 6 and first[4:].isalpha() and first[4:].isupper()
    if syntax is None:
        big = explicit and first[0] == 0
        syntax = BIG_ENDIAN if big else EXPLICIT if explicit else IMPLICIT
    return syntax, not explicit


def _bit_position(elements: Elements, group: int) -> int:
    """Overlay Bit Position (60xx,0102); 0 where the overlay has a plane of its own, or is not there."""
    element = elements.get(group << 16 | 0x0102)
    return 0 if element is None else max(element.value, default=0)


def _inflate(packed: bytes, path: Path, limits: Limits) -> bytes:
    """Inflate a data set (RFC 1951, without zlib's header) up to what the largest film would need."""
    bound = min(limits.max_bytes, 2 * limits.max_pixels + _HEADER_ROOM)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = bytearray()
    try:
        # Fed in small parts, since zlib copies what it has not yet used.
        for start in range(0, len(packed), _INFLATE_STEP):
            rest = packed[start : start + _INFLATE_STEP]
            while rest and not inflater.eof:
                inflated += inflater.decompress(rest, _INFLATE_STEP)
                rest = inflater.unconsumed_tail
                if len(inflated) > bound:
                    raise UnreadableImage(
                        f"the deflated DICOM file holds more than the {bound} bytes that are read", path=path
                    )
        inflated += inflater.flush() if not inflater.eof else b""
    except zlib.error:
        raise UnreadableImage("the deflated DICOM file is damaged", path=path) from None
    return bytes(inflated)
