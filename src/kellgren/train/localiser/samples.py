"""Samples cut from films, as in MTCNN practice (Zhang et al., IEEE SPL 2016, section III).

Positives overlap a joint by an intersection over union of 0.65 or more, partials by 0.4 to 0.65, negatives
by less than 0.3. Positives and negatives teach what a knee is, positives and partials where its box is,
positives with known points where those are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from kellgren.locate import boxes as box
from kellgren.locate import windows
from kellgren.train.localiser.boxed_film import BoxedFilm
from kellgren.vocabulary import FloatArray

POSITIVE: Final = 0.65
PARTIAL: Final = 0.4
NEGATIVE: Final = 0.3


@dataclass(frozen=True, slots=True)
class Samples:
    """Windows and what is known of each.

    Attributes:
        windows: (n, s, s) uint8.
        knee: (n,) float32: 1 knee, 0 none, NaN for partials, of which neither is said.
        box: (n, 4) float32 offsets in window sides; NaN for negatives.
        points: (n, 6, 2) float32 places in window sides; NaN for all but positives with known points.
    """

    windows: npt.NDArray[np.uint8]
    knee: npt.NDArray[np.float32]
    box: npt.NDArray[np.float32]
    points: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.windows)

    def taken(self, index: npt.NDArray[np.integer]) -> Samples:
        """Some of the samples."""
        return Samples(self.windows[index], self.knee[index], self.box[index], self.points[index])


def joined(parts: list[Samples]) -> Samples:
    """All samples in one."""
    return Samples(
        np.concatenate([p.windows for p in parts]),
        np.concatenate([p.knee for p in parts]),
        np.concatenate([p.box for p in parts]),
        np.concatenate([p.points for p in parts]),
    )


def mixed(fresh: Samples, others: Samples, *, seed: int) -> Samples:
    """All fresh samples and as many of the others, drawn once."""
    drawn = np.random.default_rng([seed, 3]).permutation(len(others))[: len(fresh)]
    return joined([fresh, others.taken(np.sort(drawn))])


def generator(film: BoxedFilm, seed: int, level: int) -> np.random.Generator:
    """Source of a film's windows: the same whatever other films there are to learn from."""
    return np.random.default_rng([seed, level, *film.name.encode(), film.pixels.size])


def around(film: BoxedFilm, rng: np.random.Generator, *, near: int, far: int) -> FloatArray:
    """Places to look at: around each joint, tight and loose, and anywhere.

    Args:
        film: The film.
        rng: Source of the places.
        near: Squares per joint.
        far: Squares anywhere on the film, of every size that is searched.

    Returns:
        (n, 4) squares.
    """
    height, width = film.pixels.shape
    places = []
    for joint in film.boxes:
        side, centre = joint[2] - joint[0], (joint[:2] + joint[2:]) / 2
        # half of them within what a second look is given, half as far off as a first one may be
        loose = np.where(np.arange(near) % 2, 1.0, 0.35)[:, None]
        sides = side * np.exp(rng.normal(0, 0.16, (near, 1)) * loose)
        centres = centre + rng.normal(0, 0.13, (near, 2)) * side * loose
        places.append(np.concatenate([centres - sides / 2, centres + sides / 2], axis=1))
        strayed = centre + rng.uniform(-0.9, 0.9, (near // 3, 2)) * side
        half = side * np.exp(rng.uniform(-0.9, 0.6, (near // 3, 1))) / 2
        places.append(np.concatenate([strayed - half, strayed + half], axis=1))
    short = min(height, width)
    half = short * np.exp(rng.uniform(np.log(windows.SMALLEST), 0, (far, 1))) / 2
    anywhere = rng.uniform(0, 1, (far, 2)) * (width, height)
    places.append(np.concatenate([anywhere - half, anywhere + half], axis=1))
    return np.concatenate(places)


def cut(film: BoxedFilm, places: FloatArray, size: int, *, equalise: bool) -> Samples:
    """Cut windows at the given places and say of each what it shows; ambiguous ones are left out.

    Args:
        film: The film.
        places: (n, 4) squares.
        size: Side of the windows, pixels.
        equalise: Whether the film is equalised first, as for level 1.
    """
    pixels = windows.equalised(film.pixels) if equalise else film.pixels
    overlap = box.iou(places, film.boxes) if len(film.boxes) else np.zeros((len(places), 1))
    best, belongs = overlap.max(axis=1), overlap.argmax(axis=1)
    kept = np.flatnonzero((best < NEGATIVE) | (best >= PARTIAL))
    pieces = [windows.cut(pixels, place, size) for place in places[kept]]
    shown = np.stack([place for _, place in pieces]) if pieces else np.empty((0, 4))
    positive, negative = best[kept] >= POSITIVE, best[kept] < NEGATIVE
    knee = np.where(positive, 1.0, np.where(negative, 0.0, np.nan))
    offsets = np.full((len(kept), 4), np.nan)
    points = np.full((len(kept), 6, 2), np.nan)
    if len(film.boxes):
        owner = belongs[kept]
        offsets[~negative] = box.offsets(shown, film.boxes[owner])[~negative]
        side = (shown[:, 2] - shown[:, 0])[:, None, None]
        placed = (film.points[owner] + 0.5 - shown[:, None, :2]) / side
        points[positive] = placed[positive]
    stack = np.stack([piece for piece, _ in pieces]) if pieces else np.empty((0, size, size), np.uint8)
    return Samples(stack, knee.astype(np.float32), offsets.astype(np.float32), points.astype(np.float32))
