"""Data set folders: which knees there are, where their images lie, and what was read on them.

Two layouts are understood, and may be combined: images under `SPLIT/GRADE/NAME.EXT` (plain, or inside
zip files in the data set folder), and a `labels.csv` with a row per knee. Where both give a grade they
must agree. `folds.csv` adds cross-validation folds. Empty cells are readings that were never made.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from kellgren.errors import BadDataset, closest
from kellgren.read import Source, list_images
from kellgren.read.grade_folders import SPLIT_WORDS, SPLITS, place_of
from kellgren.read.names import IMAGE_SUFFIXES
from kellgren.vocabulary import MISSING, READINGS, TASKS, Side, oa_from_kl

_NAME_WITH_SIDE: Final = re.compile(r"^(?P<patient>\d{7}|MB\d{5})(?P<side>[RL])$")


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
            raise BadDataset(
                f"labels.csv names {len(missing)} knees without an image, first {missing[0]!r}", path=root
            )
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
    """The knees of a `labels.csv` by name, their `image` not yet known; None where there is no table.

    Raises:
        BadDataset: If the table breaks its contract.
    """
    if not path.is_file():
        return None
    knees: dict[str, Knee] = {}
    for line, row in _rows(path, required=("name", "split", "patient", "side", "KL")):
        name = row["name"]
        if name in knees:
            raise BadDataset(f"line {line}: {name!r} appears twice", path=path)
        side = row["side"]
        if side not in ("R", "L", ""):
            raise BadDataset(f"line {line}: side {side!r} is not R, L or empty", path=path)
        check_split(row["split"], path, line)
        if not row["patient"]:
            raise BadDataset(f"line {line}: no patient", path=path, remedy="splits are checked by patient")
        readings = {task: _reading(row[task], task, path, line) for task in READINGS if row.get(task)}
        image = Source(path, path.name)  # replaced by the image's own before anybody sees it
        knees[name] = Knee(
            name, row["split"], row["patient"], cast("Side | None", side or None), image, readings
        )
    return knees


def check_split(split: str, path: Path, line: int) -> None:
    """Refuse a split that is empty or nearly one of the usual words: `Val`, `validation`, `tset`.

    Other words are allowed (`external`, `fold3`): a misspelt one would be left out of every run unseen.

    Raises:
        BadDataset: With the word that is meant.
    """
    if split in SPLITS:
        return
    if not split:
        raise BadDataset(f"line {line}: no split", path=path, remedy=f"use {', '.join(SPLITS)} or a name")
    word = re.sub(r"[^a-z]", "", split.casefold())
    known = {re.sub(r"[^a-z]", "", written): name for written, name in SPLIT_WORDS.items()}
    near = closest(word, known, cutoff=0.8)
    if near is not None:
        meant = known[near]
        raise BadDataset(
            f"line {line}: split {split!r}", path=path, remedy=f"write {meant!r}, if it is meant"
        )


def _reading(text: str, task: str, path: Path, line: int) -> int:
    top = TASKS[task].classes - 1
    if not text.isdecimal() or int(text) > top:
        raise BadDataset(f"line {line}: {task} is {text!r}, not 0..{top} or empty", path=path)
    return int(text)


def read_folds(path: Path) -> dict[str, int]:
    """The fold of each name of a `folds.csv`; empty where there is no table.

    Raises:
        BadDataset: If the table breaks its contract.
    """
    if not path.is_file():
        return {}
    folds: dict[str, int] = {}
    for line, row in _rows(path, required=("name", "fold")):
        if row["name"] in folds:
            raise BadDataset(f"line {line}: {row['name']!r} appears twice", path=path)
        if not row["fold"].isdecimal():
            raise BadDataset(f"line {line}: fold {row['fold']!r} is not a number", path=path)
        folds[row["name"]] = int(row["fold"])
    return folds


def _rows(path: Path, *, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            absent = [name for name in required if name not in (reader.fieldnames or ())]
            if absent:
                raise BadDataset(f"no column {', '.join(absent)}", path=path)
            for row in reader:
                if None in row or None in row.values():
                    raise BadDataset(f"line {reader.line_num}: wrong number of cells", path=path)
                yield reader.line_num, {key: value.strip() for key, value in row.items()}
    except UnicodeDecodeError as error:
        raise BadDataset("not UTF-8 text", path=path) from error


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
    split_of: dict[str, str] = {}
    fold_of: dict[str, int | None] = {}
    for knee in dataset:
        split = "test" if knee.split == "auto_test" else knee.split
        if split_of.setdefault(knee.patient, split) != split:
            raise BadDataset(
                f"patient {knee.patient} is in {split_of[knee.patient]} and in {split}", path=dataset.root
            )
        if fold_of.setdefault(knee.patient, knee.fold) != knee.fold:
            raise BadDataset(f"patient {knee.patient} is in two folds", path=dataset.root)
