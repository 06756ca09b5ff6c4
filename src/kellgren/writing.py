"""Files and folders written whole or not at all, and a lock on a folder for one writer at a time."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from kellgren.errors import CannotWrite, FolderInUse, refused_by_windows

LOCK: Final = ".kellgren-lock"
"""Name of the file in an output folder that a running process holds locked."""

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write into an error in plain words.

    Raises:
        CannotWrite: Instead of any `OSError` of the block, and for a path that Windows does not take.
    """
    refusal = refused_by_windows(path)
    if refusal is not None:
        raise CannotWrite(refusal, path=path)
    try:
        yield
    except OSError as error:
        raise CannotWrite.because(error, path) from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless they are there.

    Raises:
        CannotWrite: If it cannot be made, or a file has its name.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write into, which takes the place of `path` once it is complete.

    Whatever ends the writing, half a file is never found at `path`, and a file that was there stays.

    Raises:
        CannotWrite: If the system does not let it be written.
    """
    partial = _partial(path)
    with explained(path):
        try:
            with partial.open("wb") as file:
                yield file
            partial.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    with whole(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, document: object) -> None:
    """Write a JSON document, indented, whole or not at all."""
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `folder` once it is complete.

    Raises:
        CannotWrite: If the system does not let it be made.
    """
    partial = _partial(folder)
    with explained(folder):
        shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
        partial.mkdir(parents=True)
    try:
        yield partial
        with explained(folder):
            if folder.exists():
                shutil.rmtree(folder)
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _partial(path: Path) -> Path:
    """Where a file or folder is made: hidden, beside its place, and short however long its name is."""
    return path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.partial")


class Lines:
    """A text file that grows by whole lines: after a kill or on a full disk no part of a line stays.

    Args:
        path: The file.
        append: Whether to go on after what it holds, instead of from nothing.

    Raises:
        CannotWrite: If the system does not let it be written, here and in `append`.
    """

    def __init__(self, path: Path, *, append: bool = False) -> None:
        self._path = path
        with explained(path):
            self._file = path.open("ab" if append else "wb", buffering=0)
            self._size = os.fstat(self._file.fileno()).st_size

    def append(self, text: str) -> None:
        """Add complete lines in one write; on failure none of them stays."""
        data = text.encode()
        with explained(self._path):
            try:
                written = self._file.write(data)
                while written < len(data):  # the disk is nearly full: the next write says why
                    written += self._file.write(data[written:])
                if not os.fstat(self._file.fileno()).st_nlink:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            except OSError:
                self._file.truncate(self._size)
                raise
        self._size += len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextlib.contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Be the only process that writes into a folder, which is made if need be.

    The operating system holds the lock and drops it when the process ends, however it ends. Where the file
    system has no locks, as some shared folders, a warning says so and the block runs.

    Args:
        folder: The folder.
        wait: Whether to wait for another process, instead of refusing.

    Raises:
        FolderInUse: If another process writes into it.
        CannotWrite: If the folder cannot be written to.
    """
    make_folder(folder)
    path = folder / LOCK
    with contextlib.ExitStack() as stack:
        while True:
            with explained(folder):
                file = stack.enter_context(path.open("ab"))
            try:
                _lock(file, wait=wait)
            except (BlockingIOError, PermissionError) as error:
                raise FolderInUse("another run is writing into this folder", path=folder) from error
            except (OSError, ImportError):
                _log.warning("%s cannot be locked here: make sure that only one run writes into it", folder)
                break
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break  # else its holder removed it before we had it
        try:
            yield
        finally:
            if sys.platform != "win32":  # Windows removes no open file
                with contextlib.suppress(OSError):
                    path.unlink()


def _lock(file: IO[bytes], *, wait: bool) -> None:
    """Lock an open file for this process; OSError of the system if that is not possible."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
