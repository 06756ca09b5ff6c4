"""Data set folders: which knees there are, where their images lie, and what was read on them.

Two layouts are understood, and may be combined: images under `SPLIT/GRADE/NAME.EXT` (plain, or inside
zip files in the data set folder), and a `labels.csv` with a row per knee. Where both give a grade they
must agree. `folds.csv` adds cross-validation folds. Empty cells are readings that were never made.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from kellgren.errors import BadDataset, closest
from kellgren.read import Source, list_images
from kellgren.read.grade_folders import SPLIT_WORDS, SPLITS, grade_of_folder, place_of
from kellgren.read.laterality import side_word
from kellgren.read.names import IMAGE_SUFFIXES, image_stem
from kellgren.read.tables import is_missing, read_table, whole
from kellgren.vocabulary import MISSING, READINGS, TASKS, Side, oa_from_kl

_NAME_WITH_SIDE: Final = re.compile(r"^(?P<patient>\d{7}|MB\d{5})(?P<side>[RL])$")
_FOLD: Final = re.compile(r"[0-9]{1,6}")
_SHOWN: Final = 20  # offenders that a message names


@dataclass(frozen=True, slots=True)
class Knee:
    """One knee of a data set.

    Attributes:
        name: Unique name, e.g. OAI id and side.
        split: `train`, `val`, `test` or `auto_test`.
        patient: Patient id; knees of one patient never fall into different splits or folds.
        side: `"R"`, `"L"`, or None where unknown.
        image: Where the crop lies.
        readings: Grade by task name; a task that was not read is absent.
        fold: Cross-validation fold within the train split, or None.
    """

    name: str
    split: str
    patient: str
    side: Side | None
    image: Source
    readings: Mapping[str, int] = field(default_factory=dict)
    fold: int | None = None

    def grade(self, task: str) -> int:
        """The reading of a task, `MISSING` where there is none; OA follows from KL."""
        if task == "OA":
            return oa_from_kl(self.readings.get("KL", MISSING))
        return self.readings.get(task, MISSING)


@dataclass(frozen=True, slots=True)
class DataSet:
    """The knees of a data set folder, in name order."""

    root: Path
    knees: tuple[Knee, ...]

    def __len__(self) -> int:
        return len(self.knees)

    def __iter__(self) -> Iterator[Knee]:
        return iter(self.knees)

    def __repr__(self) -> str:
        counts = {split: sum(k.split == split for k in self.knees) for split in SPLITS}
        shown = ", ".join(f"{split} {n}" for split, n in counts.items() if n)
        return f"DataSet({str(self.root)!r}: {len(self)} knees; {shown})"

    def select(self, *, split: str | None = None, folds: Iterable[int] | None = None) -> DataSet:
        """The knees of a split, and of these only the given folds.

        Raises:
            BadDataset: If nothing is left.
        """
        wanted = None if folds is None else frozenset(folds)
        kept = tuple(
            k for k in self.knees if split in (None, k.split) and (wanted is None or k.fold in wanted)
        )
        if not kept:
            which = f"split {split!r}" + (f", folds {sorted(wanted)}" if wanted is not None else "")
            raise BadDataset(f"no knees in {which}", path=self.root, remedy=f"the data set has: {self!r}")
        return replace(self, knees=kept)

    def grades(self, task: str) -> npt.NDArray[np.int64]:
        """(N,) readings of one task, `MISSING` (-1) where there is none."""
        return np.array([knee.grade(task) for knee in self.knees], dtype=np.int64)

    def patients(self) -> npt.NDArray[np.str_]:
        """(N,) patient ids."""
        return np.array([knee.patient for knee in self.knees])

    def sha256(self) -> str:
        """Fingerprint of names, splits, folds and readings (not of pixels): what a card calls its data."""
        digest = hashlib.sha256()
        for k in self.knees:
            readings = ",".join(f"{task}={k.readings[task]}" for task in sorted(k.readings))
            digest.update(f"{k.name}|{k.split}|{k.patient}|{k.side}|{k.fold}|{readings}\n".encode())
        return digest.hexdigest()


def load(root: Path | str) -> DataSet:
    """Read a data set folder.

    Args:
        root: Folder with images (`SPLIT/GRADE/NAME.EXT`, plain or in zips, or anywhere when `labels.csv`
            names them) and optionally `labels.csv` and `folds.csv`.

    Raises:
        BadDataset: If the folder breaks its contract; the message names the file and the first offenders.
    """
    root = Path(root)
    if not root.is_dir():
        raise BadDataset("not a folder", path=root)
    images = _find_images(root)
    labels = read_labels(root / "labels.csv")
    if labels is None:
        knees = [_knee_from_path(root, image) for image in images.values()]
    else:
        missing = sorted(labels.keys() - images.keys())
        if missing:
            names = ", ".join(map(repr, missing[:_SHOWN])) + (", ..." if len(missing) > _SHOWN else "")
            raise BadDataset(f"labels.csv names {len(missing)} knees without an image: {names}", path=root)
        knees = [_check_against_path(root, replace(k, image=images[n])) for n, k in labels.items()]
    if not knees:
        raise BadDataset("no images found", path=root, remedy="expected SPLIT/GRADE/NAME.png or labels.csv")
    folds = read_folds(root / "folds.csv")
    knees = [replace(k, fold=folds.get(k.name)) for k in knees]
    dataset = DataSet(root, tuple(sorted(knees, key=lambda k: k.name)))
    _check_patients(dataset)
    return dataset


def _find_images(root: Path) -> dict[str, Source]:
    images: dict[str, Source] = {}
    for image in iter_images(root):
        key = image.stem
        if "auto_test" in image.parts:  # detector crops of test patients: same names, other pixels
            key = f"auto_test/{key}"
        if key in images:
            first = images[key]
            raise BadDataset(f"two images are called {key!r}: {first.file} and {image.file}", path=root)
        images[key] = image
    return images


def iter_images(root: Path) -> Iterator[Source]:
    """Every image of a folder or archive, those in archives too, in the order of their paths.

    One that cannot be taken out of its archive says so when it is read.

    Raises:
        BadDataset: If a folder cannot be opened, or no image of an archive can be read.
    """
    if not root.exists():
        raise BadDataset("there is no such file or folder", path=root)
    sources = list_images([root]).sources
    whole = {source.member.archive for source in sources if source.member and source.error is None}
    for source in sources:
        lost = source.member is None or source.member.archive not in whole
        if source.error is not None and lost:
            path = source.path if source.member is None else source.member.archive
            raise BadDataset(source.error.message, path=path, remedy=source.error.remedy)
        if source.path.suffix.lower() in IMAGE_SUFFIXES:
            yield source


def read_labels(path: Path) -> dict[str, Knee] | None:
    """Read the knees of a `labels.csv` as people write it.

    Columns are found in any case. `Right`, `r` and `1` are sides; `2.0`, `2,0` and `2Mild` are grades; `NA`
    and its like are readings that were never made; a name may be a path and have its suffix.

    Returns:
        Knees by name, their `image` not yet known; None where there is no table.

    Raises:
        BadDataset: If the table breaks its contract: every cell that does is named, up to twenty of them.
    """
    if not (path.exists() or path.is_symlink()):
        return None
    knees: dict[str, Knee] = {}
    offenders: list[str] = []
    for line, row in _rows(path, ("name", "split", "patient", "side", "KL"), READINGS):
        name = knee_name(row["name"])
        words = _offences(row)
        if not name or name in knees:
            words.append(f"{name!r} appears twice" if name else "no name")
        offenders += [f"line {line}: {word}" for word in words]
        if not words:
            grades = ((task, _grade(row[task], task)) for task in READINGS if task in row)
            readings = {task: grade for task, grade in grades if grade is not None}
            side, split = cast("Side | None", side_word(row["side"])), _split(row["split"])
            image = Source(path, path.name)  # replaced by the image's own before anybody sees it
            knees[name] = Knee(name, split, whole(row["patient"]), side, image, readings)
    _refuse(offenders, path)
    if knees and not any("KL" in knee.readings for knee in knees.values()):
        raise BadDataset("the column KL is empty", path=path, remedy="write the KL grade of each knee, 0..4")
    return knees


def knee_name(cell: str) -> str:
    """The name of a knee by a cell that may be a path, of Windows too, and have an image's suffix."""
    parts = PureWindowsPath(cell).parts
    stem = whole(image_stem(parts[-1])) if parts else ""
    return f"auto_test/{stem}" if stem and "auto_test" in parts[:-1] else stem


