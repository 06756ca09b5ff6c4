"""DICOM transfer syntaxes: which are read, and which of them this installation can decode."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Final

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, AllTransferSyntaxes

IMPLICIT: Final = "1.2.840.10008.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
"""Explicit little endian whose data set is deflated as a whole (PS3.5 A.5)."""

NATIVE: Final = (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED)
"""The pixels themselves are not compressed (PS3.5 A.1 - A.3, A.5)."""

RLE: Final = "1.2.840.10008.1.2.5"
"""Run length encoding (PS3.5 8.2.2), which pydicom decodes by itself."""

JPEG_LOSSLESS: Final = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
"""Lossless JPEG with any predictor, and with the first one (PS3.5 10.2, process 14)."""

JPEG_LS: Final = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
"""JPEG-LS, lossless and near-lossless (PS3.5 8.2.3)."""

BASELINE: Final = "1.2.840.10008.1.2.4.50"
"""JPEG of 8 bits (PS3.5 10.2, process 1)."""

EXTENDED: Final = "1.2.840.10008.1.2.4.51"
"""JPEG of 8 or 12 bits (PS3.5 10.2, process 2 and 4)."""

COMPRESSED: Final = (
    RLE,
    *(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203)),
)
"""RLE, JPEG, JPEG-LS, JPEG 2000 and HTJ2K (PS3.5 10.2 - 10.4, 10.18)."""


def syntax_name(uid: str) -> str:
    """Name and UID of a transfer syntax; what is no UID is not quoted, since it may be anything."""
    name = next((f"{known.name} ({uid})" for known in AllTransferSyntaxes if known == uid), None)
    return name or (uid if _UID.fullmatch(uid) else "(not a UID)")


_UID: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]*)){1,30}")


def twelve_bit_jpeg() -> bool:
    """Whether JPEG of 12 bits can be decoded: pydicom leaves it to a GPL package, GDCM can do it too."""
    return find_spec("gdcm") is not None


def decodable() -> dict[str, bool]:
    """Whether each transfer syntax can be decoded here, by its name in the standard."""
    able = dict.fromkeys((UID(uid).name for uid in NATIVE), True)
    able |= {UID(uid).name: bool(get_decoder(UID(uid)).is_available) for uid in COMPRESSED}
    able[UID(EXTENDED).name] = able[UID(EXTENDED).name] and twelve_bit_jpeg()
    return able
