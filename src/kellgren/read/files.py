"""Which files to read: those of the arguments, of folders and of archives; what is skipped is counted."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Final

from kellgren.errors import UnreadableImage, printable, refused_by_windows
from kellgren.read import archive
from kellgren.read.limits import DEFAULT_LIMITS, Limits
from kellgren.read.names import image_stem, is_image_name
from kellgren.read.signatures import HEAD, is_image

_OWN_TABLE: Final = "grades.csv"
_OWN_FOLDERS: Final = frozenset({"explain", "reports", "dicom"})
_WITHOUT_WAITING: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes of one file are.

    Attributes:
        path: What messages call it. A file in an archive is called as if the archive were a folder.
        file: How tables call it: relative to the argument it came from, `/` between folders, and what
            cannot be printed written out.
        root: The argument it came from, as typed; empty where there is only one. `root` and `file` together
            are unique in a run.
        member: Its place in an archive, if it is in one.
        error: Why it has no bytes, where that is known already.
    """

    path: Path
    file: str
    root: str = ""
    member: archive.Member | None = None
    error: UnreadableImage | None = None

    @property
    def stem(self) -> str:
        """File name without folders and the suffix of an image."""
        return image_stem(self.path.name)

    @property
    def parts(self) -> tuple[str, ...]:
        """Folders, archives among them, and file name, relative to the argument it came from."""
        return PurePosixPath(self.file).parts

    def read_bytes(self, limits: Limits = DEFAULT_LIMITS) -> bytes:
        """Read the file.

        Args:
            limits: How many bytes it may have.

        Raises:
            UnreadableImage: As `load`, or it cannot be taken out of its archive.
        """
        if self.error is not None:
            raise self.error
        return load(self.path, limits) if self.member is None else self.member.load(limits)


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a run.

    Attributes:
        sources: What is to be read, in order of the arguments, then of the names.
        skipped: How many files and folders were skipped, by what they are.
    """

    sources: tuple[Source, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)

    def sentence(self) -> str:
        """What was skipped, in one line; empty where nothing was."""
        kinds = ", ".join(f"{kind} ({count})" for kind, count in sorted(self.skipped.items()))
        return f"skipped: {kinds}" if kinds else ""


def load(path: Path, limits: Limits) -> bytes:
    """Read the bytes of a file.

    Args:
        path: The file.
        limits: How many it may have.

    Raises:
        UnreadableImage: The file is missing, empty, too large, no regular file, or cannot be opened.
    """
    refusal = refused_by_windows(path)
    if refusal is not None:
        raise UnreadableImage(refusal, path=path, remedy="rename or move it")
    try:
        return _read_regular(path, limits)
    except FileNotFoundError:
        broken = " that the link leads to" if path.is_symlink() else ""
        raise UnreadableImage(f"there is no such file{broken}", path=path) from None
    except (OSError, ValueError, MemoryError) as error:  # ValueError: a null byte in the name
        raise UnreadableImage(f"the file cannot be opened ({type(error).__name__})", path=path) from error


def _read_regular(path: Path, limits: Limits, most: int | None = None) -> bytes:
    """Read a file, or its first bytes, without ever waiting: opening a pipe would wait for its other end."""
    descriptor = os.open(path, os.O_RDONLY | _WITHOUT_WAITING)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImage("not a regular file", path=path, remedy="name the files one by one")
        if most is None:
            limits.check_bytes(status.st_size, path)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(status.st_size if most is None else most)
    finally:
        os.close(descriptor)


def list_images(paths: Iterable[Path | str], limits: Limits = DEFAULT_LIMITS) -> Listing:
    """List every file that could be meant to be read, in folders and archives too.

    A file that is named itself is listed, existing or not, so that a wrong name becomes a row with a reason
    and does not stop a run. Below folders and in archives a file is skipped that has neither a name nor a
    signature of an image, and what this program wrote itself. A file named like an image that is empty, text
    or a pipe is listed: `load` or `read` says what is wrong with it, as it does of folders that cannot be
    opened. Linked folders are entered; a folder is entered once.

    Args:
        paths: Files, folders, and archives (`.zip`, `.tar`, `.tar.gz`, `.gz`).
        limits: Sizes of the files in archives.
    """
    skipped: Counter[str] = Counter()
    arguments = list(dict.fromkeys(os.fspath(path) for path in paths))
    sources: list[Source] = []
    for argument in arguments:
        path = Path(argument)
        mode = _mode(path)
        is_folder = mode is not None and stat.S_ISDIR(mode)
        mine = list(_walk(path, limits, skipped) if is_folder else _named(path, limits, skipped))
        root = printable(argument) if len(arguments) > 1 else ""
        sources += (replace(source, root=root) for source in mine)
    return Listing(tuple(_unique(sources)), dict(skipped))


def _unique(sources: Iterable[Source]) -> Iterator[Source]:
    """Number names that came out alike, as those do that cannot be printed."""
    seen: Counter[tuple[str, str]] = Counter()
    for source in sources:
        seen[source.root, source.file] += 1
        count = seen[source.root, source.file]
        yield source if count == 1 else replace(source, file=f"{source.file}#{count}")


def _named(path: Path, limits: Limits, skipped: Counter[str]) -> Iterator[Source]:
    """The file that an argument names, or those within it."""
    name = path.name or str(path)
    if not archive.is_archive(path):
        yield Source(path, printable(name))
        return
    sources = list(_members(path, printable(name), limits, skipped))
    error = UnreadableImage("the archive holds no images", path=path)
    yield from sources or [Source(path, printable(name), error=error)]


def _walk(root: Path, limits: Limits, skipped: Counter[str]) -> Iterator[Source]:
    """Go through a folder without recursion, which a thousand folders within each other would end."""
    entered: set[tuple[int, int]] = set()
    waiting = [iter([root])]
    while waiting:
        path = next(waiting[-1], None)
        if path is None:
            waiting.pop()
            continue
        mode = _mode(path)
        file = printable(path.relative_to(root).as_posix())
        if mode is None or not stat.S_ISDIR(mode):
            yield from _file(path, file, mode, limits, skipped)
            continue
        try:
            status = path.stat()
            identity = status.st_dev, status.st_ino
            if identity in entered:
                skipped["linked folders that were read already"] += 1
                continue
            entered.add(identity)
            waiting.append(iter(_entries(path, skipped)))
        except OSError as error:
            words = f"the folder cannot be opened ({type(error).__name__})"
            yield Source(path, file, error=UnreadableImage(words, path=path))


def _entries(folder: Path, skipped: Counter[str]) -> list[Path]:
    """What lies in a folder, sorted, without what is hidden and what this program wrote.

    Raises:
        OSError: It cannot be opened.
    """
    names = sorted(entry.name for entry in os.scandir(folder))
    own = _OWN_FOLDERS if _OWN_TABLE in names else frozenset()
    paths = []
    for name in names:
        if archive.is_hidden(name):
            skipped["hidden or system files"] += 1
        elif name in own:
            skipped["folders of an earlier run"] += 1
        else:
            paths.append(folder / name)
    return paths


def _mode(path: Path) -> int | None:
    """What a name stands for, links followed; None where that cannot be told."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return None


def _file(path: Path, file: str, mode: int | None, limits: Limits, skipped: Counter[str]) -> Iterator[Source]:
    """A file of a folder as it is, or those within it."""
    if mode is not None and archive.is_archive(path):
        yield from _members(path, file, limits, skipped)
        return
    if mode is not None and not is_image_name(path) and not (stat.S_ISREG(mode) and archive.is_named(path)):
        try:
            known = is_image(_read_regular(path, limits, HEAD))
        except UnreadableImage:  # a pipe
            known = False
        except OSError:  # `load` says so
            known = True
        if not known:
            skipped["files that are not images"] += 1
            return
    yield Source(path, file)


def _members(path: Path, file: str, limits: Limits, skipped: Counter[str]) -> Iterator[Source]:
    before = skipped.total()
    members = list(archive.members(path, limits, skipped=skipped))
    for member in members:
        name = printable(f"{file}/{member.name}" if member.name else file)
        yield Source(member.path, name, member=member, error=member.error)
    if not members and skipped.total() == before:
        yield Source(path, printable(file), error=UnreadableImage("the archive holds no files", path=path))
