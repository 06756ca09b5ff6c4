"""Whole films with boxes: `boxes.csv` and the images it names, in a folder or in zips inside it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from kellgren.data.folder import iter_images
from kellgren.errors import BadDataset
from kellgren.read import Source
from kellgren.vocabulary import Side

TABLE: Final = "boxes.csv"


@dataclass(frozen=True, slots=True)
class FilmRef:
    """One film of a folder with boxes.

    Attributes:
        name: The `file` column.
        image: Where it lies.
        boxes: (n, 4) x0, y0, x1, y1 in pixels of the stored image, from the image's left to right.
        sides: Which knee each is, None where the table does not say.
    """

    name: str
    image: Source
    boxes: npt.NDArray[np.float64]
    sides: tuple[Side | None, ...]


def load_films(root: Path) -> tuple[FilmRef, ...]:
    """Read `boxes.csv`: a row per knee with `file`, `x0`, `y0`, `x1`, `y1` and optionally `side`.

    Args:
        root: Folder with the table, and the images beside it, below it or inside zip files in it.

    Returns:
        Films in name order.

    Raises:
        BadDataset: If the table cannot be read, or names an image that is not there.
    """
    path = root / TABLE
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise BadDataset(f"cannot read the boxes: {error.strerror}", path=path) from error
    images = {image.path.name: image for image in iter_images(root)}
    knees: dict[str, list[tuple[list[float], Side | None]]] = {}
    for line, row in enumerate(rows, 2):
        try:
            box = [float(row[key]) for key in ("x0", "y0", "x1", "y1")]
            name = row["file"]
        except (KeyError, TypeError, ValueError) as error:
            raise BadDataset(f"line {line}: no box ({error})", path=path) from error
        if not (box[2] > box[0] and box[3] > box[1]):
            raise BadDataset(f"line {line}: the box is empty", path=path)
        stated = row.get("side") or ""
        side: Side | None = "R" if stated == "R" else "L" if stated == "L" else None
        knees.setdefault(name, []).append((box, side))
    missing = sorted(set(knees) - set(images))
    if missing:
        raise BadDataset(f"{len(missing)} films of the table are not there, first {missing[0]!r}", path=root)
    films = []
    for name in sorted(knees):
        found = sorted(knees[name], key=lambda knee: knee[0][0])
        boxes = np.array([box for box, _ in found])
        films.append(FilmRef(name, images[name], boxes, tuple(side for _, side in found)))
    return tuple(films)
