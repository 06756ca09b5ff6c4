"""Whole films with boxes: `boxes.csv` and the images it names, in a folder or in zips inside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from kellgren.data.folder import iter_images
from kellgren.errors import BadDataset
from kellgren.read import Source
from kellgren.read.laterality import side_word
from kellgren.read.tables import decimal, is_missing, read_table
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
    header, rows = read_table(path, BadDataset)
    columns = [name.casefold() for name in header]
    absent = [name for name in ("file", "x0", "y0", "x1", "y1") if name not in columns]
    if absent:
        raise BadDataset(f"no column {', '.join(absent)}", path=path)
    images = {image.path.name: image for image in iter_images(root)}
    knees: dict[str, list[tuple[list[float], Side | None]]] = {}
    for line, cells in rows:
        row = dict(zip(columns, cells, strict=True))
        try:
            box = [decimal(row[key]) for key in ("x0", "y0", "x1", "y1")]
        except ValueError:
            raise BadDataset(f"line {line}: x0, y0, x1, y1 are not four numbers", path=path) from None
        if not (box[2] > box[0] and box[3] > box[1] and np.isfinite(box).all()):
            raise BadDataset(f"line {line}: the box is empty", path=path)
        stated = row.get("side", "")
        side = side_word(stated)
        if side == "B" or (side is None and not is_missing(stated)):
            raise BadDataset(f"line {line}: side {stated!r} is not R, L or empty", path=path)
        knees.setdefault(row["file"], []).append((box, side))
    missing = sorted(set(knees) - set(images))
    if missing:
        raise BadDataset(f"{len(missing)} films of the table are not there, first {missing[0]!r}", path=root)
    films = []
    for name in sorted(knees):
        found = sorted(knees[name], key=lambda knee: knee[0][0])
        boxes = np.array([box for box, _ in found])
        films.append(FilmRef(name, images[name], boxes, tuple(side for _, side in found)))
    return tuple(films)
