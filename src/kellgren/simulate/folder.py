"""A whole data set of simulated knees in the folder shape that kellgren reads."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Final, Literal

import numpy as np

from kellgren.simulate.crop import Phantom, draw_crop
from kellgren.simulate.writers import write_dicom, write_png
from kellgren.vocabulary import CROP_SIZE, Side

Format = Literal["png", "dicom", "mixed"]

GRADES: Final[dict[str, str]] = {
    **{name: name for name in ("KL", "FL", "FM", "TL", "TM", "JSN_L", "JSN_M")},
    **{"SC_FL": "SC_L", "SC_FM": "SC_M", "SC_TL": "SC_L", "SC_TM": "SC_M"},
}
"""Columns of readings and the drawn grade of each: both bones of a compartment are sclerotic alike."""

COLUMNS: Final = ("name", "split", "patient", "side", *GRADES)
"""Columns of `labels.csv`."""


def simulate(
    out: Path,
    n: int,
    *,
    seed: int = 0,
    format: Format = "png",  # noqa: A002
    size: int = CROP_SIZE,
) -> list[Path]:
    """Write `n` crops with their labels and the geometry that was drawn.

    Knees come in pairs (right, left) of one patient; every fifth patient is in `val`, the others in `train`.
    Every five consecutive knees hold each KL grade once, in random order, so that small sets have all
    grades. Knee i depends on `seed` and i alone: a larger set starts with the smaller one.

    Writes `images/NAME.png` (8 bit) or `images/NAME.dcm` (12 bit), `labels.csv` (`COLUMNS`), and
    `truth.json`: by name `key_points` (six x, y), `points` (thirty), `jsw_lateral`, `jsw_medial` in pixels,
    the same with `_mm`, and `spacing_mm`.

    Args:
        out: Folder to write into; made if absent.
        n: Number of knees, 1 or more.
        seed: Seed of everything.
        format: `"mixed"` alternates PNG, MONOCHROME2 and MONOCHROME1 by patient.
        size: Width and height in pixels.

    Returns:
        The image files, in the order of `labels.csv`.

    Raises:
        ValueError: `n` is below 1 or `format` unknown.
        OSError: Something cannot be written.
    """
    if n < 1:
        raise ValueError(f"n is {n}; it must be 1 or more")
    if format not in ("png", "dicom", "mixed"):
        raise ValueError(f"format is {format!r}; it must be png, dicom or mixed")
    images = out / "images"
    images.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    rows: list[dict[str, str | int]] = []
    truths: dict[str, dict[str, float | list[list[float]]]] = {}
    for index in range(n):
        phantom = _knee(index, seed, size)
        patient = f"sim{index // 2:04d}"
        name = f"{patient}{phantom.truth.side}"
        split = "val" if index // 2 % 5 == 4 else "train"
        grades = {column: getattr(phantom.truth, drawn) for column, drawn in GRADES.items()}
        rows.append({"name": name, "split": split, "patient": patient, "side": phantom.truth.side, **grades})
        truths[name] = _described(phantom)
        files.append(_write(phantom, images / name, format, index // 2))
    with (out / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (out / "truth.json").write_text(json.dumps(truths, indent=1) + "\n", encoding="utf-8")
    return files


def _knee(index: int, seed: int, size: int) -> Phantom:
    block = np.random.default_rng([seed, index // 5, 1]).permutation(5)
    side: Side = "L" if index % 2 else "R"
    return draw_crop(np.random.default_rng([seed, index]), KL=int(block[index % 5]), side=side, size=size)


def _write(phantom: Phantom, stem: Path, format: Format, patient: int) -> Path:  # noqa: A002
    kind = {"png": 0, "dicom": 1, "mixed": patient % 3}[format]
    if kind == 0:
        return write_png(phantom, stem.with_suffix(".png"))
    photometric: Literal["MONOCHROME1", "MONOCHROME2"] = "MONOCHROME1" if kind == 2 else "MONOCHROME2"
    return write_dicom(phantom, stem.with_suffix(".dcm"), photometric=photometric, patient=stem.name[:-1])


def _described(phantom: Phantom) -> dict[str, float | list[list[float]]]:
    truth = phantom.truth
    return {
        "key_points": truth.key_points.round(2).tolist(),
        "points": truth.points.round(2).tolist(),
        "jsw_lateral": round(truth.jsw_lateral, 3),
        "jsw_medial": round(truth.jsw_medial, 3),
        "jsw_lateral_mm": round(truth.jsw_lateral_mm, 3),
        "jsw_medial_mm": round(truth.jsw_medial_mm, 3),
        "spacing_mm": phantom.spacing_mm,
    }
