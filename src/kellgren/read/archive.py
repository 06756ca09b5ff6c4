"""Films in archives, also in archives within them: bounded before anything is inflated, never unpacked.

Zip and tar archives, compressed by gzip or not, and single files compressed by gzip are read. Nothing is
written under a name that an archive holds. A member is inflated into memory when it is read; an archive in an
archive, and what gzip compressed, goes to an unnamed temporary file when it is large.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path, PurePath
from typing import Final

from kellgren.errors import UnreadableImage, printable
from kellgren.read.containers import (
    BROKEN,
    DEFAULT_ARCHIVE_LIMITS,
    RATIO_FROM,
    SUFFIXES,
    ArchiveLimits,
    Container,
    Entry,
    damaged,
    is_container,
    open_container,
    spooled,
)
from kellgren.read.limits import Limits
from kellgren.read.names import is_image_name
from kellgren.read.signatures import HEAD, is_image

_STEP: Final = 1 << 20
_LONGEST_NAME: Final = 1024
_PASSED_OVER: Final = frozenset({"__MACOSX", "DICOMDIR", "Thumbs.db", "desktop.ini"})
"""What programs for Macs and Windows leave, and the index of a medium, which is not an image."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive, or why there is none.

    Attributes:
        archive: The outermost archive.
        places: Its place in that archive, or those of the archives between and its own in the last.
        name: How it is called below the archive: `inner.zip/a.dcm`. Safe to show, and as a relative path.
        error: Why it cannot be read, where that is known without inflating it.
    """

    archive: Path
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
        try:
            modified_ns = self.archive.stat().st_mtime_ns
            container = _open_nested(self.archive, modified_ns, self.places[:-1], limits.max_bytes)
            entries = container.entries[self.places[-1] : self.places[-1] + 1]
            if not entries or safe_name(entries[0].name) not in self.name:
                raise UnreadableImage("the archive was changed while it was read", path=self.path)
            data = BytesIO()
            with container.open(self.places[-1]) as stream:
                while block := stream.read(_STEP):
                    data.write(block)
                    limits.check_bytes(data.tell(), self.path)
        except BROKEN as error:
            raise damaged(error, self.path) from error
        limits.check_bytes(data.tell(), self.path)
        return data.getvalue()


def is_named(path: PurePath) -> bool:
    """Whether a file is named as archives are."""
    return path.name.lower().endswith(SUFFIXES)


def is_archive(path: Path) -> bool:
    """Whether a file is named as archives are and begins like one; many documents are zips too."""
    if not is_named(path):
        return False
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its other end
            return False
        with path.open("rb") as file:
            return is_container(path.name, file.read(HEAD))
    except (OSError, ValueError):
        return False


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or one that systems leave everywhere."""
    return name.startswith(".") or name in _PASSED_OVER


def members(
    path: Path,
    limits: Limits,
    archive_limits: ArchiveLimits = DEFAULT_ARCHIVE_LIMITS,
    *,
    skipped: Counter[str] | None = None,
) -> Iterator[Member]:
    """Every file in an archive and in those within it that has a name or a signature of an image, by name.

    Args:
        path: The archive.
        limits: Sizes of one member.
        archive_limits: Bounds on the archive.
        skipped: Counts what is skipped, as in folders.

    Yields:
        Members. One that cannot be read, an archive that is damaged, and what lies beyond a bound is
        yielded once, with its error.
    """
    walk = _Walk(path, limits, archive_limits, Counter() if skipped is None else skipped)
    try:
        walk.modified_ns = path.stat().st_mtime_ns
        container = _open_nested(path, walk.modified_ns, (), limits.max_bytes)
    except (UnreadableImage, OSError) as error:
        yield walk.failed((), "", error)
        return
    yield from walk.of(container, (), "")


