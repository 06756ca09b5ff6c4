"""Films in zip archives, also in archives within them: bounded before anything is inflated, never unpacked.

Nothing is written under a name that an archive holds. A member is inflated into memory when it is read; an
archive in an archive goes to an unnamed temporary file when it is large.
"""

from __future__ import annotations

import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import IO, Final

from kellgren.errors import UnreadableImage, printable
from kellgren.read.limits import Limits

_MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06")  # a first member; the end of an empty archive

_STEP: Final = 1 << 20
_IN_MEMORY: Final = 16 << 20
_LONGEST_NAME: Final = 1024
_RATIO_FROM: Final = 1 << 20
PASSED_OVER: Final = frozenset({"__MACOSX", "DICOMDIR"})
"""What programs for Macs add to archives, and the index of a medium, which is no image."""


# Methods whose decoder needs little memory; LZMA's takes what the file asks for.
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED: Final = 0x1

# What `zipfile` raises for damaged archives: RuntimeError for encrypted ones, the others by their structure.
_BROKEN: Final = (
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


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive, or why there is none.

    Attributes:
        archive: The outermost archive.
        modified_ns: When that was last changed, so that a changed one is opened anew.
        places: Its place in that archive, or those of the archives between and its own in the last.
        name: How it is called below the archive: `inner.zip/a.dcm`. Safe to show, and as a relative path.
        error: Why it cannot be read, where that is known without inflating it.
    """

    archive: Path
    modified_ns: int
    places: tuple[int, ...]
    name: str
    error: UnreadableImage | None = None

    @property
    def path(self) -> Path:
        """What messages call it; no file has this path."""
        return self.archive / self.name

    def load(self, limits: Limits) -> bytes:
        """Inflate it.

        Raises:
            UnreadableImage: It is too large, encrypted or damaged.
        """
        if self.error is not None:
            raise self.error
        archive = _open_nested(self.archive, self.modified_ns, self.places[:-1], limits.max_bytes)
        info = archive.infolist()[self.places[-1]]
        try:
            data = BytesIO()
            with archive.open(info) as stream:
                while block := stream.read(_STEP):
                    data.write(block)
                    limits.check_bytes(data.tell(), self.path)
        except _BROKEN as error:
            raise _damaged(error, self.path) from error
        limits.check_bytes(data.tell(), self.path)
        return data.getvalue()


def is_archive(path: Path) -> bool:
    """Whether a file is called `.zip` and begins like one. Documents of many programs are archives too."""
    if path.suffix.lower() != ".zip":
        return False
    try:
        with path.open("rb") as file:
            return file.read(4) in _MAGIC
    except OSError:
        return False


def members(
    path: Path, limits: Limits, archive_limits: ArchiveLimits = DEFAULT_ARCHIVE_LIMITS
) -> Iterator[Member]:
    """Every file in an archive and in those within it, sorted by name.

    Directories, hidden files, `__MACOSX` and `DICOMDIR` are passed over, as in folders.

    Args:
        path: The archive.
        limits: Sizes of one member.
        archive_limits: Bounds on the archive.

    Yields:
        Members. One that cannot be read, an archive that is damaged, and what lies beyond a bound is
        yielded once, with its error.
    """
    walk = _Walk(path, limits, archive_limits)
    try:
        walk.modified_ns = path.stat().st_mtime_ns
        archive = _open_nested(path, walk.modified_ns, (), limits.max_bytes)
    except (UnreadableImage, OSError) as error:
        yield walk.failed((), "", error)
        return
    yield from walk.of(archive, (), "")


class _Walk:
    """One listing of an outermost archive, and what is left of its bounds."""

    def __init__(self, path: Path, limits: Limits, bounds: ArchiveLimits) -> None:
        self.path, self.limits, self.bounds = path, limits, bounds
        self.modified_ns = 0
        self.members_left = bounds.max_members
        self.nested_left = bounds.max_nested

    def failed(self, places: tuple[int, ...], name: str, error: Exception) -> Member:
        path = self.path / name if name else self.path
        typed = error if isinstance(error, UnreadableImage) else _damaged(error, path)
        return Member(self.path, self.modified_ns, places, name, typed)

    def of(self, archive: zipfile.ZipFile, places: tuple[int, ...], prefix: str) -> Iterator[Member]:
        """Members of one archive, whose own name is `prefix` with a slash."""
        infos = archive.infolist()
        if sum(info.compress_size for info in infos) > archive.start_dir:
            reason = "the members of the zip archive overlap or are cut off"
            yield self.failed(places, prefix.rstrip("/"), UnreadableImage(reason, path=self.path / prefix))
            return
        seen: Counter[str] = Counter()
        named = (
            (safe_name(info.filename or "unnamed"), place)
            for place, info in enumerate(infos)
            if not info.filename.endswith("/")
        )
        for own, place in sorted(named):
            if not own or any(part.startswith(".") or part in PASSED_OVER for part in own.split("/")):
                continue
            seen[own] += 1
            name = f"{prefix}{own}" if seen[own] == 1 else f"{prefix}{own}#{seen[own]}"
            self.members_left -= 1
            if self.members_left < 0:
                if self.members_left == -1:
                    reason = f"the zip archive holds more than {self.bounds.max_members} files"
                    error = UnreadableImage(reason, path=self.path, remedy="unpack it")
                    yield self.failed(places, prefix.rstrip("/"), error)
                return
            yield from self._one(archive, infos[place], (*places, place), name)

    def _one(
        self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, places: tuple[int, ...], name: str
    ) -> Iterator[Member]:
        path = self.path / name
        try:
            self._check(info, path)
            nested = info.filename.lower().endswith(".zip") and _starts_as_archive(archive, info)
            if nested:
                self._check_nested(info, len(places), path)
                inner = _open_nested(self.path, self.modified_ns, places, self.limits.max_bytes)
        except (UnreadableImage, *_BROKEN) as error:
            yield self.failed(places, name, error)
            return
        if nested:
            yield from self.of(inner, places, f"{name}/")
        else:
            yield Member(self.path, self.modified_ns, places, name)

    def _check(self, info: zipfile.ZipInfo, path: Path) -> None:
        """Refuse by its entry in the table of contents what is not worth inflating."""
        if len(info.filename) > _LONGEST_NAME:
            raise UnreadableImage(f"its name has more than {_LONGEST_NAME} characters", path=path)
        if info.flag_bits & _ENCRYPTED:
            raise UnreadableImage("the file in the archive is encrypted", path=path, remedy="unpack it")
        if info.compress_type not in _METHODS:
            raise UnreadableImage(
                "the file in the archive is compressed in a way that is not read",
                path=path,
                remedy="unpack it",
            )
        self.limits.check_bytes(info.file_size, path)
        if info.file_size > max(_RATIO_FROM, self.bounds.max_ratio * info.compress_size):
            raise UnreadableImage(
                f"the file in the archive is packed more than {self.bounds.max_ratio} times, as no film is",
                path=path,
            )

    def _check_nested(self, info: zipfile.ZipInfo, depth: int, path: Path) -> None:
        if depth >= self.bounds.max_depth:
            raise UnreadableImage(
                f"archives lie within each other more than {self.bounds.max_depth} deep",
                path=path,
                remedy="unpack the outer ones",
            )
        self.nested_left -= info.file_size
        if self.nested_left < 0:
            raise UnreadableImage(
                f"the archives within it hold more than {self.bounds.max_nested} bytes",
                path=path,
                remedy="unpack the outer ones",
            )


def safe_name(name: str) -> str:
    """A name from an archive as a relative path that can be shown and leads nowhere else.

    Backslashes part folders too, as programs on Windows write them; `..` becomes `__`.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    return printable("/".join("__" if part == ".." else part for part in parts))[:_LONGEST_NAME]


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


def _open(file: IO[bytes], path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(_Wary(file, DEFAULT_ARCHIVE_LIMITS.max_directory))
    except _BROKEN as error:
        file.close()
        raise _damaged(error, path) from error


@lru_cache(maxsize=4)
def _open_nested(path: Path, modified_ns: int, places: tuple[int, ...], max_bytes: int) -> zipfile.ZipFile:
    """Open the archive at these places, which stays open while its members are wanted.

    Raises:
        UnreadableImage: It, or one around it, is damaged or too large.
    """
    if not places:
        try:
            return _open(path.open("rb"), path)
        except OSError as error:
            raise _damaged(error, path) from error
    outer = _open_nested(path, modified_ns, places[:-1], max_bytes)
    inner = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - the archive closes it
    try:
        with outer.open(outer.infolist()[places[-1]]) as packed:
            while block := packed.read(_STEP):
                inner.write(block)
                if inner.tell() > max_bytes:
                    raise UnreadableImage(f"the archive has more than {max_bytes} bytes", path=path)
    except _BROKEN as error:
        raise _damaged(error, path) from error
    return _open(inner, path)


def _starts_as_archive(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    with archive.open(info) as stream:
        return stream.read(4) in _MAGIC


def _damaged(error: Exception, path: Path) -> UnreadableImage:
    if isinstance(error, PermissionError):
        return UnreadableImage("the archive cannot be opened (PermissionError)", path=path)
    return UnreadableImage(
        f"the zip archive is damaged or cut short ({type(error).__name__})", path=path, remedy="copy it again"
    )
