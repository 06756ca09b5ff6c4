"""Split and grade by folder names: `train/3/NAME`, `kneeKL299/val/0/NAME`, `test/KL 2/NAME`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from kellgren.read.containers import SUFFIXES

SPLITS: Final = ("train", "val", "test", "auto_test")

SPLIT_WORDS: Final[dict[str, str]] = {
    **{split: split for split in SPLITS},
    "training": "train",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
}
"""What people write for a split, in lower case."""

_NAMES: Final = (("normal", "healthy"), ("doubtful",), ("mild", "minimal"), ("moderate",), ("severe",))
_GRADE: Final = re.compile(
    r"(?:KL|grade|KL[ _-]?grade|G)?[ _-]*(?P<grade>[0-4])?(?![0-9])[ _-]*(?P<name>[a-z]*)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Place:
    """What the folders of an image say.

    Attributes:
        split: One of `SPLITS`, or None.
        grade: KL grade, 0-4, or None.
    """

    split: str | None
    grade: int | None


def grade_of_folder(name: str) -> int | None:
    """Read the grade that a folder is named by: `3`, `KL 3`, `Grade_3`, `3Moderate`, `moderate`.

    Args:
        name: The folder's name.

    Returns:
        0-4, or None; None too where number and word contradict each other.
    """
    match = _GRADE.fullmatch(name.strip())
    if match is None:
        return None
    number, word = match["grade"], match["name"].lower()
    by_word = next((grade for grade, words in enumerate(_NAMES) if word in words), None)
    if number is None:
        return by_word
    return int(number) if not word or by_word == int(number) else None


def place_of(parts: Sequence[str]) -> Place:
    """Read split and grade out of the folders of an image, with any folders and archives around them.

    Args:
        parts: Folders and file name, outermost first.
    """
    folders = [PurePosixPath(part).stem if part.lower().endswith(SUFFIXES) else part for part in parts[:-1]]
    split = next((SPLIT_WORDS[f.lower()] for f in reversed(folders) if f.lower() in SPLIT_WORDS), None)
    return Place(split, grade_of_folder(folders[-1]) if folders else None)