class _Walk:
    """One listing of an outermost archive, and what is left of its bounds."""

    def __init__(self, path: Path, limits: Limits, bounds: ArchiveLimits, skipped: Counter[str]) -> None:
        self.path, self.limits, self.bounds, self.skipped = path, limits, bounds, skipped
        self.modified_ns = 0
        self.members_left = bounds.max_members
        self.nested_left = bounds.max_nested

    def failed(self, places: tuple[int, ...], name: str, error: Exception) -> Member:
        path = self.path / name if name else self.path
        typed = error if isinstance(error, UnreadableImage) else damaged(error, path)
        return Member(self.path, places, name, typed)

    def of(self, container: Container, places: tuple[int, ...], prefix: str) -> Iterator[Member]:
        """Members of one archive, whose own name is `prefix` with a slash."""
        if container.overlapping:
            reason = "the members of the archive overlap or are cut off"
            yield self.failed(places, prefix.rstrip("/"), UnreadableImage(reason, path=self.path / prefix))
            return
        seen: Counter[str] = Counter()
        for own, place in sorted((safe_name(e.name), place) for place, e in enumerate(container.entries)):
            if not own or any(is_hidden(part) for part in own.split("/")):
                self.skipped["hidden or system files"] += 1
                continue
            seen[own] += 1
            name = f"{prefix}{own}" if seen[own] == 1 else f"{prefix}{own}#{seen[own]}"
            self.members_left -= 1
            if self.members_left < 0:
                if self.members_left == -1:
                    reason = f"the archive holds more than {self.bounds.max_members} files"
                    error = UnreadableImage(reason, path=self.path, remedy="unpack it")
                    yield self.failed(places, prefix.rstrip("/"), error)
                return
            yield from self._one(container, place, (*places, place), name)

    def _one(self, container: Container, place: int, places: tuple[int, ...], name: str) -> Iterator[Member]:
        entry, path = container.entries[place], self.path / name
        named = is_image_name(name)
        nested = None
        try:
            if named or entry.name.lower().endswith(SUFFIXES):
                self._check(entry, path)
            elif entry.method or entry.size == 0:
                self.skipped["files that are not images"] += 1
                return
            if not named:
                with container.open(place) as stream:
                    head = stream.read(HEAD)
                if is_container(entry.name, head):
                    self._check_nested(entry, len(places), path)
                    nested = _open_nested(self.path, self.modified_ns, places, self.limits.max_bytes)
                elif not is_image(head):
                    self.skipped["files that are not images"] += 1
                    return
                self._check(entry, path)
        except (UnreadableImage, *BROKEN) as error:
            yield self.failed(places, name, error)
            return
        if nested is not None:
            yield from self.of(nested, places, f"{name}/")
        else:
            yield Member(self.path, places, name)

    def _check(self, entry: Entry, path: Path) -> None:
        """Refuse by its entry in the table of contents what is not worth inflating."""
        if len(entry.name) > _LONGEST_NAME:
            raise UnreadableImage(f"its name has more than {_LONGEST_NAME} characters", path=path)
        if entry.method:
            raise UnreadableImage(f"the file in the archive {entry.method}", path=path, remedy="unpack it")
        self.limits.check_bytes(entry.size, path)
        if entry.size > max(RATIO_FROM, self.bounds.max_ratio * entry.packed):
            raise UnreadableImage(
                f"the file in the archive is packed more than {self.bounds.max_ratio} times, as no film is",
                path=path,
            )

    def _check_nested(self, entry: Entry, depth: int, path: Path) -> None:
        if depth >= self.bounds.max_depth:
            raise UnreadableImage(
                f"archives lie within each other more than {self.bounds.max_depth} deep",
                path=path,
                remedy="unpack the outer ones",
            )
        self.nested_left -= entry.size
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


@lru_cache(maxsize=4)
def _open_nested(path: Path, modified_ns: int, places: tuple[int, ...], max_bytes: int) -> Container:
    """Open the archive at these places, which stays open while its members are wanted.

    Raises:
        UnreadableImage: It, or one around it, is damaged or too large.
    """
    if not places:
        try:
            return open_container(path.open("rb"), path, max_bytes)
        except OSError as error:
            raise damaged(error, path) from error
    outer = _open_nested(path, modified_ns, places[:-1], max_bytes)
    name = outer.entries[places[-1]].name
    try:
        with outer.open(places[-1]) as packed:
            inner = spooled(packed, path, max_bytes)
    except BROKEN as error:
        raise damaged(error, path) from error
    inner.seek(0)
    return open_container(inner, path / PurePath(safe_name(name)).name, max_bytes)
