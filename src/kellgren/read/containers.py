"""The archives that hold films: their tables of contents, and their members as streams.

Nothing here believes what an archive says of its own size.
"""

from __future__ import annotations

import gzip
import struct
import tempfile
import threading
import zipfile
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePath
from typing import IO, Final, Protocol

from kellgren.errors import UnreadableImage
from kellgren.read.signatures import HEAD

SUFFIXES: Final = (".zip", ".tar", ".tgz", ".gz")

_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")  # a first member; the end of an empty archive
_GZIP: Final = b"\x1f\x8b"
_TAR: Final = b"ustar"  # at 257
_BLOCK: Final = 512

_STEP: Final = 1 << 20
_IN_MEMORY: Final = 16 << 20
RATIO_FROM: Final = 1 << 20
"""Bytes from which it matters how many times a member is packed."""

# Methods whose decoder needs little memory; LZMA's takes what the file asks for.
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED: Final = 0x1

# What `zipfile` raises for damaged archives: RuntimeError for encrypted ones, the others by their structure.
BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    OverflowError,
)


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Bounds on an untrusted archive.

    Attributes:
        max_depth: Archives within each other, the outermost counted.
        max_members: Members of an archive and of those within it.
        max_directory: Size of an archive's table of contents, bytes: it is read as a whole.
        max_nested: Bytes of all archives within one archive, inflated.
        max_ratio: How many times its packed size a member may have, from a mebibyte on.
    """

    max_depth: int = 3
    max_members: int = 50_000
    max_directory: int = 8 << 20
    max_nested: int = 1 << 30
    max_ratio: int = 200


DEFAULT_ARCHIVE_LIMITS: Final = ArchiveLimits()


def is_container(name: str, head: bytes) -> bool:
    """Whether a file of this name and these first bytes is an archive."""
    suffix = PurePath(name).suffix.lower()
    if suffix == ".zip":
        return head[:4] in _ZIP
    return head.startswith(_GZIP) if suffix in (".gz", ".tgz") else head.startswith(_TAR, 257)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a container, by its table of contents."""

    name: str
    size: int
    packed: int
    method: str = ""  # why it cannot be inflated


class Container(Protocol):
    """An open archive of any kind."""

    entries: list[Entry]
    overlapping: bool

    def open(self, place: int) -> IO[bytes]:
        """The bytes of one entry, inflated as they are read."""


class _Zip:
    def __init__(self, file: IO[bytes]) -> None:
        self._archive = zipfile.ZipFile(_Wary(file, DEFAULT_ARCHIVE_LIMITS.max_directory))
        self._infos = [info for info in self._archive.infolist() if not _is_folder(info.filename)]
        self.entries = [
            Entry(info.filename or "unnamed", info.file_size, info.compress_size, _method(info))
            for info in self._infos
        ]
        self.overlapping = sum(entry.packed for entry in self.entries) > self._archive.start_dir

    def open(self, place: int) -> IO[bytes]:
        return self._archive.open(self._infos[place])


def _is_folder(name: str) -> bool:
    return name.endswith(("/", "\\"))


