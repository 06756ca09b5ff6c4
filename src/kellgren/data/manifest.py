"""The published single-knee data set, file by file: path and sha256 of all 8,260 images of 299 pixels.

P. Chen, *Knee Osteoarthritis Severity Grading Dataset*, Mendeley Data 2018, doi 10.17632/56rmx5bjcr.1, the
folder `kneeKL299`. The archive also holds `kneeKL224`, the same knees at 224 pixels, and `auto_test`, crops
of the test films by a detector; these are recognised by name and size, their hashes are not listed.
"""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

from kellgren.vocabulary import CROP_SIZE

SIZE: Final = CROP_SIZE
"""Height and width of the listed images, pixels."""

SMALL_SIZE: Final = 224
"""Height and width of the copies in `kneeKL224` and on Kaggle, pixels."""


@dataclass(frozen=True, slots=True)
class Published:
    """One published image.

    Attributes:
        name: OAI id and side.
        split: `train`, `val` or `test`.
        grade: KL grade.
        sha256: Of the PNG file of 299 pixels.
    """

    name: str
    split: str
    grade: int
    sha256: str


@cache
def published() -> MappingProxyType[str, Published]:
    """The published images by name, 8,260 of them."""
    packed = resources.files("kellgren.data").joinpath("manifest-kneekl299.csv.gz").read_bytes()
    rows = csv.DictReader(io.StringIO(gzip.decompress(packed).decode("ascii")))
    images = {}
    for row in rows:
        split, grade, file = PurePosixPath(row["path"]).parts
        name = PurePosixPath(file).stem
        images[name] = Published(name, split, int(grade), row["sha256"])
    return MappingProxyType(images)
