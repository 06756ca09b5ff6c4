"""DICOM transfer syntaxes: which are read, and which of them this installation can decode."""

from __future__ import annotations

from typing import Final

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

NATIVE: Final = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
"""Uncompressed: implicit and explicit little endian, explicit big endian (PS3.5 A.1 - A.3)."""

RLE: Final = "1.2.840.10008.1.2.5"
"""Run length encoding (PS3.5 8.2.2), which pydicom decodes by itself."""

COMPRESSED: Final = (
    RLE,
    *(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203)),
)
"""RLE, JPEG, JPEG-LS, JPEG 2000 and HTJ2K, single frame (PS3.5 10.2 - 10.4, 10.18)."""


def decodable() -> dict[str, bool]:
    """Whether each transfer syntax can be decoded here, by its name in the standard."""
    able = dict.fromkeys((UID(uid).name for uid in NATIVE), True)
    return able | {UID(uid).name: bool(get_decoder(UID(uid)).is_available) for uid in COMPRESSED}
