"""Official readings of the OAI and MOST, brought to image names.

OAI: `kxr_sq_bu00.txt` and its sisters of other visits (`01`, `03`, `05`, `06`, `08`, `10`), from
"X-Ray Image Assessments, SemiQuant Readings BU": a row per knee and reading project, cells separated by `|`,
`SIDE` 1 right and 2 left, columns `VnnXRKL`, `VnnXROSFL` (osteophyte, femur lateral), `VnnXRJSM` (joint space
narrowing, medial), `VnnXRSC..`, `VnnXRATT.`, `VnnXRCY..`, `VnnXRCH.`; a cell is `3`, `3: 3` or a SAS missing
code (`.`, `.A: Not Expected`, ...). MOST: `MOSTV01235XRAY.txt`: a row per person, `V0XRKL` for the right and
`V0XLKL` for the left knee of visit 0, and so on.

Several OAI reading projects (`READPRJ`) may have read one knee. Project 15 read the whole cohort and is
taken first, then 37 and 42, then others by number; a reading that it did not make is taken from the next.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from kellgren.data.inventory import Entry, Inventory
from kellgren.errors import BadDataset
from kellgren.read.laterality import side_word
from kellgren.read.tables import is_missing, read_table, whole
from kellgren.vocabulary import READINGS, TASKS, Side

_PROJECTS: Final = ("15", "37", "42")
_MISSING: Final = re.compile(r"\.?[PSXZ]", re.IGNORECASE)  # beside what any table leaves empty
_NOT_GRADES: Final = {"8", "9"}  # MOST: not read, for a reason of its own

COLUMN: Final[dict[str, str]] = {
    "KL": "KL",
    **{task: f"OS{task}" for task in ("FL", "FM", "TL", "TM")},
    **{f"JSN_{c}": f"JS{c}" for c in "LM"},
    **{f"{f}_{b}{c}": f"{f}{b}{c}" for f in ("SC", "CY") for b in "FT" for c in "LM"},
    **{f"AT_T{c}": f"ATT{c}" for c in "LM"},
    **{f"CH_{c}": f"CH{c}" for c in "LM"},
}
"""Name of a task in the cohorts' columns, after the prefix of visit and `XR`: `V00XR` + `OSFL`."""


@dataclass(frozen=True, slots=True)
class Note:
    """A reading that was not taken as it stands.

    Attributes:
        patient: Id of the person.
        side: The knee.
        task: Column of `labels.csv`.
        words: What is wrong, and what was done.
    """

    patient: str
    side: Side
    task: str
    words: str


Key = tuple[str, Side]


@dataclass(frozen=True, slots=True)
class Readings:
    """The readings of a table.

    Attributes:
        knees: Grade by task, by patient and side; what was not read is absent.
        notes: Conflicts and values that are not a grade.
        columns: Tasks that the table has a column for.
    """

    knees: Mapping[Key, Mapping[str, int]]
    notes: tuple[Note, ...]
    columns: tuple[str, ...]