def _offences(row: Mapping[str, str]) -> list[str]:
    """What is in doubt in a row of `labels.csv`."""
    words = []
    if not is_missing(row["side"]) and side_word(row["side"]) not in ("R", "L"):
        words.append(f"side {row['side']!r} is not R, L or empty: write R or L")
    try:
        check_split(_split(row["split"]))
    except BadDataset as error:
        words.append(f"{error.message}: {error.remedy}")
    if is_missing(row["patient"]):
        words.append("no patient: splits are checked by patient")
    for task in READINGS:
        cell = row.get(task, "")
        if not is_missing(cell) and _grade(cell, task) is None:
            words.append(f"{task} is {cell!r}, not 0..{TASKS[task].classes - 1} or empty")
    return words


def _split(cell: str) -> str:
    return SPLIT_WORDS.get(cell.casefold(), "" if is_missing(cell) else cell)


def _grade(cell: str, task: str) -> int | None:
    """The grade of a cell; None where it holds none."""
    text = whole(cell.replace(",", "."))
    if task == "KL" and text[:1].isalnum():  # not -1, which is no folder's "- 1" here
        return grade_of_folder(text)
    known = {str(grade): grade for grade in range(TASKS[task].classes)}
    return known.get(text)


def _refuse(offenders: Sequence[str], path: Path) -> None:
    if not offenders:
        return
    words = "; ".join(offenders[:_SHOWN])
    if len(offenders) > _SHOWN:
        words += f"; and {len(offenders) - _SHOWN} more"
    raise BadDataset(
        words if len(offenders) == 1 else f"{len(offenders)} cells are in doubt: {words}", path=path
    )


