"""All films that a localiser learns from: composed, simulated, real and changed copies of these."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from kellgren import simulate
from kellgren.data import DataSet
from kellgren.data import Knee as DataKnee
from kellgren.data.films import FilmRef, load_films
from kellgren.errors import BadDataset
from kellgren.locate import windows
from kellgren.measure import KEY_POINTS
from kellgren.read import read_bytes
from kellgren.simulate.implants import Hardware
from kellgren.simulate.legs import FilmView
from kellgren.standardise import standardise
from kellgren.train.contour.crops import TABLE, read_table
from kellgren.train.localiser import compose
from kellgren.train.localiser.boxed_film import BoxedFilm, image_order, mirrored
from kellgren.train.localiser.recipe import Material
from kellgren.vocabulary import FloatArray

_OTHERS: Final[tuple[tuple[FilmView, Hardware], ...]] = (
    ("lateral", "none"),
    ("ap", "total"),
    ("shaft", "none"),
    ("lateral", "none"),
    ("ap", "partial"),
)
"""What the simulated films without a native joint in front view show."""

_LONGEST: Final = 900
"""Longer side that real films are reduced to for training, pixels: knees of about 200."""


def learned(dataset: DataSet, material: Material, *, seed: int, threads: int) -> list[BoxedFilm]:
    """Composed and simulated films: what every detector of the same fold and seed learns from.

    Raises:
        BadDataset: See `composed`.
    """
    made = composed(dataset, material, seed=seed, threads=threads)
    return made + simulated(material.simulated, seed=seed, threads=threads)


def composed(dataset: DataSet, material: Material, *, seed: int, threads: int) -> list[BoxedFilm]:
    """Films composed from the crops of each patient.

    Args:
        dataset: Knees; `joint_line_points.csv` beside them gives the key points.
        material: How many, and how many of what.
        seed: Source of everything random; a patient's films do not depend on who else is there.
        threads: Films composed at once.

    Raises:
        BadDataset: If no knee has points.
    """
    table = read_table(dataset.root / TABLE)
    patients: dict[str, list[DataKnee]] = {}
    for knee in dataset:
        if knee.name in table and knee.side is not None:
            patients.setdefault(knee.patient, []).append(knee)
    if not patients:
        raise BadDataset(f"no knee of the data set is in {TABLE}", path=dataset.root)

    def compose_film(job: tuple[str, int]) -> BoxedFilm:
        patient, turn = job
        rng = np.random.default_rng([seed, zlib.crc32(patient.encode()), turn])
        # a right knee is on the image's left
        knees = sorted(patients[patient], key=lambda knee: knee.side != "R")[:2]
        if len(knees) == 2 and rng.random() < material.single:
            knees = [knees[rng.integers(2)]]
        crops = [crop(knee, table[knee.name][0]) for knee in knees]
        return compose.film(crops, compose.draw(rng, joint=rng.random() >= material.jointless), rng)

    jobs = [(patient, turn) for patient in sorted(patients) for turn in range(material.composed)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(compose_film, jobs))


def crop(knee: DataKnee, points: FloatArray) -> compose.Knee:
    """A knee of a data set, ready to be composed; `points` (30, 2) from the lateral margin on."""
    film = standardise(read_bytes(knee.image.read_bytes(), knee.name))
    six = image_order(points[list(KEY_POINTS)], lateral_left=knee.side == "R")
    return compose.Knee(knee.name, windows.eight_bit(film.pixels), six)


def real(root: Path) -> list[BoxedFilm]:
    """The films of a folder with `boxes.csv`, reduced for training, without key points.

    Raises:
        BadDataset: See `load_films`.
        UnreadableImage, NotAKnee: Naming the first film that cannot be used.
    """
    return [boxed(film) for film in load_films(root)]


def boxed(film: FilmRef) -> BoxedFilm:
    """One real film through the film stage, reduced."""
    pixels = standardise(read_bytes(film.image.read_bytes(), film.name)).pixels
    whole = BoxedFilm(
        film.name, windows.eight_bit(pixels), film.boxes, np.full((len(film.boxes), 6, 2), np.nan)
    )
    return reduced(whole)


def reduced(film: BoxedFilm) -> BoxedFilm:
    """The film with its longer side at most 900 pixels."""
    scale = min(1.0, _LONGEST / max(film.pixels.shape))
    size = (round(film.pixels.shape[1] * scale), round(film.pixels.shape[0] * scale))
    pixels = np.asarray(cv2.resize(film.pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return BoxedFilm(film.name, pixels, film.boxes * scale, (film.points + 0.5) * scale - 0.5)


def copies(films: list[BoxedFilm], number: int, *, seed: int) -> list[BoxedFilm]:
    """Changed copies of all films, see `varied`."""
    return [copy for film in films for copy in varied(film, number, seed=seed)]


def varied(film: BoxedFilm, number: int, *, seed: int) -> list[BoxedFilm]:
    """Copies of a film, each turned, resized, cut and exposed again, every other one mirrored."""
    made = []
    for turn in range(number):
        rng = np.random.default_rng([seed, zlib.crc32(film.name.encode()), turn])
        source = mirrored(film) if turn % 2 else film
        made.append(_changed(source, rng))
    return made


def _changed(film: BoxedFilm, rng: np.random.Generator) -> BoxedFilm:
    height, width = film.pixels.shape
    scale = float(np.exp(rng.normal(-0.3, 0.25)))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.normal(0, 5)), scale)
    size = (max(64, round(width * scale)), max(64, round(height * scale)))
    matrix[:, 2] += np.array(size) / 2 - (width / 2, height / 2)
    pixels = cv2.warpAffine(cv2.GaussianBlur(film.pixels, (0, 0), max(0.3, 0.4 / scale)), matrix, size)
    image = compose.exposed(pixels.astype(np.float32), rng)
    centres = (film.boxes[:, :2] + film.boxes[:, 2:]) / 2 @ matrix[:, :2].T + matrix[:, 2]
    half = (film.boxes[:, 2:] - film.boxes[:, :2]) / 2 * scale
    points = film.points @ matrix[:, :2].T + matrix[:, 2]
    boxes = np.concatenate([centres - half, centres + half], axis=1)
    return _trimmed(BoxedFilm(film.name, image, boxes, points), rng)


def _trimmed(film: BoxedFilm, rng: np.random.Generator) -> BoxedFilm:
    """Cut the film's edges off at random, never through a joint."""
    height, width = film.pixels.shape
    first, last = film.boxes[:, :2].min(axis=0), film.boxes[:, 2:].max(axis=0)
    low = np.clip(first, 0, None) * rng.uniform(0, 0.9, 2)
    spare = np.clip(np.array([width, height]) - last, 0, None)
    high = np.array([width, height]) - spare * rng.uniform(0, 0.9, 2)
    x0, y0 = (int(c) for c in low)
    x1, y1 = (int(np.ceil(c)) for c in high)
    shift = np.array([x0, y0], dtype=np.float64)
    return BoxedFilm(
        film.name,
        np.ascontiguousarray(film.pixels[y0:y1, x0:x1]),
        film.boxes - np.tile(shift, 2),
        film.points - shift,
    )


def simulated(number: int, *, seed: int, threads: int) -> list[BoxedFilm]:
    """Simulated films; one in four shows no native joint in front view, and has no boxes.

    Args:
        number: How many.
        seed: Source of everything random.
        threads: Films drawn at once.
    """

    def draw(index: int) -> BoxedFilm:
        rng = np.random.default_rng([seed, 41, index])
        if index % 4:
            film = simulate.draw_film(rng, hardware="none" if index % 8 else None)
        else:
            view, hardware = _OTHERS[index // 4 % len(_OTHERS)]
            film = simulate.draw_film(rng, view=view, hardware=hardware)
        pixels = 65535 - film.pixels if film.inverted else film.pixels
        native = [k for k in film.knees if film.view == "ap" and k.hardware not in ("total", "partial")]
        whole = BoxedFilm(
            f"simulated-{seed}-{index}",
            windows.eight_bit(np.asarray(pixels, np.uint16)),
            np.array([knee.box for knee in native]).reshape(-1, 4),
            np.array(
                [image_order(knee.key_points, lateral_left=knee.side == "R") for knee in native]
            ).reshape(-1, 6, 2),
        )
        return reduced(whole)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(draw, range(number)))
