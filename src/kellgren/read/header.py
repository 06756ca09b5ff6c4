"""From the bytes of a DICOM file to its header and its undecoded pixels (PS3.10 7, PS3.5 A)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag, Tag

from kellgren.errors import UnreadableImage
from kellgren.read.limits import Limits
from kellgren.read.syntaxes import BIG_ENDIAN, COMPRESSED, DEFLATED, EXPLICIT, IMPLICIT, NATIVE, syntax_name
from kellgren.read.tags import Header, MeteredStream

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

_TAGS: Final[list[BaseTag | int]] = [
    *(Tag(keyword) for keyword in _KEYWORDS),
    *(Tag(group, 0x0102) for group in _OVERLAY_GROUPS),
]
_PIXEL_DATA: Final = 0x7FE00010
_PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, _PIXEL_DATA})  # of floats, of doubles, of integers

_PREAMBLE: Final = bytes(128) + b"DICM"
_UNDEFINED: Final = 0xFFFFFFFF
_LONG_VR: Final = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN"})
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
    stream = MeteredStream(data, path)
    syntax = media = None
    if data[128:132] == b"DICM":
        stream.seek(len(_PREAMBLE))
        meta = _elements(stream, None, False, True, lambda tag, _vr, _length: tag >> 16 != 2)
        syntax = Header((meta,), path).text("TransferSyntaxUID")
        media = Header((meta,), path).text("MediaStorageSOPClassUID")
    if syntax is not None and syntax not in (*NATIVE, *COMPRESSED):
        raise UnreadableImage(
            f"the transfer syntax {syntax_name(syntax)} is not read",
            path=path,
            remedy="convert the file to Explicit VR Little Endian",
        )
    if syntax == DEFLATED:
        data = _inflate(stream.read(), path, limits)
        stream = MeteredStream(data, path)
    guessed, implicit = _encoding(stream, syntax)
    little = guessed != BIG_ENDIAN
    dataset = _elements(stream, _TAGS, implicit, little, lambda tag, _vr, _length: tag in _PIXELS)
    tag, words, pixels = _pixel_element(stream, data, implicit, little)
    header = Header((dataset,), path)
    return Parsed(
        header=header,
        syntax=guessed,
        sop_class=header.text("SOPClassUID") or media,
        pixels=pixels if tag == _PIXEL_DATA else None,
        word_pixels=words,
        floating=tag is not None and tag != _PIXEL_DATA,
        overlay_bits=any(_bit_position(dataset, group) for group in _OVERLAY_GROUPS),
    )


def _elements(
    stream: MeteredStream,
    tags: list[BaseTag | int] | None,
    implicit: bool,
    little: bool,
    stop: Callable[[BaseTag, str | None, int], bool],
) -> Dataset:
    """Read elements, all or the named ones, unconverted, and leave the stream where `stop` says so."""
    found = data_element_generator(stream, implicit, little, stop_when=stop, specific_tags=tags)
    dataset = Dataset({element.tag: element for element in found})
    dataset.set_original_encoding(implicit, little)
    return dataset


def _encoding(stream: MeteredStream, syntax: str | None) -> tuple[str, bool]:
    """Transfer syntax, guessed from the first element where none is stated, and whether VRs are implicit.

    A group number beyond 0x00FF in a first element that has a VR is one read from the wrong end. Files
    that state an explicit syntax and have no VRs, or the reverse, exist; what is there decides.
    """
    start = stream.tell()
    first = stream.read(6)
    stream.seek(start)
    explicit = len(first) == 6 and first[4:].isalpha() and first[4:].isupper()
    if syntax is None:
        big = explicit and first[0] == 0
        syntax = BIG_ENDIAN if big else EXPLICIT if explicit else IMPLICIT
    return syntax, not explicit


def _bit_position(dataset: Dataset, group: int) -> int:
    """Overlay Bit Position (60xx,0102); 0 where the overlay has a plane of its own, or is not there."""
    tag = Tag(group, 0x0102)
    element = dataset.get_item(tag) if tag in dataset else None
    value = element.value if element is not None else None
    return max(value, default=0) if isinstance(value, bytes) else 0


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


def _pixel_element(
    stream: MeteredStream, data: bytes, implicit: bool, little: bool
) -> tuple[int | None, bool, memoryview | None]:
    """Tag of the pixel element that the stream stands at, whether of words, and its value without a copy."""
    order = "<" if little else ">"
    head = stream.read(8)
    if len(head) < 8:
        return None, False, None
    group, element = struct.unpack(f"{order}2H", head[:4])
    words = True
    if implicit or not head[4:6].isalpha():
        length = struct.unpack(f"{order}I", head[4:])[0]
    else:
        words = head[4:6] == b"OW"
        if head[4:6] in _LONG_VR:
            length = struct.unpack(f"{order}I", stream.read(4))[0]
        else:
            length = struct.unpack(f"{order}H", head[6:])[0]
    value = memoryview(data)[stream.tell() :]
    return group << 16 | element, words, value if length == _UNDEFINED else value[:length]
