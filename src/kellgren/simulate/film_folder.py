"""A folder of simulated films, with the truth about every knee on them and the crops cut from them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Final

import numpy as np

from kellgren.simulate.film import SimulatedFilm, SimulatedKnee, draw_film
from kellgren.simulate.folder import COLUMNS, GRADES, Format
from kellgren.simulate.writers import Kind, Photometric, write_dicom, write_grey, write_png

Cell = str | int | float
Row = dict[str, Cell]
Points = list[list[float]]

FILM_COLUMNS: Final = (
    "file", "knee", "side", "view", "hardware", "inverted", "width", "height", "spacing_mm", "magnification",
    "x0", "y0", "x1", "y1", "seen", *GRADES,
    "JSW_L_min", "JSW_L_mean", "JSW_M_min", "JSW_M_mean", "JSW_unit",
)  # fmt: skip
"""Columns of `films.csv`."""

_VARIANTS: Final[tuple[tuple[Kind, Photometric, int, bool], ...]] = (
    ("dx", "MONOCHROME2", 12, True),
    ("dx", "MONOCHROME1", 14, True),
    ("dx-processing", "MONOCHROME1", 14, True),
    ("cr", "MONOCHROME1", 10, True),
    ("cr", "MONOCHROME2", 12, False),
    ("sc", "MONOCHROME2", 8, False),
    ("sc", "MONOCHROME2", 16, True),
)
"""Kind, photometric interpretation, bits and whether side and spacing are stated, of DICOM films in turn."""


def simulate_films(out: Path, n: int, *, seed: int = 0, format: Format = "png") -> list[Path]:  # noqa: A002
    """Write `n` films with their truth. Film i depends on `seed` and i alone.

    Writes `films/NAME.png` (8 bit) or `films/NAME.dcm` (every DICOM kind in turn), `films.csv` (one row a
    knee, `FILM_COLUMNS`; a film without a joint has one row without a knee), `truth.json` (the same with the
    points of the joint line), and, of every graded knee that is wholly on its film and free of metal, its box
    resampled to 299 pixels in `images/` with its row in `labels.csv`: the folder is a data set folder too.

    Args:
        out: Folder to write into; made if absent.
        n: Number of films, 1 or more.
        seed: Seed of everything.
        format: `"mixed"` takes PNG for every third film.

    Returns:
        The films' files, in the order of `films.csv`.

    Raises:
        ValueError: `n` is below 1 or `format` unknown.
        OSError: Something cannot be written.
    """
    if n < 1:
        raise ValueError(f"n is {n}; it must be 1 or more")
    if format not in ("png", "dicom", "mixed"):
        raise ValueError(f"format is {format!r}; it must be png, dicom or mixed")
    (out / "films").mkdir(parents=True, exist_ok=True)
    (out / "images").mkdir(exist_ok=True)
    files: list[Path] = []
    rows: list[Row] = []
    labels: list[Row] = []
    truths: dict[str, dict[str, Cell | list[dict[str, Cell | Points]]]] = {}
    for index in range(n):
        film = draw_film(np.random.default_rng([seed, index, 2]), view=None, hardware=None)
        name = f"film{index:04d}"
        file = _write(film, out / "films" / name, format, index)
        files.append(file)
        described = [_knee_row(knee) for knee in film.knees]
        common = _film_row(film, file.relative_to(out).as_posix())
        rows += [{**common, "knee": i, **knee} for i, knee in enumerate(described or [{}], start=1)]
        if not film.knees:
            rows[-1]["knee"] = ""
        truths[name] = _document(film, file.relative_to(out).as_posix())
        labels += _write_crops(film, out / "images", name, "val" if index % 5 == 4 else "train")
    _write_table(out / "films.csv", FILM_COLUMNS, rows)
    _write_table(out / "labels.csv", COLUMNS, labels)
    (out / "truth.json").write_text(json.dumps(truths, indent=1) + "\n", encoding="utf-8")
    return files


def _write(film: SimulatedFilm, stem: Path, format: Format, index: int) -> Path:  # noqa: A002
    if format == "png" or (format == "mixed" and index % 3 == 0):
        return write_png(film, stem.with_suffix(".png"))
    kind, photometric, bits, tags = _VARIANTS[index % len(_VARIANTS)]
    return write_dicom(
        film,
        stem.with_suffix(".dcm"),
        kind=kind,
        photometric=photometric,
        bits_stored=bits,
        patient=stem.name,
        side_tag=tags,
        spacing_tag=tags,
    )


def _write_crops(film: SimulatedFilm, folder: Path, name: str, split: str) -> list[Row]:
    """Write the crops that can be graded; return their rows of `labels.csv`."""
    rows: list[Row] = []
    for index, knee in enumerate(film.knees):
        if knee.grades is None or knee.hardware != "none" or knee.seen < 0.98:
            continue
        row: Row = {"name": f"{name}{knee.side}", "split": split, "patient": name}
        write_grey(film.crop(index), folder / f"{row['name']}.png")
        grades = {column: getattr(knee.grades, drawn) for column, drawn in GRADES.items()}
        rows.append({**row, "side": knee.side, **grades})
    return rows


def _film_row(film: SimulatedFilm, file: str) -> Row:
    height, width = film.pixels.shape
    return {
        "file": file,
        "view": film.view,
        "inverted": str(film.inverted).lower(),
        "width": width,
        "height": height,
        "spacing_mm": film.spacing_mm,
        "magnification": film.magnification,
    }


def _knee_row(knee: SimulatedKnee) -> Row:
    row: Row = {"side": knee.side, "hardware": knee.hardware, "seen": knee.seen}
    row |= {name: round(v, 1) for name, v in zip(("x0", "y0", "x1", "y1"), knee.box, strict=True)}
    if knee.grades is not None:
        row |= {column: getattr(knee.grades, drawn) for column, drawn in GRADES.items()}
        for name, widths in (("JSW_L", knee.jsw_lateral), ("JSW_M", knee.jsw_medial)):
            if widths is not None:
                row |= {f"{name}_min": round(widths[0], 3), f"{name}_mean": round(widths[1], 3)}
        row["JSW_unit"] = "mm"
    return row


def _document(film: SimulatedFilm, file: str) -> dict[str, Cell | list[dict[str, Cell | Points]]]:
    knees: list[dict[str, Cell | Points]] = [
        {
            **_knee_row(knee),
            "points": knee.points.round(2).tolist(),
            "key_points": knee.key_points.round(2).tolist(),
        }
        for knee in film.knees
    ]
    return {**_film_row(film, file), "inverted": film.inverted, "knees": knees}


def _write_table(path: Path, columns: tuple[str, ...], rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
