"""Data set folders: which knees there are, where their images lie, and what was read on them.

Two layouts are understood, and may be combined: images under `SPLIT/GRADE/NAME.EXT` (plain, or inside
zip files in the data set folder), and a `labels.csv` with a row a knee. Where both give a grade they
must agree. `folds.csv` adds cross-validation folds. Empty cells are readings that were never made.
"""

from __future__ import annotations

import csv
import hashlib
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from kellgren.errors import BadDataset, closest
from kellgren.vocabulary import MISSING, READINGS, TASKS, Side, oa_from_kl

IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".dcm"})
SPLITS: Final = ("train", "val", "test", "auto_test")
_OTHER_WORDS: Final = {
    "training": "train",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
}
_NAME_WITH_SIDE: Final = re.compile(r"^(?P<patient>\d{7})(?P<side>[RL])$")


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Where an image lies: a file, or a member of a zip file.

    Attributes:
        path: The image file, or the zip file that holds it.
        member: Name inside the zip, or None for a plain file.
    """

    path: Path
    member: str | None = None

    @property
    def stem(self) -> str:
        """File name without folders and extension."""
        return PurePosixPath(self.member).stem if self.member else self.path.stem

    def parts(self, root: Path) -> tuple[str, ...]:
        """Folders and file name relative to the data set's root."""
        return PurePosixPath(self.member).parts if self.member else self.path.relative_to(root).parts

    def read_bytes(self) -> bytes:
        """The encoded image."""
        if self.member is None:
            return self.path.read_bytes()
        return _archive(self.path, self.path.stat().st_mtime_ns).read(self.member)


@lru_cache(maxsize=16)
def _archive(path: Path, modified_ns: int) -> zipfile.ZipFile:
    """An open zip file: reading its directory anew for each of thousands of members takes minutes."""
    del modified_ns  # part of the key: a file that was rewritten is opened again
    return zipfile.ZipFile(path)


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
    image: ImageRef
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


def _find_images(root: Path) -> dict[str, ImageRef]:
    found: dict[str, ImageRef] = {}

    def add(ref: ImageRef) -> None:
        key = ref.stem
        if "auto_test" in ref.parts(root):  # detector crops of test patients: same names, other pixels
            key = f"auto_test/{key}"
        if key in found:
            first = found[key]
            raise BadDataset(f"two images are called {key!r}: {first.path} and {ref.path}", path=root)
        found[key] = ref

    for image in iter_images(root):
        add(image)
    return found


def iter_images(root: Path) -> Iterator[ImageRef]:
    """Every image of a folder, in files and in zip files, in the order of their paths.

    Raises:
        BadDataset: If a zip file cannot be read.
    """
    for path in sorted(root.rglob("*")):
        if _hidden(path.relative_to(root).parts):
            continue
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            yield ImageRef(path)
        elif path.suffix.lower() == ".zip":
            try:
                with zipfile.ZipFile(path) as archive:
                    members = sorted(archive.namelist())
            except zipfile.BadZipFile as error:
                raise BadDataset("not a readable zip file", path=path) from error
            for member in members:
                inner = PurePosixPath(member)
                if inner.suffix.lower() in IMAGE_SUFFIXES and not _hidden(inner.parts):
                    yield ImageRef(path, member)


def _hidden(parts: Iterable[str]) -> bool:
    """Whether a file or one of its folders is hidden, as the `._NAME` twins that a Mac puts into zips are."""
    return any(part.startswith(".") for part in parts)


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
        image = ImageRef(path)  # replaced by the image's own place before anybody sees it
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
    known = {re.sub(r"[^a-z]", "", name): name for name in SPLITS} | _OTHER_WORDS
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


def _place(root: Path, image: ImageRef) -> tuple[str, int] | None:
    """Split and grade that the folders say, `(split, KL)`, or None in another layout."""
    parts = image.parts(root)
    if len(parts) < 3 or parts[-3] not in SPLITS or not parts[-2].isdecimal():
        return None
    return parts[-3], int(parts[-2])


def split_of_place(root: Path, image: ImageRef) -> str | None:
    """The split that an image's folders name, None in another layout."""
    place = _place(root, image)
    return None if place is None else place[0]


def _knee_from_path(root: Path, image: ImageRef) -> Knee:
    place = _place(root, image)
    if place is None:
        raise BadDataset(
            f"{'/'.join(image.parts(root))} is not under SPLIT/GRADE/",
            path=root,
            remedy=f"use {', '.join(SPLITS)} and 0..4 as folders, or add labels.csv",
        )
    split, kl = place
    if kl > 4:
        raise BadDataset(f"{'/'.join(image.parts(root))}: grade {kl} is not 0..4", path=root)
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
    place = _place(root, knee.image)
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
