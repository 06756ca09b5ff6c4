"""Downloads as they come, to a folder that kellgren works on: linked or copied, never re-encoded.

Importing again adds what is missing and leaves what is there: an interrupted import is finished by the same
command. A file appears under its name only when it is whole.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from kellgren.data.folder import iter_images
from kellgren.data.inventory import Entry, from_path
from kellgren.errors import BadDataset, UnreadableImage
from kellgren.read import Source, list_images
from kellgren.read.tables import read_table
from kellgren.writing import write_bytes, write_text

KNEE_FILMS: Final = "Fixed Flexion Knee"
"""Part of the OAI's series description of the films that the readings are of."""

CONTENTS: Final = "contents.csv"


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did.

    Attributes:
        added: Files that were linked or copied.
        there: Files that were there already.
        left_out: Number of files that were skipped, by reason.
    """

    added: int
    there: int
    left_out: dict[str, int]


def import_crops(source: Path, out: Path, *, size: int | None = None, link: bool = False) -> Imported:
    """Bring the Mendeley archive or a Kaggle copy of it into a data set folder.

    Args:
        source: The zip file, or the folder that it or its parts were unpacked to.
        out: Data set folder: `SPLIT/GRADE/NAME.EXT`.
        size: 224 or 299: which of the archive's `kneeKL224` and `kneeKL299` is meant where both are there.
        link: Make hard links instead of copies, where the source is a plain file.

    Returns:
        What was done. `auto_test`, other crops of the test films, is never brought in.

    Raises:
        BadDataset: If nothing fits, a knee is duplicated, or a file of that name and another length is
            there already.
    """
    left_out: Counter[str] = Counter()
    chosen: dict[str, Entry] = {}
    for entry in map(from_path, iter_images(source)):
        reason = _reason_to_leave(entry, size)
        if reason:
            left_out[reason] += 1
            continue
        name = f"{entry.patient}{entry.side}"
        if name in chosen:
            raise BadDataset(
                f"{name} is duplicated: {chosen[name].file} and {entry.file}",
                path=source,
                remedy="say which size is meant (299 or 224), or give the folder of one of them",
            )
        chosen[name] = entry
    if not chosen:
        raise BadDataset(
            "no images under SPLIT/GRADE/", path=source, remedy="give the folder or the zip of the archive"
        )
    added = 0
    for name, entry in chosen.items():
        suffix = PurePosixPath(entry.file).suffix.lower()
        target = out / str(entry.split) / str(entry.grade) / f"{name}{suffix}"
        try:
            added += _bring(entry.image, target, link=link)
        except UnreadableImage as error:
            left_out[f"cannot be read: {entry.file}: {error.message}"] += 1
    return Imported(added, len(chosen) - added - _unread(left_out), dict(left_out))


def _unread(left_out: Counter[str]) -> int:
    return sum(count for reason, count in left_out.items() if reason.startswith("cannot be read"))


def _reason_to_leave(entry: Entry, size: int | None) -> str:
    if entry.split == "auto_test":
        return "auto_test: other crops of the test films"
    folders = PurePosixPath(entry.file).parts[:-1]
    sizes = [int(part[-3:]) for part in folders if part in ("kneeKL224", "kneeKL299")]
    if size is not None and sizes and sizes[-1] != size:
        return f"of {sizes[-1]} pixels"
    if entry.split is None or entry.grade is None:
        return "not under SPLIT/GRADE/"
    if entry.patient is None or entry.side is None:
        return "name without id and side"
    return ""


def import_oai_films(source: Path, out: Path, *, link: bool = False) -> Imported:
    """Bring the OAI's bilateral fixed-flexion films of a visit into a flat folder, with a metadata table.

    Args:
        source: Folder with `contents.csv` (columns `Folder`, `ParticipantID`, `Barcode`,
            `SeriesDescription`) and the folders that it names, each with one film, or packed as
            `FOLDER.tar.gz`.
        out: Receives `ID_BARCODE.dcm` and `films.csv`, which `kellgren grade --metadata` takes: the films'
            headers are stripped of what it says.
        link: Make hard links instead of copies.

    Raises:
        BadDataset: If the table is not as described, or a folder holds several files.
    """
    left_out: Counter[str] = Counter()
    rows: list[dict[str, str]] = []
    added = 0
    for row in _contents(source / CONTENTS):
        if KNEE_FILMS not in row["SeriesDescription"]:
            left_out["another series"] += 1
            continue
        folder = source / row["Folder"].replace("\\", "/")
        packed = folder.with_name(f"{folder.name}.tar.gz")  # as the OAI's drives hold them
        films = list_images([packed if packed.is_file() else folder]).sources
        absent = not folder.exists() and not packed.exists()
        if source.resolve() not in folder.resolve().parents or absent or not films:
            left_out["no film in the folder that the table names"] += 1
            continue
        if len(films) > 1:
            raise BadDataset(f"{len(films)} files where one film is expected", path=folder)
        name = f"{row['ParticipantID']}_{row['Barcode']}"
        if not name.replace("_", "").isalnum():
            raise BadDataset(f"id or barcode {name!r} is no plain word", path=source / CONTENTS)
        try:
            added += _bring(films[0], out / f"{name}.dcm", link=link)
        except UnreadableImage as error:
            left_out[f"cannot be read: {row['Folder']}: {error.message}"] += 1
            continue
        rows.append(
            {
                "file": f"{name}.dcm",
                "side": "B",
                "view": "PA",
                "weight_bearing": "true",
                "patient": row["ParticipantID"],
                "oai_barcode": row["Barcode"],
                "visit": row.get("StudyDescription", ""),
            }
        )
    if not rows:
        raise BadDataset(f"no series {KNEE_FILMS!r} with a film", path=source / CONTENTS)
    write_table(out / "films.csv", rows)
    return Imported(added, len(rows) - added, dict(left_out))


def _contents(path: Path) -> Iterator[dict[str, str]]:
    header, rows = read_table(path, BadDataset)
    absent = sorted({"Folder", "ParticipantID", "Barcode", "SeriesDescription"} - set(header))
    if absent:
        raise BadDataset(f"no column {', '.join(absent)}", path=path)
    for _, cells in rows:
        yield dict(zip(header, cells, strict=True))


def _bring(image: Source, target: Path, *, link: bool) -> bool:
    """Link or copy one file; False where it is there already."""
    data = None if link and image.member is None else image.read_bytes()
    length = image.path.stat().st_size if data is None else len(data)
    if target.exists():
        if target.stat().st_size != length:
            raise BadDataset(
                "there is another file of that name", path=target, remedy="import into a new folder"
            )
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    if data is None:
        os.link(image.path, target)
        return True
    write_bytes(target, data)
    return True


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    """Write a CSV table whole or not at all; the first row names the columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