def _method(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted"
    return "" if info.compress_type in _METHODS else "is compressed in a way that is not read"


class _Tar:
    """The regular files of a tar archive (POSIX.1-1988 ustar, names of GNU and pax)."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._lock = file, threading.Lock()
        self.entries: list[Entry] = []
        self.overlapping = False
        self._starts: list[int] = []
        place, name = 0, ""
        while len(self.entries) <= DEFAULT_ARCHIVE_LIMITS.max_members:
            file.seek(place)
            head = file.read(_BLOCK)
            if len(head) < _BLOCK or not head.strip(b"\0"):
                break
            if not head.startswith(_TAR, 257) and place == 0:
                raise ValueError("no tar archive")
            size = _tar_number(head[124:136])
            kind = head[156:157]
            if kind in (b"L", b"x"):  # the name of what follows
                name = _tar_name(kind, file.read(min(size, _BLOCK * 16))) or name
            else:
                if kind in (b"0", b"\0", b"7"):
                    self.entries.append(Entry(name or _ustar_name(head), size, size))
                    self._starts.append(place + _BLOCK)
                name = ""
            place += _BLOCK + -(-size // _BLOCK) * _BLOCK
        file.seek(0, 2)
        self.overlapping = any(
            start + entry.size > file.tell() for start, entry in zip(self._starts, self.entries, strict=True)
        )

    def open(self, place: int) -> IO[bytes]:
        with self._lock:
            self._file.seek(self._starts[place])
            return BytesIO(self._file.read(self.entries[place].size))


def _tar_number(field: bytes) -> int:
    """A size, octal, or in base 256 where its first bit is set (GNU)."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    return int(field.strip(b"\0 ") or b"0", 8)


def _ustar_name(head: bytes) -> str:
    parts = [head[345:500], head[:100]] if head.startswith(_TAR + b"\0", 257) else [head[:100]]
    return "/".join(
        part.partition(b"\0")[0].decode("utf-8", "replace") for part in parts if part[:1] != b"\0"
    )


def _tar_name(kind: bytes, data: bytes) -> str:
    if kind == b"L":
        return data.partition(b"\0")[0].decode("utf-8", "replace")
    for record in data.split(b"\n"):  # "LENGTH path=NAME"
        key, _, value = record.partition(b" ")[2].partition(b"=")
        if key == b"path":
            return value.decode("utf-8", "replace")
    return ""


class _Gzip:
    """A single file that gzip compressed, inflated already."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._lock = file, threading.Lock()
        file.seek(0, 2)
        self.entries = [Entry(name, file.tell(), file.tell())]
        self.overlapping = False

    def open(self, place: int) -> IO[bytes]:
        del place
        with self._lock:
            self._file.seek(0)
            return BytesIO(self._file.read())


class _Wary:
    """A file that hands out no more at once than a table of contents may have, whatever length it states.

    `zipfile` reads members in small parts, but that table as a whole, by the size that the archive says.
    """

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._most = file, most
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size > self._most:
            raise zipfile.BadZipFile("its table of contents is too large")
        if size >= 0:
            return self._file.read(size)
        rest = self._file.read(self._most + 1)  # the last record, to the end of the file
        if len(rest) > self._most:
            raise zipfile.BadZipFile("its table of contents is too large")
        return rest


def open_container(file: IO[bytes], path: Path, max_bytes: int) -> Container:
    """Open an archive of any kind.

    Raises:
        UnreadableImage: It is damaged or too large.
    """
    try:
        head = file.read(HEAD)
        file.seek(0)
        if head[:4] in _ZIP:
            return _Zip(file)
        if head.startswith(_TAR, 257):
            return _Tar(file)
        inflated = _inflated(file, path, max_bytes)
        head = inflated.read(HEAD)
        inflated.seek(0)
        return _Tar(inflated) if head.startswith(_TAR, 257) else _Gzip(inflated, _inner_name(path))
    except BROKEN as error:
        file.close()
        raise damaged(error, path) from error


def _inner_name(path: Path) -> str:
    """Name of the file that gzip compressed: that of the archive without its last suffix."""
    return path.with_suffix(".tar").name if path.suffix.lower() == ".tgz" else path.stem


def _inflated(file: IO[bytes], path: Path, max_bytes: int) -> IO[bytes]:
    with gzip.GzipFile(fileobj=file, mode="rb") as packed:
        inflated = spooled(packed, path, max_bytes)
    file.seek(0, 2)
    if inflated.tell() > max(RATIO_FROM, DEFAULT_ARCHIVE_LIMITS.max_ratio * file.tell()):
        raise UnreadableImage(
            f"the archive is packed more than {DEFAULT_ARCHIVE_LIMITS.max_ratio} times, as no film is",
            path=path,
        )
    file.close()
    inflated.seek(0)
    return inflated


def spooled(stream: IO[bytes] | gzip.GzipFile, path: Path, max_bytes: int) -> IO[bytes]:
    """Write a stream to a temporary file, in memory while it is small.

    Raises:
        UnreadableImage: It is longer than `max_bytes`.
    """
    inner = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - the archive closes it
    while block := stream.read(_STEP):
        inner.write(block)
        if inner.tell() > max_bytes:
            raise UnreadableImage(f"the archive has more than {max_bytes} bytes", path=path)
    return inner


def damaged(error: Exception, path: Path) -> UnreadableImage:
    """What to say of an archive that cannot be read."""
    if isinstance(error, PermissionError):
        return UnreadableImage("the archive cannot be opened (PermissionError)", path=path)
    return UnreadableImage(
        f"the archive is damaged or cut short ({type(error).__name__})", path=path, remedy="copy it again"
    )