def check_split(split: str) -> None:
    """Refuse a split that is empty or nearly one of the usual words: `Val`, `validation`, `tset`.

    Other words are allowed (`external`, `fold3`): a misspelt one would be left out of every run unseen.

    Raises:
        BadDataset: With the word that is meant.
    """
    if split in SPLITS:
        return
    if not split:
        raise BadDataset("no split", remedy=f"use {', '.join(SPLITS)} or a name")
    word = re.sub(r"[^a-z]", "", split.casefold())
    known = {re.sub(r"[^a-z]", "", written): name for written, name in SPLIT_WORDS.items()}
    near = closest(word, known, cutoff=0.8)
    if near is not None:
        meant = known[near]
        raise BadDataset(f"split {split!r}", remedy=f"write {meant!r}, if it is meant")


def read_folds(path: Path) -> dict[str, int]:
    """The fold of each name of a `folds.csv`; empty where there is no table.

    Raises:
        BadDataset: If the table breaks its contract.
    """
    if not (path.exists() or path.is_symlink()):
        return {}
    folds: dict[str, int] = {}
    offenders: list[str] = []
    for line, row in _rows(path, ("name", "fold")):
        name, fold = knee_name(row["name"]), whole(row["fold"])
        if name in folds:
            offenders.append(f"line {line}: {name!r} appears twice")
        elif not _FOLD.fullmatch(fold):
            offenders.append(f"line {line}: fold {row['fold']!r} is not a number")
        else:
            folds[name] = int(fold)
    _refuse(offenders, path)
    return folds


def _rows(
    path: Path, required: tuple[str, ...], optional: Iterable[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """The cells of the named columns, whatever the case of the header, with their line numbers."""
    header, rows = read_table(path, BadDataset)
    known = {name.casefold(): name for name in (*required, *optional)}
    columns = [(known[name.casefold()], i) for i, name in enumerate(header) if name.casefold() in known]
    places = dict(columns)
    absent = [name for name in required if name not in places]
    if absent:
        raise BadDataset(
            f"no column {', '.join(absent)}", path=path, remedy="separate by commas, with a header line"
        )
    if len(places) < len(columns):
        raise BadDataset("two columns of one name", path=path, remedy="keep one of them")
    for line, cells in rows:
        yield line, {name: cells[i] for name, i in places.items()}


def _place(image: Source) -> tuple[str, int] | None:
    """Split and grade that the folders say, `(split, KL)`, or None in another layout."""
    place = place_of(image.parts)
    return None if place.split is None or place.grade is None else (place.split, place.grade)


def split_of_place(image: Source) -> str | None:
    """The split that an image's folders name, None in another layout."""
    place = _place(image)
    return None if place is None else place[0]


def _knee_from_path(root: Path, image: Source) -> Knee:
    place = _place(image)
    if place is None:
        raise BadDataset(
            f"{image.file} is not under SPLIT/GRADE/",
            path=root,
            remedy=f"use {', '.join(SPLITS)} and 0..4 as folders, or add labels.csv",
        )
    split, kl = place
    match = _NAME_WITH_SIDE.match(image.stem)
    if match is None:
        raise BadDataset(
            f"cannot tell the patient of {image.stem!r}",
            path=root,
            remedy="name images by seven-digit OAI id and side, e.g. 9000099L, or add labels.csv",
        )
    name = f"auto_test/{image.stem}" if split == "auto_test" else image.stem
    return Knee(name, split, match["patient"], cast("Side", match["side"]), image, {"KL": kl})


def _check_against_path(root: Path, knee: Knee) -> Knee:
    place = _place(knee.image)
    if place is not None and place != (knee.split, knee.readings.get("KL", place[1])):
        raise BadDataset(
            f"{knee.name}: labels.csv says {knee.split}/KL {knee.readings.get('KL')}, "
            f"its folder says {place[0]}/KL {place[1]}",
            path=root,
        )
    return knee


def _check_patients(dataset: DataSet) -> None:
    """No patient in two splits (auto_test being crops of the test films) and none in two folds."""
    first_of: dict[str, Knee] = {}
    for knee in dataset:
        first = first_of.setdefault(knee.patient, knee)
        splits = ["test" if k.split == "auto_test" else k.split for k in (first, knee)]
        names = f"{first.name} and {knee.name}"
        if splits[0] != splits[1]:
            raise BadDataset(f"one patient is in {splits[0]} and in {splits[1]}: {names}", path=dataset.root)
        if first.fold != knee.fold:
            raise BadDataset(f"one patient is in two folds: {names}", path=dataset.root)
