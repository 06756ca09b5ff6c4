"""Model bundles: a network, and everything needed to use it rightly, in a folder or a zip of it.

A bundle holds `model.onnx`, `card.json`, `golden/` (simulated inputs with their outputs) and optionally
`typical.npz` (what ordinary inputs look like to the network). An ensemble holds a card and its members'
bundles. Nothing in a bundle is executed: graphs are ONNX, tables are npz without pickles. Nothing in it is
trusted either: sizes are checked before anything is read, hashes before anything is parsed.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kellgren.errors import BadBundle
from kellgren.model import card as cards
from kellgren.model.card import Card, Kind
from kellgren.model.graph import LARGEST as LARGEST_GRAPH

DEFAULT: Final = "joint"
"""The packaged bundle that is used unless another is named."""

CARD: Final = "card.json"
GRAPH: Final = "model.onnx"
TYPICAL: Final = "typical.npz"

LARGEST_FILE: Final = 64 << 20
"""Most bytes of any other file."""

_LARGEST_ZIP: Final = 4 << 30
_LARGEST_DIRECTORY: Final = 1 << 20
_MOST_FILES: Final = 2000
_MOST_COMPRESSED: Final = 200
"""Most bytes that a packed one becomes, above the first megabyte: weights hardly shrink at all."""

_DEEPEST: Final = 3
_MOST_NETWORKS: Final = 64

_READ_ERRORS: Final = (OSError, KeyError, ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile)
"""What reading a damaged, encrypted or strangely packed member of a zip may raise."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle.

    Attributes:
        root: Its folder, or the folder inside its zip.
        card: Its card.
        members: Opened members of an ensemble.
    """

    root: Traversable
    card: Card
    members: tuple[Bundle, ...] = ()

    def graph(self, name: str = GRAPH) -> bytes:
        """An ONNX graph, checked against the card's sha256.

        Args:
            name: Its file's name; a localiser has two graphs.

        Raises:
            BadBundle: If it is missing or differs from what the card names.
        """
        if name not in self.card.sha256:
            raise BadBundle(f"the card's sha256 does not name {name}", path=str(self.root))
        return self.read(name, largest=LARGEST_GRAPH)

    def read(self, name: str, *, largest: int = LARGEST_FILE) -> bytes:
        """A file of the bundle, checked against the card's sha256 if that names it.

        Args:
            name: Its path inside the bundle, parted by `/`.
            largest: Most bytes that it may have.

        Raises:
            BadBundle: If it is missing, damaged, too large, outside, or differs from what the card names.
        """
        data = _read(self.root, name, largest)
        expected = self.card.sha256.get(name)
        digest = hashlib.sha256(data).hexdigest() if expected else None
        if digest != expected:
            raise BadBundle(
                f"{name} has sha256 {str(digest)[:12]}..., the card says {str(expected)[:12]}...",
                path=str(self.root),
                remedy="the file is damaged or was exchanged; fetch the bundle again",
            )
        return data

    def holds(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return self.root.joinpath(name).is_file()

    def arrays(self, name: str) -> dict[str, npt.NDArray[np.floating[Any]]] | None:
        """The arrays of an npz file in the bundle, or None if there is no such file.

        Raises:
            BadBundle: If the file is not an npz file of floating-point numbers, without pickles.
        """
        if not self.holds(name):
            return None
        data = self.read(name)
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                _check_entries(archive.infolist(), LARGEST_FILE)
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                arrays = {key: np.asarray(stored[key]) for key in stored.files}
        except (*_READ_ERRORS, TypeError, MemoryError, SyntaxError, BadBundle) as error:
            raise BadBundle(f"{name} is not a plain npz file: {error}", path=str(self.root)) from error
        if any(array.dtype.kind != "f" for array in arrays.values()):
            raise BadBundle(f"{name} holds arrays that are not of numbers", path=str(self.root))
        return arrays

    def sha256(self) -> str:
        """One fingerprint of all graphs: what `run.json` names."""
        own = self.card.sha256
        hashes = [own[name] for name in sorted(own) if name.endswith(".onnx")] if not self.members else []
        hashes += [member.sha256() for member in self.members]
        if len(hashes) == 1:
            return hashes[0]
        return hashlib.sha256("".join(hashes).encode()).hexdigest()


def packaged(kind: Kind | None = None) -> dict[str, Traversable]:
    """Bundles inside the package, by name.

    Args:
        kind: Only bundles of this kind.
    """
    folder = resources.files("kellgren") / "bundles"
    if not folder.is_dir():
        return {}
    roots = {entry.name: entry for entry in folder.iterdir() if entry.joinpath(CARD).is_file()}
    if kind is not None:
        roots = {name: root for name, root in roots.items() if _open(root).card.kind == kind}
    return dict(sorted(roots.items()))


def load(name_or_path: str | os.PathLike[str] = DEFAULT) -> Bundle:
    """Open a bundle by packaged name, or from a folder or zip.

    Raises:
        BadBundle: If there is no such bundle, or its card cannot be used; the message says why.
    """
    name = os.fspath(name_or_path)
    known = packaged()
    if name in known:
        return _open(known[name])
    path = Path(name)
    try:
        if path.is_dir():
            return _open(path)
        if path.is_file():
            return _open(_inside_zip(path))
    except (OSError, ValueError) as error:  # a name that no file can have
        raise BadBundle("it cannot be opened", path=path) from error
    names = ", ".join(known) or "none"
    raise BadBundle(
        f"no bundle {name!r}", remedy=f"give a folder or zip, or one of the packaged ones: {names}"
    )


def _inside_zip(path: Path) -> Traversable:
    """The folder of a zip that holds the card: at its top or one below."""
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            _check_entries(archive.infolist(), LARGEST_GRAPH)
        root = zipfile.Path(path)
    except BadBundle as error:
        raise BadBundle(error.message, path=path) from error
    except _READ_ERRORS as error:
        raise BadBundle("not a bundle: neither a folder nor a sound zip file", path=path) from error
    if root.joinpath(CARD).is_file():
        return root
    folders = [entry for entry in root.iterdir() if entry.is_dir() and entry.joinpath(CARD).is_file()]
    if len(folders) != 1:
        raise BadBundle(f"the zip holds no {CARD}", path=path)
    return folders[0]


def _check_directory(path: Path) -> None:
    """Look at the size of a zip's list of files before the whole list is read (APPNOTE 4.3.16)."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - (1 << 16) - 22))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0:
        raise BadBundle("not a bundle: neither a folder nor a zip file")
    if int.from_bytes(tail[at + 12 : at + 16], "little") > _LARGEST_DIRECTORY:
        raise BadBundle("the zip lists too many files for a bundle")


