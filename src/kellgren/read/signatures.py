"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal

from kellgren.errors import UnreadableImage

Kind = Literal["DICOM", "PNG", "JPEG", "TIFF", "WEBP", "JPEG2000", "AVIF", "HEIF"]

_SIGNATURES: Final[tuple[tuple[bytes, Kind], ...]] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),  # BigTIFF
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)
_BRANDS: Final[dict[bytes, Kind]] = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIF"),
}
"""Major brands of files in boxes (ISO/IEC 23008-12 annex B, AV1 image file format)."""

# Kinds that are not read: the signature and its place, what to say, and whether it is an image.
_OTHER_KINDS: Final[tuple[tuple[int, bytes, str, bool], ...]] = (
    (0, b"GIF8", "a GIF image; save it as PNG", True),
    (0, b"BM", "a BMP image; save it as PNG", True),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image; save it as PNG", True),
    (0, b"\xff\x0a", "a JPEG XL image; save it as PNG", True),
    (344, b"n+1\0", "a NIfTI volume; export the radiograph as DICOM or PNG", True),
    (344, b"ni1\0", "a NIfTI volume; export the radiograph as DICOM or PNG", True),
    (0, b"ObjectType", "a MetaImage volume; export the radiograph as DICOM or PNG", True),
    (0, b"NRRD000", "an NRRD volume; export the radiograph as DICOM or PNG", True),
    (0, b"\x89HDF", "an HDF5 file; export the radiograph as DICOM or PNG", False),
    (0, b"%PDF", "a PDF document; export the radiograph from the PACS", False),
    (0, b"PK\3\4", "a zip archive; unpack it, or call it .zip", False),
    (0, b"Rar!", "a RAR archive; unpack it", False),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it", False),
    (0, b"\x1f\x8b", "a gzip archive; unpack it, or call it .gz", False),
    (257, b"ustar", "a tar archive; unpack it, or call it .tar", False),
    (0, b"MZ", "a program", False),
    (0, b"\x7fELF", "a program", False),
)

HEAD: Final = 512
"""Bytes of a file that tell what it is."""

# A data set without preamble begins with an element of group 0002 (file meta) or 0008 (identification),
# group, element, then an explicit VR or the four-byte length of a short implicit value. Big endian was
# explicit always (PS3.5 2006, annex A.3).
_BARE_DICOM: Final = re.compile(
    rb"(?:[\x02\x08]\x00..(?:[A-Z]{2}|..\x00\x00)|\x00[\x02\x08]\x00.[A-Z]{2})", re.DOTALL
)


def sniff(head: bytes) -> Kind | None:
    """Tell a file's kind by content, whatever its name says.

    Args:
        head: The file's first 132 bytes, or more.

    Returns:
        The kind, or None for anything that is not read. DICOM is known by `DICM` after the preamble
        (PS3.10 7.1) or by a plausible first element where the preamble was left out.
    """
    if head[128:132] == b"DICM":
        return "DICOM"
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp" and head[8:12] in _BRANDS:
        return _BRANDS[head[8:12]]
    return "DICOM" if _BARE_DICOM.match(head) else None


def unknown_kind(head: bytes, path: Path) -> UnreadableImage:
    """Say what a file is that `sniff` does not know, and what to do with it.

    Args:
        head: Its first `HEAD` bytes.
        path: Its name, for the message.
    """
    remedy = "DICOM, PNG, JPEG, TIFF, WebP and JPEG 2000 are read"
    for place, signature, words, _ in _OTHER_KINDS:
        if head.startswith(signature, place):
            what, _, advice = words.partition("; ")
            return UnreadableImage(f"the file is {what}", path=path, remedy=advice or remedy)
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        return UnreadableImage("the file is text, not an image", path=path, remedy=remedy)
    return UnreadableImage("the file is not an image", path=path, remedy=remedy)


def is_image(head: bytes) -> bool:
    """Whether a file begins as images do, those too that are not read."""
    other = any(image and head.startswith(magic, place) for place, magic, _, image in _OTHER_KINDS)
    return sniff(head) is not None or other
