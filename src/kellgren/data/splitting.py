"""A split of one's own: train, validation, test and folds by patient, each with the whole's mix of KL grades.

Wang 2021 divides 5 : 1 : 3 with the grades' distribution kept, but by knee; here no patient is on two sides.
Needs the study extra (scikit-learn's stratified folds of groups).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypedDict

import numpy as np

from kellgren.data.folder import Knee, iter_images, knee_name, read_labels, split_of_place
from kellgren.data.imports import write_table
from kellgren.errors import BadDataset, require
from kellgren.read.tables import read_table
from kellgren.vocabulary import KL

SHARES: Final[Mapping[str, int]] = {"train": 5, "val": 1, "test": 3}
"""Wang 2021: "training, validation, and test sets with a ratio of 5:1:3, whose KL distribution keeps
consistent"."""


class SplitDocument(TypedDict):
    """One split in the JSON of `data split`."""

    knees: int
    patients: int
    KL: list[int]


class DividedDocument(TypedDict):
    """The JSON of `data split`: splits by name, and the number of knees of each fold."""

    splits: dict[str, SplitDocument]
    folds: list[int]


@dataclass(frozen=True, slots=True)
class Divided:
    """How knees were divided.

    Attributes:
        splits: By knee.
        folds: By knee of the train split.
        counts: By split, knees of KL 0 to 4 and of unknown grade.
        patients: By split.
    """

    splits: Mapping[str, str]
    folds: Mapping[str, int]
    counts: Mapping[str, tuple[int, ...]]
    patients: Mapping[str, int]

    def to_dict(self) -> DividedDocument:
        """JSON-ready."""
        sizes = np.bincount(list(self.folds.values()), minlength=1).tolist() if self.folds else []
        return {
            "splits": {
                name: {"knees": sum(counts), "patients": self.patients[name], "KL": list(counts)}
                for name, counts in self.counts.items()
            },
            "folds": sizes,
        }


def divide(knees: Mapping[str, Knee], *, shares: Mapping[str, int], folds: int, seed: int) -> Divided:
    """Divide knees by patient, keeping the mix of KL grades as well as whole patients allow.

    Args:
        knees: By name.
        shares: Parts of each split, positive: 5, 1 and 3 are five, one and three ninths of the patients.
        folds: Of the train split; 0 for none.
        seed: Another seed is another division; the same one always gives the same.

    Raises:
        BadDataset: If there are fewer patients than parts.
        MissingExtra: Without scikit-learn.
    """
    names = sorted(knees)
    part = _parts(knees, names, sum(shares.values()), seed)
    of_part = [split for split, share in shares.items() for _ in range(share)]
    splits = {name: of_part[part[name]] for name in names}
    trained = [name for name in names if splits[name] == "train"]
    by_fold = _parts(knees, trained, folds, seed) if folds and trained else {}
    chosen = {split: [knees[name] for name in names if splits[name] == split] for split in shares}
    return Divided(
        splits,
        by_fold,
        {split: _mix(some) for split, some in chosen.items()},
        {split: len({knee.patient for knee in some}) for split, some in chosen.items()},
    )


def _parts(knees: Mapping[str, Knee], names: list[str], count: int, seed: int) -> dict[str, int]:
    """Equal parts by patient with equal mixes of grades: each knee's part."""
    if count < 2:
        return dict.fromkeys(names, 0)
    require("study", "dividing a data set")
    from sklearn.model_selection import StratifiedGroupKFold

    patients = [knees[name].patient for name in names]
    if len(set(patients)) < count:
        raise BadDataset(f"{len(set(patients))} patients cannot be divided into {count} parts")
    grades = [knees[name].readings.get("KL", KL.classes) for name in names]
    folder = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    parts: dict[str, int] = {}
    with warnings.catch_warnings():  # a grade with fewer knees than parts is missing from some: no wonder
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for index, (_, held) in enumerate(folder.split(names, grades, patients)):
            parts |= {names[i]: index for i in held}
    return parts


def _mix(knees: list[Knee]) -> tuple[int, ...]:
    grades = [knee.readings.get("KL", KL.classes) for knee in knees]
    return tuple(np.bincount(grades, minlength=KL.classes + 1).tolist())


def split_folder(
    root: Path, *, shares: Mapping[str, int] = SHARES, folds: int = 5, seed: int = 0, again: bool = False
) -> Divided:
    """Divide a data set folder: the column `split` of its `labels.csv`, and `folds.csv`.

    Args:
        root: Data set folder.
        shares: As for `divide`.
        folds: As for `divide`.
        seed: As for `divide`.
        again: Also if the table is divided already.

    Raises:
        BadDataset: If there is no `labels.csv`, it is divided already, or folders name the images' splits.
    """
    path = root / "labels.csv"
    knees = read_labels(path)
    if not knees:
        raise BadDataset(
            "no knee to divide",
            path=path,
            remedy="labels.csv has a row per knee: see kellgren data join-oarsi",
        )
    present = sorted({knee.split for knee in knees.values()})
    if len(present) > 1 and not again:
        raise BadDataset(
            f"already divided: {', '.join(present)}", path=path, remedy="--again divides it again"
        )
    for image in iter_images(root):
        split = split_of_place(image)
        if split is not None:
            raise BadDataset(
                f"{image.file} lies in a folder that names its split",
                path=root,
                remedy="move images out of train/GRADE and its like, or keep the split that they have",
            )
    divided = divide(knees, shares=shares, folds=folds, seed=seed)
    header, lines = read_table(path, BadDataset)
    rows = [dict(zip(header, cells, strict=True)) for _, cells in lines]
    name, split = (
        next(column for column in header if column.casefold() == word) for word in ("name", "split")
    )
    write_table(path, [row | {split: divided.splits[knee_name(row[name])]} for row in rows])
    if divided.folds:
        write_table(
            root / "folds.csv", [{"name": name, "fold": str(k)} for name, k in sorted(divided.folds.items())]
        )
    else:
        (root / "folds.csv").unlink(missing_ok=True)
    return divided