def read_oai(path: Path) -> Readings:
    """Read an OAI table of one visit.

    Args:
        path: `kxr_sq_buNN.txt`.

    Raises:
        BadDataset: If it is no such table.
    """
    header, rows = _table(path)
    visits = {m[1] for name in header if (m := re.fullmatch(r"(V\d\d)XRKL", name))}
    absent = sorted({"ID", "SIDE"} - set(header))
    if len(visits) != 1 or absent:
        what = f"no column {', '.join(absent)}" if absent else f"{len(visits)} columns like V00XRKL, not one"
        raise BadDataset(what, path=path, remedy="give kxr_sq_buNN.txt of one visit, separated by |")
    (visit,) = visits
    columns = {task: f"{visit}XR{name}" for task, name in COLUMN.items() if f"{visit}XR{name}" in header}
    projects: dict[Key, dict[str, list[Mapping[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for line, row in rows:
        side = side_word(row["SIDE"])
        if side is None or side == "B":
            raise BadDataset(f"line {line}: SIDE {row['SIDE']!r} is not 1 or 2", path=path)
        projects[whole(row["ID"]), side][_code(row.get("READPRJ", ""))].append(row)
    notes: list[Note] = []
    knees = {}
    for key, read in projects.items():
        rank = sorted(read, key=_rank)
        knees[key] = {
            task: grade
            for task, column in columns.items()
            if (grade := _decided(key, task, [(p, [r[column] for r in read[p]]) for p in rank], notes))
            is not None
        }
    return Readings(knees, tuple(notes), tuple(columns))


def read_most(path: Path, visit: int = 0) -> Readings:
    """Read MOST's table, wide by knee and visit.

    Args:
        path: `MOSTV01235XRAY.txt`, separated by tabs, commas or `|`.
        visit: 0, 1, 2, 3 or 5: baseline, 15, 30, 60 and 84 months.

    Raises:
        BadDataset: If it is no such table, or has no such visit.
    """
    header, rows = _table(path)
    names = {"R": f"V{visit}XR", "L": f"V{visit}XL"}
    if "MOSTID" not in header or not any(f"{prefix}KL" in header for prefix in names.values()):
        words = f"no columns MOSTID and V{visit}XRKL"
        raise BadDataset(words, path=path, remedy="give MOSTV01235XRAY.txt and a visit of 0, 1, 2, 3 or 5")
    notes: list[Note] = []
    knees: dict[Key, dict[str, int]] = {}
    columns = [task for task, name in COLUMN.items() if f"{names['R']}{name}" in header]
    cells: dict[Key, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for _, row in rows:
        for side in ("R", "L"):
            for task in columns:
                cells[whole(row["MOSTID"]), side][task].append(row.get(names[side] + COLUMN[task], ""))
    for key, tasks in cells.items():
        graded = {task: _decided(key, task, [("", found)], notes) for task, found in tasks.items()}
        knees[key] = {task: grade for task, grade in graded.items() if grade is not None}
    return Readings(knees, tuple(notes), tuple(columns))


def _rank(project: str) -> tuple[int, int, str]:
    known = _PROJECTS.index(project) if project in _PROJECTS else len(_PROJECTS)
    return known, int(project) if project.isdecimal() else 0, project


def _code(cell: str) -> str:
    """The code of a cell that may carry its label: `1: Right` is 1, and so is 1.0."""
    return whole(cell.partition(":")[0].strip())


def _decided(
    key: Key, task: str, projects: Iterable[tuple[str, Sequence[str]]], notes: list[Note]
) -> int | None:
    """The first project's reading, what disagrees with it noted; two readings of one project are none."""
    decided: int | None = None
    by = ""
    for project, cells in projects:
        grades = sorted({g for cell in cells if (g := _grade(cell, key, task, notes)) is not None})
        if not grades:
            continue
        where = f"project {project}" if project else "the table"
        if len(grades) > 1:
            words = " and ".join(map(str, grades))
            notes.append(Note(*key, task, f"{where} reads {words}: left empty"))
            return decided
        if decided is None:
            decided, by = grades[0], where
        elif decided != grades[0]:
            notes.append(Note(*key, task, f"{by} reads {decided}, {where} {grades[0]}: {decided} was taken"))
    return decided


def _grade(cell: str, key: Key, task: str, notes: list[Note]) -> int | None:
    code, top = _code(cell), TASKS[task].classes - 1
    if is_missing(code) or _MISSING.fullmatch(code) or code in _NOT_GRADES:
        return None
    try:
        value = float(code)
    except ValueError:
        value = -1.0
    if value in range(top + 1):
        return int(value)
    notes.append(Note(*key, task, f"{code!r} is not a grade of 0..{top}: left empty"))
    return None


def _table(path: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """Upper-case column names, and the rows with their line numbers."""
    names, rows = read_table(path, BadDataset)
    header = [name.strip('"').upper() for name in names]
    return header, ((line, dict(zip(header, cells, strict=True))) for line, cells in rows)


@dataclass(frozen=True, slots=True)
class Joined:
    """Readings brought to images.

    Attributes:
        rows: Cells of `labels.csv` by column, a row per knee, in name order.
        unread: Images whose knee is in no table.
        unnamed: Images whose name tells no patient or no side.
        unseen: Knees of the tables without an image.
        notes: Readings that were not taken as they stand, and folders that say another grade.
    """

    rows: tuple[dict[str, str], ...]
    unread: tuple[str, ...]
    unnamed: tuple[str, ...]
    unseen: int
    notes: tuple[Note, ...]

    @property
    def whole(self) -> bool:
        """Whether every image has its readings and nothing contradicted."""
        return not (self.unread or self.unnamed or self.notes)

    def to_dict(self) -> dict[str, int | list[str] | dict[str, int]]:
        """The report as a JSON document."""
        read = {task: sum(bool(row[task]) for row in self.rows) for task in READINGS}
        return {
            "matched": len(self.rows),
            "read": read,
            "images_without_readings": list(self.unread),
            "images_without_a_knee": list(self.unnamed),
            "knees_without_an_image": self.unseen,
            "notes": [f"{n.patient}{n.side} {n.task}: {n.words}" for n in self.notes],
        }


COLUMNS: Final = ("name", "split", "patient", "side", *READINGS)
"""Columns of the `labels.csv` that is written."""


def join(images: Inventory, tables: Iterable[Readings], *, split: str = "all") -> Joined:
    """Bring readings to image names.

    Args:
        images: From `kellgren.data.inventory.take`; names hold the id and the side, as in `9000099R`.
        tables: Readings, from `read_oai` and `read_most`.
        split: What to write for images whose folders name no split.

    Returns:
        The rows of `labels.csv`, and what did not match. `auto_test` images are skipped.

    Raises:
        BadDataset: If two images have one name.
    """
    tables = list(tables)
    knees: dict[Key, Mapping[str, int]] = {
        key: grades for table in tables for key, grades in table.knees.items()
    }
    rows, unread, unnamed, seen = [], [], [], set()
    notes: list[Note] = []
    entries = sorted((e for e in images.entries if e.split != "auto_test"), key=lambda e: e.image.stem)
    for name, group in groupby(entries, key=lambda e: e.image.stem):
        entry, *more = group
        if more:
            raise BadDataset(
                f"two images are called {name!r}: {entry.file} and {more[0].file}", path=images.root
            )
        if entry.patient is None or entry.side is None:
            unnamed.append(entry.file)
            continue
        key = entry.patient, entry.side
        if key not in knees:
            unread.append(entry.file)
            continue
        seen.add(key)
        rows.append(_row(entry, key, knees[key], split, notes))
    taken = [note for table in tables for note in table.notes if (note.patient, note.side) in seen]
    return Joined(tuple(rows), tuple(unread), tuple(unnamed), len(knees.keys() - seen), (*taken, *notes))


def _row(entry: Entry, key: Key, grades: Mapping[str, int], split: str, notes: list[Note]) -> dict[str, str]:
    grades = dict(grades)
    kl = grades.get("KL")
    if kl is not None and entry.grade is not None and kl != entry.grade:
        words = f"the folder says {entry.grade}, the reading {kl}: left empty"
        notes.append(Note(*key, "KL", words))
        del grades["KL"]
    cells = {"name": entry.image.stem, "split": entry.split or split, "patient": key[0], "side": key[1]}
    return cells | {task: str(grades[task]) if task in grades else "" for task in READINGS}


def sentences(joined: Joined) -> list[str]:
    """What matched and what did not, in plain sentences."""
    features = sum(bool(row["FL"]) for row in joined.rows)
    told = [f"{len(joined.rows)} knees have readings, {features} of them osteophytes too"]
    if joined.unread:
        told.append(f"{len(joined.unread)} images are of knees in no table, first {joined.unread[0]}")
    if joined.unnamed:
        told.append(f"{len(joined.unnamed)} names tell no id or no side, first {joined.unnamed[0]}")
    if joined.unseen:
        told.append(f"{joined.unseen} knees of the tables have no image here")
    if joined.notes:
        told.append(f"{len(joined.notes)} readings contradict another or are not a grade (--json lists them)")
    return told
