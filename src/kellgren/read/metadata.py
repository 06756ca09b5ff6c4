"""What a user states about films whose own headers are stripped or wrong: a table with one row per film."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, get_args

from kellgren.errors import BadMetadata
from kellgren.read.files import Source
from kellgren.read.laterality import side_word
from kellgren.read.names import image_stem
from kellgren.read.radiograph import Laterality, Radiograph, Spacing
from kellgren.read.spacing import decide_spacing, usable_mm
from kellgren.read.tables import decimal, read_table, whole
from kellgren.vocabulary import Side

Polarity = Literal["normal", "inverted"]
View = Literal["AP", "PA", "lateral", "skyline", "oblique", "other"]

KEYS: Final = ("file", "name", "barcode")
"""Columns that say which film a row is about; a table has one of them."""

_POLARITIES: Final[dict[str, Polarity]] = {word: word for word in get_args(Polarity)}
_VIEWS: Final[dict[str, View]] = {view.lower(): view for view in get_args(View)}
_TRUTH: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Stated:
    """What the user states on one film; None is not said.

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
    _lines: Mapping[str, int] = field(repr=False)
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
            for part in (image_stem(path.name), path.name, *reversed(path.parts[:-1])):
                if part in self.rows:
                    return part
                long = self._by_end.get(part, ())
                if len(long) == 1:
                    return long[0]
            return None
        if self.key == "name":
            return next((word for word in (path.name, image_stem(path.name)) if word in self.rows), None)
        whole = f"/{path.as_posix()}"
        fitting = [key for key in self._by_end.get(path.name, ()) if whole.endswith(f"/{key.lstrip('/')}")]
        return max(fitting, key=len, default=None)

    def check_sources(self, sources: Iterable[Source]) -> None:
        """Refuse a row that is about more than one file, before any is graded.

        A `barcode` may be that of a folder with several films.

        Raises:
            BadMetadata: With the line and two of the files.
        """
        if self.key == "barcode":
            return
        first: dict[str, Source] = {}
        for source in sources:
            key = self.key_of(source.path)
            if key is None:
                continue
            if key in first:
                raise BadMetadata(
                    f"line {self._lines[key]} fits two files: {_called(first[key])} and {_called(source)}",
                    path=self.path,
                    remedy="use a column file with more of the path",
                )
            first[key] = source

    def find(self, film: Path | str) -> Stated | None:
        """What is stated about a film, or None where no row is about it."""
        key = self.key_of(film)
        return None if key is None else self.rows[key]


def _called(source: Source) -> str:
    return f"{source.root}/{source.file}" if source.root else source.file


def apply_stated(film: Radiograph, stated: Stated, side: Side | None) -> Radiograph:
    """Add to a film what the user states of it; contradictions become flags.

    Args:
        film: The film, read with what the user states on its side.
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
    """Read a metadata table: one row per film, with a header line, as `kellgren.read.tables` reads it.

    One of the columns `file`, `name` and `barcode` says which film a row is about (`Metadata.key_of`).
    `side` is R, L or B in any usual word. `spacing_mm` is the side of a square pixel, or
    `spacing_row_mm` and `spacing_column_mm` its height and width. `frame` counts from 1. `view` is AP, PA,
    lateral, skyline, oblique or other. `weight_bearing` is true or false. `polarity` is normal or inverted.
    Empty cells state nothing, other columns are left out.

    Raises:
        BadMetadata: The file cannot be read, a column is missing, or a line holds what cannot be true; the
            message names the line.
    """
    path = Path(path)
    names, table = read_table(path, BadMetadata)
    key = _key_column(names, path)
    used = tuple(name for name in names if name in _CELLS)
    if not used:
        raise BadMetadata(
            "the table states nothing", path=path, remedy=f"its columns may be {', '.join(_CELLS)}"
        )
    rows: dict[str, Stated] = {}
    lines: dict[str, int] = {}
    for line, cells in table:
        row = dict(zip(names, cells, strict=True))
        film = row[key].replace("\\", "/").removeprefix("./")
        film = whole(film) if key == "barcode" else film
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
    return Metadata(path, key, used, ignored, rows, lines, ends)


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
    stated = NOTHING_STATED
    sides: dict[str, float] = {}
    for name in used:
        if not row[name]:
            continue
        try:
            stated = _CELLS[name][0](stated, row[name])
            if name.startswith("spacing"):
                sides[name] = _millimetres(row[name])
        except (ValueError, KeyError):
            raise BadMetadata(
                f"line {line} has an unusable {name}", path=path, remedy=f"it may be {_CELLS[name][1]}"
            ) from None
    square = sides.get("spacing_mm")
    height, width = sides.get("spacing_row_mm", square), sides.get("spacing_column_mm", square)
    if (height is None) != (width is None):
        raise BadMetadata(f"line {line} has one of spacing_row_mm and spacing_column_mm", path=path)
    if height is None or width is None:
        return stated
    return replace(stated, spacing=Spacing(height, width, "user"))


def _millimetres(cell: str) -> float:
    value = decimal(cell)
    if not usable_mm(value):
        raise ValueError(cell)
    return value


def _side(stated: Stated, cell: str) -> Stated:
    word = side_word(cell)
    if word is None:
        raise ValueError(cell)
    return replace(stated, both=True) if word == "B" else replace(stated, side=word)


def _frame(stated: Stated, cell: str) -> Stated:
    value = int(whole(cell))
    if value < 1:
        raise ValueError(cell)
    return replace(stated, frame=value)


def _view(stated: Stated, cell: str) -> Stated:
    return replace(stated, view=_VIEWS[cell.lower()])


def _weight_bearing(stated: Stated, cell: str) -> Stated:
    return replace(stated, weight_bearing=_TRUTH[whole(cell.lower())])


def _polarity(stated: Stated, cell: str) -> Stated:
    return replace(stated, polarity=_POLARITIES[cell.lower()])


def _spacing(stated: Stated, cell: str) -> Stated:
    _millimetres(cell)
    return stated


_CELLS: Final[dict[str, tuple[Callable[[Stated, str], Stated], str]]] = {
    "side": (_side, "R, L or B"),
    "spacing_mm": (_spacing, "the side of a pixel in mm, 0.01 to 2"),
    "spacing_row_mm": (_spacing, "the height of a pixel in mm, 0.01 to 2"),
    "spacing_column_mm": (_spacing, "the width of a pixel in mm, 0.01 to 2"),
    "frame": (_frame, "a number from 1"),
    "view": (_view, "AP, PA, lateral, skyline, oblique or other"),
    "weight_bearing": (_weight_bearing, "true or false"),
    "polarity": (_polarity, "normal or inverted"),
}
