"""Which files to look at, and what they are by their first bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from kellgren.errors import UnreadableImage, printable
from kellgren.read import archive
from kellgren.read.limits import DEFAULT_LIMITS, Limits

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


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes of one file are.

    Attributes:
        path: What messages call it. A file in an archive is called as if the archive were a folder.
        file: How tables call it: relative to the argument it came from, `/` between folders, and what
            cannot be printed written out.
        member: Its place in an archive, if it is in one.
        error: Why it has no bytes, where that is known already.
    """

    path: Path
    file: str
    member: archive.Member | None = None
    error: UnreadableImage | None = None

    def load(self, limits: Limits = DEFAULT_LIMITS) -> bytes:
        """Read its bytes.

        Args:
            limits: How many it may have.

        Raises:
            UnreadableImage: As `load`, or it cannot be taken out of its archive.
        """
        if self.error is not None:
            raise self.error
        return load(self.path, limits) if self.member is None else self.member.load(limits)


def load(path: Path, limits: Limits) -> bytes:
    """Read the bytes of a file.

    Args:
        path: The file.
        limits: How many it may have.

    Raises:
        UnreadableImage: The file is missing, empty, too large, no regular file, or cannot be opened.
    """
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for its other end
            raise UnreadableImage("not a regular file", path=path, remedy="name the files one by one")
        limits.check_bytes(path.stat().st_size, path)
        return path.read_bytes()
    except FileNotFoundError:
        broken = " that the link leads to" if path.is_symlink() else ""
        raise UnreadableImage(f"there is no such file{broken}", path=path) from None
    except (OSError, ValueError, MemoryError) as error:  # ValueError: a null byte in the name
        raise UnreadableImage(f"the file cannot be opened ({type(error).__name__})", path=path) from error


def find_images(path: Path | str, limits: Limits = DEFAULT_LIMITS) -> Iterator[Source]:
    """Walk a folder and its zip archives, and yield every file that a reader could mean, in sorted order.

    Args:
        path: A folder, or one file, which is yielded, existing or not, so that a wrong name becomes a row
            with a reason and does not stop a run. Of a zip archive its files are yielded.
        limits: Sizes of the files in archives.

    Yields:
        Each file of the folder and those below it, except hidden ones, `__MACOSX` and `DICOMDIR` (an index,
        not an image). Text, empty files, pipes and links that lead nowhere are yielded too: `load` or
        `read` says what is wrong with them, as it does of folders that cannot be opened. Linked folders are
        not entered.
    """
    root = Path(path)
    if root.is_dir():
        yield from _walk(root, root, limits)
    else:
        yield from _whole_or_members(root, root.name or str(root), limits)


def _walk(folder: Path, root: Path, limits: Limits) -> Iterator[Source]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        words = f"the folder cannot be opened ({type(error).__name__})"
        shown = printable(folder.relative_to(root).as_posix())
        yield Source(folder, shown, error=UnreadableImage(words, path=folder))
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name in archive.PASSED_OVER:
            continue
        try:
            is_folder = entry.is_dir()
        except OSError:  # the folder may be listed but not entered; `load` says so of each file
            is_folder = False
        if is_folder:
            if not entry.is_symlink():
                yield from _walk(entry, root, limits)
        else:
            yield from _whole_or_members(entry, entry.relative_to(root).as_posix(), limits)


def _whole_or_members(path: Path, file: str, limits: Limits) -> Iterator[Source]:
    """A file as it is, or those within it."""
    if not archive.is_archive(path):
        yield Source(path, printable(file))
        return
    empty = True
    for member in archive.members(path, limits):
        empty = False
        name = f"{file}/{member.name}" if member.name else file
        yield Source(member.path, printable(name), member, member.error)
    if empty:
        yield Source(path, printable(file), error=UnreadableImage("the archive holds no files", path=path))
