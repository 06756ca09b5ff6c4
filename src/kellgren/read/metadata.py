"""What a user states about films whose own headers are stripped or wrong: one row of a table a film."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from kellgren.errors import BadMetadata
from kellgren.read.radiograph import Laterality, Radiograph, Spacing
from kellgren.read.spacing import decide_spacing, usable_mm
from kellgren.vocabulary import Side

Polarity = Literal["normal", "inverted"]
View = Literal["AP", "PA", "lateral", "skyline", "oblique", "other"]

KEYS: Final = ("file", "name", "barcode")
"""Columns that say which film a row is about; a table has one of them."""

_POLARITIES: Final[dict[str, Polarity]] = {word: word for word in get_args(Polarity)}
_VIEWS: Final[dict[str, View]] = {view.lower(): view for view in get_args(View)}
_SIDES: Final[dict[str, Side | None]] = {
    "r": "R", "right": "R", "l": "L", "left": "L", "b": None, "both": None, "bilateral": None,
}  # fmt: skip
_TRUTH: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_MOST_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Stated:
    """The user's word on one film; None is not said.

    Attributes:
        side: Which knee it shows.
        both: Whether it shows both knees.
        spacing: Pixel spacing, mm, source `"user"`.
        frame: Which frame of a multi-frame DICOM object, from 1.
        view: Projection.
        weight_bearing: Whether the knee bore weight.
        polarity: `normal` where bone is bright as the file shows it, `inverted` where bone is dark.
    """

    side: Side | None = None
    both: bool = False
    spacing: Spacing | None = None
    frame: int | None = None
    view: View | None = None
    weight_bearing: bool | None = None
    polarity: Polarity | None = None

    def flags(self) -> tuple[str, ...]:
        """Why a person must read such a film, whatever its grade."""
        flags = []
        if self.view not in (None, "AP", "PA"):
            flags.append(f"the user says a view of kind {self.view}: grades hold for front views")
        if self.weight_bearing is False:
            flags.append("the user says that the knee bore no weight: its joint space may look too wide")
        return tuple(flags)


NOTHING_STATED: Final = Stated()


@dataclass(frozen=True, slots=True)
class Metadata:
    """A metadata table.

    Attributes:
        path: The file.
        key: Column that names the film: `file`, `name` or `barcode`.
        columns: The columns that are used, without the key.
        ignored: The columns that are not.
        rows: What is stated, by the key as written.
    """

    path: Path
    key: str
    columns: tuple[str, ...]
    ignored: tuple[str, ...]
    rows: Mapping[str, Stated]
    _by_end: Mapping[str, tuple[str, ...]] = field(repr=False)

    def key_of(self, film: Path | str) -> str | None:
        """Find the row of a film, and return its key.

        A `file` is the film's path or the end of it, from a folder's name on; the longest that fits wins.
        A `name` is its name with or without the suffix. A `barcode` is a folder on its path or its name
        without the suffix; an OAI folder holds the last eight digits of the barcode.

        Args:
            film: Path of the film.
        """
        path = Path(film)
        if self.key == "barcode":
            for part in (path.stem, path.name, *reversed(path.parts[:-1])):
                if part in self.rows:
                    return part
                long = self._by_end.get(part, ())
                if len(long) == 1:
                    return long[0]
            return None
        if self.key == "name":
            return next((word for word in (path.name, path.stem) if word in self.rows), None)
        whole = f"/{path.as_posix()}"
        fitting = [key for key in self._by_end.get(path.name, ()) if whole.endswith(f"/{key.lstrip('/')}")]
        return max(fitting, key=len, default=None)

    def find(self, film: Path | str) -> Stated | None:
        """What is stated about a film, or None where no row is about it."""
        key = self.key_of(film)
        return None if key is None else self.rows[key]


def apply_stated(film: Radiograph, stated: Stated, side: Side | None) -> Radiograph:
    """Add to a film what the user states of it; contradictions become flags.

    Args:
        film: The film, read with the user's word on its side.
        stated: The user's other words.
        side: The side that the user gave beside the table.
    """
    if stated == NOTHING_STATED:
        return film
    flags = [*film.flags, *stated.flags()]
    laterality = film.laterality
    if side is not None and (stated.both or stated.side not in (None, side)):
        flags.append(f"the user says {side}, the metadata table says {stated.side or 'both knees'}")
    elif stated.both:
        by_tag = laterality.side if laterality.source == "tag" else None
        conflict = laterality.conflict or (
            f"the user says that both knees are shown, the laterality tag says {by_tag}" if by_tag else None
        )
        laterality = Laterality(None, None, conflict, both=True)
    spacing = decide_spacing(film.spacing, stated.spacing, flags)
    polarity = stated.polarity or film.polarity
    return replace(film, flags=tuple(flags), laterality=laterality, spacing=spacing, polarity=polarity)


def read_metadata(path: Path | str) -> Metadata:
    """Read a metadata table: CSV, UTF-8, one row a film, with a header line.

    One of the columns `file`, `name` and `barcode` says which film a row is about (`Metadata.key_of`).
    `side` is R, L or B (or right, left, both). `spacing_mm` is the side of a square pixel, or
    `spacing_row_mm` and `spacing_column_mm` its height and width. `frame` counts from 1. `view` is AP, PA,
    lateral, skyline, oblique or other. `weight_bearing` is true or false.
    `polarity` is normal or inverted. Empty cells state nothing, other
    columns are left out.

    Raises:
        BadMetadata: The file cannot be read, a column is missing, or a line holds what cannot be true; the
            message names the line.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise BadMetadata(f"the table has more than {_MOST_BYTES} bytes", path=path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read_table(csv.reader(file, strict=True), path)
    except UnicodeDecodeError:
        raise BadMetadata("the table is not UTF-8", path=path, remedy="save it as CSV UTF-8") from None
    except csv.Error:
        raise BadMetadata("the table is not CSV", path=path, remedy="save it as CSV UTF-8") from None
    except OSError as error:
        raise BadMetadata(f"the table cannot be opened ({type(error).__name__})", path=path) from error


def _read_table(reader: Any, path: Path) -> Metadata:  # noqa: ANN401 - csv's reader has no public type
    names = [name.strip() for name in next(reader, [])]
    key = _key_column(names, path)
    used = tuple(name for name in names if name in _CELLS)
    if not used:
        raise BadMetadata(
            "the table states nothing", path=path, remedy=f"its columns may be {', '.join(_CELLS)}"
        )
    rows: dict[str, Stated] = {}
    lines: dict[str, int] = {}
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        line = reader.line_num
        if len(cells) != len(names):
            raise BadMetadata(f"line {line} has {len(cells)} cells, the header {len(names)}", path=path)
        row = dict(zip(names, (cell.strip() for cell in cells), strict=True))
        film = row[key].replace("\\", "/").removeprefix("./")
        if not film:
            raise BadMetadata(f"line {line} has an empty {key}", path=path)
        if film in rows:
            raise BadMetadata(f"line {line} is about the same {key} as line {lines[film]}", path=path)
        rows[film], lines[film] = _read_row(row, used, line, path), line
    ends: dict[str, tuple[str, ...]] = {}
    for film in rows:
        end = film[-8:] if key == "barcode" else film.rpartition("/")[2]
        ends[end] = (*ends.get(end, ()), film)
    ignored = tuple(name for name in names if name not in (key, *used))
    return Metadata(path, key, used, ignored, rows, ends)


def _key_column(names: list[str], path: Path) -> str:
    keys = [name for name in KEYS if name in names]
    if len(keys) != 1:
        has = "no column of" if not keys else "more than one column of"
        remedy = "separate columns by commas" if len(names) == 1 else "keep the one that names the films"
        raise BadMetadata(f"the table has {has} {', '.join(KEYS)}", path=path, remedy=remedy)
    repeated = {name for name in names if names.count(name) > 1 and (name in _CELLS or name in KEYS)}
    if repeated:
        raise BadMetadata(f"the table has the column {min(repeated)} more than once", path=path)
    if ("spacing_row_mm" in names) != ("spacing_column_mm" in names):
        raise BadMetadata("the table has one of spacing_row_mm and spacing_column_mm", path=path)
    if "spacing_mm" in names and "spacing_row_mm" in names:
        raise BadMetadata("the table has both spacing_mm and spacing_row_mm", path=path)
    return keys[0]


def _read_row(row: Mapping[str, str], used: tuple[str, ...], line: int, path: Path) -> Stated:
    said: dict[str, Any] = {}
    for name in used:
        if not row[name]:
            continue
        try:
            said[name] = _CELLS[name][0](row[name])
        except (ValueError, KeyError):
            raise BadMetadata(
                f"line {line} has an unusable {name}", path=path, remedy=f"it may be {_CELLS[name][1]}"
            ) from None
    square = said.get("spacing_mm")
    height, width = said.get("spacing_row_mm", square), said.get("spacing_column_mm", square)
    if (height is None) != (width is None):
        raise BadMetadata(f"line {line} has one of spacing_row_mm and spacing_column_mm", path=path)
    return Stated(
        side=said.get("side"),
        both="side" in said and said["side"] is None,
        spacing=None if height is None or width is None else Spacing(height, width, "user"),
        frame=said.get("frame"),
        view=said.get("view"),
        weight_bearing=said.get("weight_bearing"),
        polarity=said.get("polarity"),
    )


def _millimetres(cell: str) -> float:
    value = float(cell)
    if not usable_mm(value):
        raise ValueError(cell)
    return value


def _positive(cell: str) -> int:
    value = int(cell)
    if value < 1:
        raise ValueError(cell)
    return value


_CELLS: Final[dict[str, tuple[Callable[[str], object], str]]] = {
    "side": (lambda cell: _SIDES[cell.lower()], "R, L or B"),
    "spacing_mm": (_millimetres, "the side of a pixel in mm, 0.01 to 2"),
    "spacing_row_mm": (_millimetres, "the height of a pixel in mm, 0.01 to 2"),
    "spacing_column_mm": (_millimetres, "the width of a pixel in mm, 0.01 to 2"),
    "frame": (_positive, "a number from 1"),
    "view": (lambda cell: _VIEWS[cell.lower()], "AP, PA, lateral, skyline, oblique or other"),
    "weight_bearing": (lambda cell: _TRUTH[cell.lower()], "true or false"),
    "polarity": (lambda cell: _POLARITIES[cell.lower()], "normal or inverted"),
}
