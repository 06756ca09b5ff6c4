"""What is in a data set folder, as it is: every image with all that is said about it, right or wrong.

`kellgren.data.load` gives a data set that keeps its contract, or an error. The tools that look for what
is wrong need the rest too: two images of one name, patients in two splits, folders of no known split.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from kellgren.data.folder import Knee, iter_images, read_folds, read_labels
from kellgren.errors import BadDataset
from kellgren.read import Source
from kellgren.read.grade_folders import place_of
from kellgren.read.laterality import side_from_name
from kellgren.vocabulary import Side

# OAI (9000099R, Mendeley and Kaggle) and MOST (MB00123R) ids; what augmentation programs add behind a name
# (9000099R_flipped, 9000099R (2)) does not make another patient.
_PATIENT: Final = re.compile(r"(?:^|[_ -])(\d{7}|MB\d{5})(?:[ _-]?[RLrl])?(?=$|[_ .()-])")


@dataclass(frozen=True, slots=True)
class Entry:
    """An image and what its place, its name and the tables say about it.

    Attributes:
        image: Where it lies.
        file: Path relative to the data set's root; inside a zip `ARCHIVE/MEMBER`.
        split: Split, or None where nothing says it.
        grade: KL grade, or None.
        patient: Patient id, or None.
        side: Side, or None.
        fold: Cross-validation fold, or None.
    """

    image: Source
    file: str
    split: str | None
    grade: int | None
    patient: str | None
    side: Side | None
    fold: int | None = None

    @property
    def independent_split(self) -> str | None:
        """The split that its knee belongs to: the detector's crops show the test patients."""
        return "test" if self.split == "auto_test" else self.split


@dataclass(frozen=True, slots=True)
class Inventory:
    """The images of a folder.

    Attributes:
        root: The folder.
        entries: In order of their paths.
        contradictions: Images of which two sources say different things, and what, in plain words.
    """

    root: Path
    entries: tuple[Entry, ...]
    contradictions: tuple[tuple[Entry, str], ...]


def take(root: Path | str) -> Inventory:
    """List a data set folder.

    Args:
        root: A folder of images, plain or in zip files, in whatever layout, with or without `labels.csv`
            and `folds.csv`.

    Raises:
        BadDataset: If there is no such folder, no image in it, or a table or zip file cannot be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise BadDataset("not a folder", path=root)
    labels = read_labels(root / "labels.csv") or {}
    folds = read_folds(root / "folds.csv")
    entries: list[Entry] = []
    contradictions: list[tuple[Entry, str]] = []
    for image in iter_images(root):
        entry = from_path(image)
        entry = replace(entry, fold=folds.get(image.stem))
        if image.stem in labels and entry.split != "auto_test":
            entry, words = _labelled(entry, labels)
            contradictions += [(entry, word) for word in words]
        entries.append(entry)
    if not entries:
        raise BadDataset("no images found", path=root)
    return Inventory(root, tuple(entries), tuple(contradictions))


def from_path(image: Source) -> Entry:
    """What the folders and the name of an image say: `.../SPLIT/GRADE/NAME.EXT`, in any number of folders."""
    place, patient = place_of(image.parts), _PATIENT.search(image.stem)
    return Entry(
        image=image,
        file=image.file,
        split=place.split,
        grade=place.grade,
        patient=patient[1] if patient else None,
        side=side_from_name(image.path.name),
    )


def _labelled(entry: Entry, labels: Mapping[str, Knee]) -> tuple[Entry, list[str]]:
    """The entry with what the table says, and what the two say differently."""
    knee = labels[entry.image.stem]
    grade, words = knee.readings.get("KL"), []
    if None not in (grade, entry.grade) and grade != entry.grade:
        words.append(f"grade: the folder says KL {entry.grade}, labels.csv says KL {grade}")
    if entry.split is not None and entry.split != knee.split:
        words.append(f"split: the folder says {entry.split}, labels.csv says {knee.split}")
    if entry.side is not None and knee.side is not None and entry.side != knee.side:
        words.append(f"side: the name says {entry.side}, labels.csv says {knee.side}")
    if entry.patient is not None and entry.patient != knee.patient:
        words.append("patient: the name and labels.csv name two patients")
    merged = replace(
        entry,
        split=knee.split,
        grade=entry.grade if grade is None else grade,
        patient=knee.patient,
        side=knee.side or entry.side,
    )
    return merged, words
