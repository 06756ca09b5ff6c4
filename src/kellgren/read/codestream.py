"""What a compressed image states about itself, read without decompressing it.

A decoder allocates what the code stream says, not what the DICOM header says, so that a file of a few
kilobytes could otherwise ask for gigabytes.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import simplejpeg

from kellgren.errors import UnreadableImage

# Start-of-frame markers: baseline to lossless JPEG (ITU-T T.81 table B.1) and JPEG-LS (T.87).
_START_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_START_OF_SCAN: Final = 0xDA
_SCAN: Final = bytes([0xFF, _START_OF_SCAN])
_END: Final = 0xD9
_JPEG_LS: Final = 0xF7
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_J2K: Final = b"\xff\x4f\xff\x51"  # SOC, SIZ (ITU-T T.800 A.4.1, A.5.1)

_MOST_SCANS: Final = 64
"""Programs that write progressive JPEG use about ten. A decoder goes through the whole image for each."""

_RUNS_HEADER: Final = 64

DAMAGED: Final = "bytes of the JPEG are damaged: parts of the image may be wrong"
"""Flag of a film of which `has_damaged_codes` is true."""


@dataclass(frozen=True, slots=True)
class Codestream:
    """The image that a code stream announces.

    Attributes:
        rows: Height, pixels.
        columns: Width, pixels.
        samples: Components of a pixel.
        precision: Bits of a component.
    """

    rows: int
    columns: int
    samples: int
    precision: int


def read_codestream(stream: bytes) -> Codestream | None:
    """Read the header of a JPEG, JPEG-LS, JPEG 2000 or HTJ2K code stream.

    Args:
        stream: The encapsulated frame.

    Returns:
        What it announces, or None where the stream is of none of these kinds or broken before it says so.
    """
    try:
        start = stream.find(_J2K, 0, 4096)  # a JP2 box header may come before the code stream
        if start >= 0:
            right, below, left, above = struct.unpack_from(">4I", stream, start + 8)
            samples, depth = struct.unpack_from(">HB", stream, start + 40)
            return Codestream(below - above, right - left, samples, (depth & 0x7F) + 1)
        return _read_jpeg(stream) if stream.startswith(b"\xff\xd8") else None
    except (struct.error, IndexError):
        return None


def _read_jpeg(stream: bytes) -> Codestream | None:
    position = 2
    while stream[position] == 0xFF:
        marker = stream[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in _START_OF_FRAME:
            precision, rows, columns, samples = struct.unpack_from(">B2HB", stream, position + 4)
            return Codestream(rows, columns, samples, precision)
        elif marker == _START_OF_SCAN:
            return None
        elif marker in _WITHOUT_LENGTH:
            position += 2
        else:
            position += 2 + struct.unpack_from(">H", stream, position + 2)[0]
    return None


def check_scans(stream: bytes, path: Path) -> None:
    """Refuse a JPEG that costs far more time than its size, by its number of scans.

    Within coded data 0xFF is never followed by a marker's code (ITU-T T.81 B.1.1.5, T.87 A.1), so that
    counting the bytes of the marker counts scans, and those of a preview in the metadata.

    Args:
        stream: The JPEG.
        path: The file, for the message.

    Raises:
        UnreadableImage: There are more than any program writes.
    """
    if stream.count(_SCAN) > _MOST_SCANS:
        raise UnreadableImage(
            f"the JPEG has more than {_MOST_SCANS} scans, which no film needs",
            path=path,
            remedy="save it as baseline JPEG",
        )


def check_runs(frame: bytes, plane: int, path: Path) -> None:
    """Refuse a run length encoded frame whose segments would expand far beyond a plane of the image.

    Two bytes stand for up to 128 (PS3.5 G.3.1), and decoders expand a whole segment before they compare.

    Args:
        frame: The frame.
        plane: Bytes of one segment when decoded: one for each pixel.
        path: The file, for the message.

    Raises:
        UnreadableImage: A segment expands to more than twice that, or the frame has no header.
    """
    if len(frame) < _RUNS_HEADER:
        raise UnreadableImage("the run length encoded pixels are cut short", path=path)
    count, *offsets = struct.unpack_from("<16I", frame)
    starts = offsets[: min(count, 15)]
    for start, end in zip(starts, [*starts[1:], len(frame)], strict=True):
        place, size = start, 0
        while place < min(end, len(frame)):
            code = frame[place]
            place += code + 2 if code < 128 else 1 if code == 128 else 2
            size += code + 1 if code < 128 else 0 if code == 128 else 257 - code
            if size > 2 * plane + 1024:
                raise UnreadableImage(
                    "the run length encoded pixels are more than the header states", path=path
                )


def has_damaged_codes(stream: bytes) -> bool:
    """Whether a baseline or progressive JPEG of 8 bits is decoded, but only by guessing over damaged bytes.

    libjpeg goes on where a code makes no sense, where data are missing or left over, and warns. About three
    in four JPEGs with a few changed bytes are known by that; in the others the codes make sense.
    """
    with suppress(ValueError):
        simplejpeg.decode_jpeg(stream, colorspace="GRAY", strict=True)
        return False
    with suppress(ValueError):
        simplejpeg.decode_jpeg(stream, colorspace="GRAY", strict=False)
        return True
    return False


def check_jpeg(stream: bytes, path: Path) -> None:
    """Refuse a JPEG that is not whole: one image, its segments in order, its end there.

    Code streams of JPEG 2000 and what begins like none of both pass: they have checks of their own.

    Args:
        stream: The JPEG, or JPEG-LS; what follows its end is not looked at.
        path: The file, for the message.

    Raises:
        UnreadableImage: It is damaged.
    """
    if stream.startswith(b"\xff\xd8") and not _is_whole(stream):
        raise UnreadableImage("the compressed image is damaged or cut short", path=path)


def _is_whole(stream: bytes) -> bool:
    place, frames, scans, stuffed = 2, 0, 0, 1
    try:
        while stream[place] == 0xFF:
            marker = stream[place + 1]
            if marker == _END:
                return frames == 1 and scans > 0
            if marker == 0xFF:
                place += 1
                continue
            if marker in _WITHOUT_LENGTH or marker < 0xC0:
                return False
            frames += marker in _START_OF_FRAME
            stuffed = 0x80 if marker == _JPEG_LS else stuffed
            length = struct.unpack_from(">H", stream, place + 2)[0]
            if length < 2 or frames > 1:
                return False
            place += 2 + length
            if marker == _START_OF_SCAN:
                scans += 1
                place = _after_codes(stream, place, stuffed)
    except (struct.error, IndexError):
        pass
    return False


def _after_codes(stream: bytes, place: int, stuffed: int) -> int:
    """Place of the first marker behind coded data, restarts aside.

    A byte 0xFF of the data is followed by one below `stuffed`: 0 in JPEG (T.81 B.1.1.5), a bit of 0 in
    JPEG-LS (T.87 A.1).
    """
    while True:
        place = stream.find(b"\xff", place)
        if place < 0:
            raise IndexError
        after = stream[place + 1]
        if stuffed <= after < 0xD0 or after > 0xD7:
            return place
        place += 2
