"""Everything that kellgren raises on purpose, in one hierarchy.

Each message says what was wrong with which file, and what to do about it. A caller that handles
`KellgrenError` handles every failure the package foresees; anything else is a bug worth reporting.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path, PureWindowsPath
from typing import Final, Self


class KellgrenError(Exception):
    """A foreseen failure.

    Args:
        message: What is wrong, in plain words, without patient data.
        path: The file it concerns, if there is one.
        remedy: What the reader can do about it.
    """

    def __init__(self, message: str, *, path: Path | str | None = None, remedy: str | None = None) -> None:
        super().__init__(message, path, remedy)
        self.message = message
        self.path = Path(path) if path is not None else None
        self.remedy = remedy

    @property
    def reason(self) -> str:
        """The message and remedy without the path: what goes into the `reason` column."""
        return f"{self.message}; {self.remedy}" if self.remedy else self.message

    def __str__(self) -> str:
        return f"{printable(str(self.path))}: {self.reason}" if self.path is not None else self.reason


class WrongUse(KellgrenError, ValueError):
    """The caller asked for something that cannot be: an unknown word, a path that does not exist."""


class CannotWrite(KellgrenError):
    """A result cannot be written: the disk is full, the folder is read-only, removed, or cannot be made."""

    @classmethod
    def because(cls, error: OSError, path: Path | str) -> Self:
        """The error in plain words, for what the system said of writing to `path`."""
        words = _WRITE_ERRORS.get(error.errno or 0)
        if words is None:
            words = f"it cannot be written ({error.strerror or error})"
        return cls(words, path=path)


_WRITE_ERRORS: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than this disk allows",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "there is no permission to write here",
    errno.EPERM: "there is no permission to write here",
    errno.ENOENT: "the folder is not there, or was removed meanwhile",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "there is a file of that name",
    errno.EISDIR: "there is a folder of that name",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EIO: "the disk reports an error",
}


_RESERVED: Final = frozenset(
    {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}
)
_LONGEST_WINDOWS_PATH: Final = 260


def refused_by_windows(path: Path | str, *, windows: bool = os.name == "nt") -> str | None:
    """Why Windows would not take a path as a file, or would take it as a device; None where it is fine.

    Args:
        path: The path.
        windows: Whether this is Windows; elsewhere every path is fine.
    """
    if not windows:
        return None
    parts = PureWindowsPath(path).parts
    reserved = next((part for part in parts if part.partition(".")[0].rstrip().upper() in _RESERVED), None)
    if reserved is not None:
        return f"{reserved} is a reserved name on Windows"
    length = len(str(path))
    if length > _LONGEST_WINDOWS_PATH:
        return f"the path has {length} characters, and Windows takes {_LONGEST_WINDOWS_PATH}"
    return None


class FolderInUse(KellgrenError):
    """Another process is writing into the output folder."""


class UnreadableImage(KellgrenError):
    """The file is not an image that can be decoded: empty, truncated, not an image, too large, no codec."""


class NotAKnee(KellgrenError):
    """The image was decoded, but holds no knee radiograph that can be graded."""


class BadDataset(KellgrenError):
    """A data set folder breaks its contract: missing labels, two grades for one knee, a shared patient."""


class BadMetadata(KellgrenError):
    """A table of what the user states about films cannot be used: a wrong column, value, or repeated film."""


class BadBundle(KellgrenError):
    """A model bundle is incomplete, damaged, or made by a version that this one cannot read."""


class BadRecipe(KellgrenError):
    """A training recipe has an unknown key or an impossible value."""


class MissingExtra(KellgrenError):
    """An optional part of the package is not installed."""

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the '{extra}' extra", remedy=f"pip install 'kellgren[{extra}]'")
        self.extra = extra


def printable(name: str) -> str:
    r"""A name in which what cannot be printed is written out: `\x1b`, `\xff`, `\u202e`.

    Args:
        name: As the file system or an archive gives it; bytes that are not UTF-8 are surrogates (PEP 383).
    """
    return name if name.isprintable() else "".join(map(_shown, name))


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def closest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word that a misspelt one is most like, None if it is like none."""
    return next(iter(get_close_matches(word, list(known), n=1, cutoff=cutoff)), None)


def nearest(word: str, known: Iterable[str]) -> str:
    """A remedy for an unknown word: the known one that is most like it, or all of them."""
    names = tuple(known)
    match = closest(word, names)
    return f"did you mean {match!r}?" if match is not None else f"known: {', '.join(names)}"


EXTRAS: Final[dict[str, tuple[str, ...]]] = {
    "codecs": ("pylibjpeg", "openjpeg", "jpeg_ls", "gdcm"),
    "study": ("matplotlib", "sklearn"),
    "train": ("torch", "torchvision", "timm", "onnx", "onnxscript", "safetensors", "yaml"),
}
"""Modules of each optional part of the package, as in pyproject.toml."""


def missing(extra: str) -> tuple[str, ...]:
    """Modules of an extra that are not installed."""
    return tuple(module for module in EXTRAS[extra] if find_spec(module) is None)


def require(extra: str, purpose: str) -> None:
    """Raise unless an extra is installed.

    Raises:
        MissingExtra: Naming the pip command.
    """
    if missing(extra):
        raise MissingExtra(extra, purpose)