def _check_entries(entries: Sequence[zipfile.ZipInfo], largest: int) -> None:
    """Refuse what no bundle's zip holds, by the list of its files alone.

    Raises:
        BadBundle: For an encrypted or strangely packed file, a path that leaves the zip, a path that is there
            twice, or a size that is not to be believed.
    """
    names = [entry.filename for entry in entries]
    if len(entries) > _MOST_FILES or sum(entry.file_size for entry in entries) > _LARGEST_ZIP:
        raise BadBundle("the zip holds more than any bundle")
    if len(set(names)) < len(names):
        raise BadBundle("the zip holds two files of one name")
    for entry in entries:
        name = entry.filename
        if not cards.is_inside(name.removesuffix("/")):
            raise BadBundle(f"the zip holds a path that leads elsewhere: {name[:60]!r}")
        if entry.flag_bits & 0x1:
            raise BadBundle(f"the zip's {name[:60]!r} is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadBundle(
                f"the zip's {name[:60]!r} is packed by method {entry.compress_type}",
                remedy="pack it with deflate, as every zip program can",
            )
        expected = (1 << 20) + _MOST_COMPRESSED * entry.compress_size
        if entry.file_size > min(largest, expected):
            raise BadBundle(f"the zip's {name[:60]!r} would become {entry.file_size:,} bytes")


def _read(root: Traversable, name: str, largest: int) -> bytes:
    """A file below a bundle's root, or why there is none."""
    if not cards.is_inside(name):
        raise BadBundle(f"{name[:60]!r} lies outside the bundle", path=str(root))
    target = root.joinpath(*name.split("/"))
    try:
        if not target.is_file():
            raise BadBundle(f"no {name} in the bundle", path=str(root))
        with target.open("rb") as file:
            data: bytes = file.read(largest + 1)
    except _READ_ERRORS as error:
        raise BadBundle(f"{name} cannot be read: {error}", path=str(root)) from error
    if len(data) > largest:
        raise BadBundle(f"{name} has more than {largest:,} bytes", path=str(root))
    return data


def _open(root: Traversable, depth: int = 0, opened: list[str] | None = None) -> Bundle:
    """A bundle and, of an ensemble, its members.

    Args:
        root: Where its card is.
        depth: How many ensembles it is inside of.
        opened: Every bundle that was opened so far: links may make of few folders very many.
    """
    opened = [] if opened is None else opened
    opened.append(str(root))
    if depth > _DEEPEST or len(opened) > _MOST_NETWORKS:
        raise BadBundle("ensembles of ensembles go too deep, or have too many members", path=str(root))
    card = cards.parse(_read(root, CARD, cards.LARGEST), where=str(root))
    members = tuple(
        _open(root.joinpath(*member.bundle.split("/")), depth + 1, opened) for member in card.members
    )
    for member in members:
        if member.card.kind != "grader":
            raise BadBundle(f"member {member.card.title} is not a grader", path=str(root))
        if member.card.tasks != {t: c for t, c in card.tasks.items() if t in member.card.tasks}:
            raise BadBundle(f"member {member.card.name} has other tasks than the ensemble", path=str(root))
    for task in card.tasks if members else ():
        if not any(task in member.card.tasks for member in members):
            raise BadBundle(f"no member of the ensemble grades {task}", path=str(root))
    return Bundle(root, card, members)
