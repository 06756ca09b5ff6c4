"""Which files to look at, and what they are by their first bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

Kind = Literal["DICOM", "PNG", "JPEG", "TIFF", "WEBP"]

_SUFFIXES: Final = frozenset(
    {"", ".dcm", ".dicom", ".ima", ".png", ".jpg", ".jpeg", ".jpe", ".tif", ".tiff", ".webp"}
)

_OTHER_KINDS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"%PDF", "a PDF document"),
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
)

# A data set without preamble begins with an element of group 0002 (file meta) or 0008 (identification),
# little endian: group, element, then an explicit VR or the four-byte length of a short implicit value.
_BARE_DICOM: Final = re.compile(rb"[\x02\x08]\x00..(?:[A-Z]{2}|..\x00\x00)", re.DOTALL)


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
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith((b"II*\x00", b"MM\x00*")):
        return "TIFF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return "DICOM" if _BARE_DICOM.match(head) else None


def describe_unknown(head: bytes) -> str:
    """Say in plain words what a file is that `sniff` does not know."""
    for magic, words in _OTHER_KINDS:
        if head.startswith(magic):
            return f"the file is {words}"
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        return "the file is text, not an image"
    return "the file is not an image"


def is_image_name(path: Path | str) -> bool:
    """Whether a file's name could be that of an image.

    Names without a suffix and names that end in a number (a UID as file name) count, since DICOM files
    are often called so.
    """
    name = Path(path)
    if name.name.startswith(".") or name.name == "DICOMDIR":
        return False
    suffix = name.suffix.lower()
    return suffix in _SUFFIXES or suffix[1:].isdigit()


def find_images(path: Path | str) -> Iterator[Path]:
    """Walk a folder and yield every file that a reader could mean, in sorted order.

    Args:
        path: A folder, or one file, which is yielded as it is, existing or not, so that a wrong name
            becomes a row with a reason and does not stop a run.

    Yields:
        Each regular file of the folder and those below it, except hidden ones and `DICOMDIR` (an index,
        not an image). Text and empty files are yielded too: `read` says what is wrong with them. Linked
        folders are not entered.
    """
    root = Path(path)
    if not root.is_dir():
        yield root
        return
    for entry in sorted(root.iterdir()):
        if entry.name.startswith(".") or entry.name == "DICOMDIR":
            continue
        if entry.is_dir():
            if not entry.is_symlink():
                yield from find_images(entry)
        elif entry.is_file():
            yield entry
