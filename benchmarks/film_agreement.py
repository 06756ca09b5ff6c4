"""Are knees on films graded as their crops are? Validation crops, composed into films, located, graded.

    python benchmarks/film_agreement.py --data DIR [--split val] [--out FILE]

Two makes of films: `plain` (crops at their own resolution, straight, unchanged inside) shows what framing
alone does to a grade; `varied` (turned, other exposure, noise, markers) shows everything together. Needs the
extra `train`, which composes the films.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

import kellgren
from kellgren import data, locate
from kellgren.evaluate.statistics import bootstrap, percentile_interval
from kellgren.locate import boxes
from kellgren.parallel import processors
from kellgren.train.contour.crops import TABLE, read_table
from kellgren.train.localiser import compose, films

SEED = 5


def plain(knees: list[compose.Knee], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Film and boxes with the crops' own pixels."""
    size = knees[0].pixels.shape[0]
    scene = replace(compose.draw(rng, box=(size, size)), box=float(size), tilts=(0.0, 0.0))
    half = round(size * (scene.limb + 0.25))
    shape = (round(size * (scene.above + scene.below)), 2 * half * len(knees))
    canvas, truth = np.zeros(shape, np.float32), []
    for i, knee in enumerate(knees):
        centre = (half * (2 * i + 1) + 0.5, round(size * scene.above) + 0.5)
        placed, turn = compose.leg(knee, scene, centre, 0.0, shape, rng)
        np.maximum(canvas, placed, out=canvas)
        truth.append([*turn[:, 2], *(turn[:, 2] + size)])
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8), np.array(truth)


def varied(knees: list[compose.Knee], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Film and boxes as training composes them, at the crops' own resolution."""
    size = float(knees[0].pixels.shape[0])
    film = compose.film(knees, compose.draw(rng, box=(size, size)), rng)
    return film.pixels, film.boxes


def main() -> None:
    """Print and write the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    dataset = data.load(options.data).select(split=options.split)
    points = read_table(options.data / TABLE)
    patients: dict[str, list[data.Knee]] = {}
    for knee in dataset:
        if knee.name in points and knee.side is not None:
            patients.setdefault(knee.patient, []).append(knee)
    grader = kellgren.load(threads=1)

    def alone(knee: data.Knee) -> int:
        return grader.grade_bytes(knee.image.read_bytes(), knee.name, input="crop", side=knee.side)[0][
            "KL"
        ].grade

    def on_film(patient: str, make: object) -> list[tuple[str, int, int, int | None]]:
        rng = np.random.default_rng([SEED, int(patient)])
        knees = sorted(patients[patient], key=lambda knee: knee.side != "R")[:2]
        pixels, truth = make([films.crop(knee, points[knee.name][0]) for knee in knees], rng)  # type: ignore[operator]
        encoded = cv2.imencode(".png", pixels)[1].tobytes()
        try:
            found = grader.grade_bytes(encoded, "film.png", input="film")
        except kellgren.NotAKnee:
            found = []
        given = np.array([knee.box for knee in found]).reshape(-1, 4)
        rows = []
        for knee, box in zip(knees, truth, strict=True):
            overlap = boxes.iou(box[None], given)[0] if len(given) else np.zeros(1)
            best = int(overlap.argmax())
            decided = found[best]["KL"].grade if overlap[best] >= 0.5 else None
            rows.append((patient, knee.grade("KL"), alone(knee), decided))
        return rows

    report = {"model": grader.title, "localiser": locate.DEFAULT, "split": options.split, "seed": SEED}
    with ThreadPoolExecutor(processors()) as pool:
        for make in (plain, varied):
            rows = [
                row for part in pool.map(lambda p, m=make: on_film(p, m), sorted(patients)) for row in part
            ]
            report[make.__name__] = compare(rows)
    text = json.dumps(report, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def compare(rows: list[tuple[str, int, int, int | None]]) -> dict[str, object]:
    """Found, same grade, and accuracy of film and crop on the knees that were found, with intervals."""
    found = [row for row in rows if row[3] is not None]
    names = {patient: i for i, patient in enumerate(sorted({row[0] for row in found}))}
    owner = np.array([names[row[0]] for row in found])
    truth, crop, film = (np.array([row[k] for row in found]) for k in (1, 2, 3))
    columns = {
        "same_grade": (crop == film).astype(float),
        "within_one": (np.abs(crop - film) <= 1).astype(float),
        "accuracy_crop": (crop == truth).astype(float),
        "accuracy_film": (film == truth).astype(float),
        "accuracy_difference": (film == truth).astype(float) - (crop == truth),
    }

    def means(counts: np.ndarray) -> dict[str, np.ndarray]:
        weights = counts[:, owner]
        return {name: weights @ values / weights.sum(axis=1) for name, values in columns.items()}

    drawn = bootstrap(means, len(names))
    figures: dict[str, object] = {"knees": len(rows), "patients": len(names), "found": len(found)}
    for name, values in columns.items():
        low, high = percentile_interval(drawn[name])
        figures[name] = [round(float(v), 4) for v in (values.mean(), low, high)]
    return figures


if __name__ == "__main__":
    main()
