"""The size that a compressed image states about itself, read without decompressing it.

A decoder allocates what the code stream says, not what the DICOM header says, so that a file of a few
kilobytes could otherwise ask for gigabytes.
"""

from __future__ import annotations

import struct
from typing import Final

# Start-of-frame markers: baseline to lossless JPEG (ITU-T T.81 table B.1) and JPEG-LS (T.87).
_START_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_START_OF_SCAN: Final = 0xDA
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_J2K: Final = b"\xff\x4f\xff\x51"  # SOC, SIZ (ITU-T T.800 A.4.1, A.5.1)


def codestream_size(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns by a JPEG, JPEG-LS, JPEG 2000 or HTJ2K code stream.

    Args:
        stream: The first fragment of the encapsulated frame.

    Returns:
        (rows, columns), or None where the stream is of none of these kinds or broken before it says so.
    """
    try:
        start = stream.find(_J2K, 0, 4096)  # a JP2 box header may come before the code stream
        if start >= 0:
            right, below, left, above = struct.unpack_from(">4I", stream, start + 8)
            return below - above, right - left
        return _jpeg_size(stream) if stream.startswith(b"\xff\xd8") else None
    except (struct.error, IndexError):
        return None


def _jpeg_size(stream: bytes) -> tuple[int, int] | None:
    position = 2
    while stream[position] == 0xFF:
        marker = stream[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in _START_OF_FRAME:
            rows, columns = struct.unpack_from(">2H", stream, position + 5)
            return rows, columns
        elif marker == _START_OF_SCAN:
            return None
        elif marker in _WITHOUT_LENGTH:
            position += 2
        else:
            position += 2 + struct.unpack_from(">H", stream, position + 2)[0]
    return None
