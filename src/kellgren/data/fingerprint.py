"""Which images of a set could be copies of one another: a fingerprint that a copy's edits leave alone.

The fingerprint is a Fourier-Mellin descriptor (Reddy & Chatterji, IEEE Trans Image Process 1996;5:1266):
the log magnitude of an image's spectrum on a log-polar grid. Shifting the image or inverting its grey
values does not change it; turning it rolls the grid along the angle, scaling it along the radius, and
flipping it reverses the angle. All knees look alike, and so do their spectra, so that the fingerprints
are whitened first, as the training knees of the published set vary: what is left is what tells one film
from another, much of it the grain of bone and detector. All pairs are then compared by matrix products,
once for each turn, scale and flip.

What is found here is a candidate. `kellgren.data.overlay` decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

SIZE: Final = 128
"""Height and width of the thumbnails that are compared, pixels."""

ANGLES: Final = 40
"""Steps of the half turn that a spectrum's magnitude repeats after: 4.5 degrees each."""

RADII: Final = 16
"""Logarithmic steps of spatial frequency; each is a scale factor of 1.127."""

_LOW, _HIGH = 5.0, 34.0  # cycles a thumbnail: below, all knees agree; above, JPEG and noise decide
_TURNS: Final = 4  # steps searched each way, 18 degrees
_ZOOMS: Final = 3  # steps searched each way, a factor of 1.43
_BLOCK: Final = 512  # rows and columns of a block of pairs: its scores stay in a processor's cache
_COARSE: Final = 256  # leading dimensions that every pair is compared in; the promising ones in all
_TRIED: Final = 3  # best moves in these dimensions of which one may be the best in all
_COARSE_SCORE: Final = 3.9  # standard deviations of the score of two unrelated images
_SCORE: Final = 4.4
_DIMENSIONS: Final = 512
_REFERENCE_COUNT: Final = 200  # images that the packaged mean counts for beside a set's own
_SHRINK: Final = 0.1
_EMPTY: Final = 8.0  # grey values of 255 from the darkest or brightest, JPEG's ringing included
_KNOWN: Final = 0.2  # share of the image that must be left

Thumbnail = npt.NDArray[np.uint8]
_Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Two images whose fingerprints agree more than those of unrelated images do.

    Attributes:
        first: Index of one image.
        second: Index of the other, larger than `first`.
        mirrored: Whether one has to be flipped to agree.
        turn: Rotation that takes the second image to the first, degrees, in the sense of the image's
            axes (x right, y down), known modulo 180.
        zoom: Scale factor that takes the second image to the first.
        score: Agreement, in standard deviations of that of unrelated images.
    """

    first: int
    second: int
    mirrored: bool
    turn: float
    zoom: float
    score: float


def thumbnail(pixels: npt.NDArray[np.float32] | npt.NDArray[np.uint8]) -> Thumbnail:
    """A small 8-bit copy of an image, stretched to a square and to its own range.

    Args:
        pixels: (H, W) grey values of any range.

    Returns:
        (SIZE, SIZE). The few darkest and brightest pixels may be cut off: a burnt-in marker must not
        leave a film of the range of 12 bits with a handful of grey values. Empty areas at the border
        (what a rotation, a shift or collimation leaves) are filled smoothly from what is beside them:
        otherwise images would be alike because their frames are.
    """
    shrink = min(pixels.shape) > SIZE
    small = cv2.resize(pixels, (SIZE, SIZE), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
    values = small.astype(np.float32)
    low, high = np.percentile(values, (0.2, 99.8))
    values = np.clip((values - low) * (255.0 / max(float(high - low), 1e-6)), 0, 255)
    return np.rint(_filled(values)).astype(np.uint8)


def _filled(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The image with its empty border areas filled from their surroundings."""
    dark, bright = values <= values.min() + _EMPTY, values >= values.max() - _EMPTY / 4
    empty = _cornered(dark) | _cornered(bright)
    if not empty.any():
        return values
    beside = np.asarray(cv2.dilate(empty.astype(np.uint8), np.ones((7, 7), np.uint8)))
    known = (beside == 0).astype(np.float32)
    if known.mean() < _KNOWN:
        return values
    filled = np.full_like(values, float(values[known > 0].mean()))
    for reach in (65, 25, 9):  # from afar to near: nearer values count where there are any
        weight = np.asarray(cv2.blur(known, (reach, reach)), np.float32)
        near = np.asarray(cv2.blur(values * known, (reach, reach)), np.float32) / np.maximum(weight, 1e-6)
        share = np.clip(weight / 0.2, 0, 1)
        filled = share * near + (1 - share) * filled
    whole: npt.NDArray[np.float32] = known * values + (1 - known) * filled
    return whole


def _cornered(area: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The parts of an area that reach a corner: an overexposed bone reaches the border at most."""
    whole = cv2.morphologyEx(area.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    labels = np.asarray(cv2.connectedComponents(whole, connectivity=8)[1])
    corners = labels[[1, 1, -2, -2], [1, -2, 1, -2]]
    return np.isin(labels, corners[corners > 0])


def blurred(image: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    """The image, smoothed by a Gaussian of `sigma` pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def flatten(image: Thumbnail) -> npt.NDArray[np.float32]:
    """Detail of equal strength everywhere: what brightness, contrast, gamma and equalisation leave.

    Args:
        image: (H, W) thumbnail.

    Returns:
        (H, W) in -3 .. 3: the image without what varies over more than about 12 pixels, divided by the
        local standard deviation.
    """
    smooth = blurred(image.astype(np.float32), 0.7)
    detail = smooth - blurred(smooth, 5.0)
    flat: npt.NDArray[np.float32] = detail / np.sqrt(blurred(detail * detail, 8.0) + 0.5)
    return flat.clip(-3, 3)


def _window() -> npt.NDArray[np.float32]:
    """Fades the image out towards its border, which is where copies differ most."""
    side = np.hanning(SIZE) ** 0.25
    return np.outer(side, side).astype(np.float32)


def _grid() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Columns and rows in the centred spectrum of each cell of the log-polar grid, (RADII, ANGLES) each."""
    angle = np.arange(ANGLES) * np.pi / ANGLES
    radius = (_LOW * (_HIGH / _LOW) ** ((np.arange(RADII) + 0.5) / RADII))[:, None]
    x, y = SIZE / 2 + radius * np.cos(angle), SIZE / 2 + radius * np.sin(angle)
    return x.astype(np.float32), y.astype(np.float32)


_WINDOW: Final = _window()
_GRID: Final = _grid()
ZOOM_STEP: Final = (_HIGH / _LOW) ** (1 / RADII)


def describe(image: Thumbnail) -> npt.NDArray[np.float32]:
    """(RADII, ANGLES) fingerprint of a thumbnail, not yet whitened."""
    spectrum = np.asarray(cv2.dft(flatten(image) * _WINDOW, flags=cv2.DFT_COMPLEX_OUTPUT), np.float32)
    magnitude = np.fft.fftshift(np.hypot(spectrum[..., 0], spectrum[..., 1]))
    return np.asarray(cv2.remap(np.log(magnitude + 1), *_GRID, cv2.INTER_LINEAR), np.float32)


class _Move(NamedTuple):
    """Steps on the grid of a fingerprint."""

    flip: bool
    turn: int
    zoom: int


@dataclass(frozen=True, slots=True)
class _Whitening:
    """What all fingerprints have in common, and directions that even out how they vary."""

    mean: npt.NDArray[np.float32]
    project: npt.NDArray[np.float32]

    def apply(self, centred: npt.NDArray[np.float32], dimensions: int | None = None) -> _Vectors:
        """(N, dimensions) unit vectors of centred prints: along the leading directions, or along all."""
        vectors = centred.reshape(-1, RADII * ANGLES) @ self.project[:, :dimensions]
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: _Vectors = vectors / np.maximum(length, 1e-9)
        return unit


def _centred(prints: npt.NDArray[np.float32], mean: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    centred: npt.NDArray[np.float32] = prints - mean
    centred -= centred.mean(axis=(1, 2), keepdims=True)
    return centred


@cache
def _reference() -> _Whitening:
    """Mean and whitening of the knees that `benchmarks/fit_fingerprint.py` was given."""
    with resources.files("kellgren.data").joinpath("fingerprint.npz").open("rb") as file:
        stored = np.load(file, allow_pickle=False)
        return _Whitening(stored["mean"].astype(np.float32), stored["project"].astype(np.float32))


def fit(prints: npt.NDArray[np.float32]) -> _Whitening:
    """Mean and whitening of many fingerprints, (N, RADII, ANGLES); flips and turns count as as many more."""
    mean = prints.mean(axis=0)
    centred = _centred(prints, mean)
    seen = [_moved(centred, _Move(flip, turn, 0)) for flip in (False, True) for turn in (-3, 0, 3)]
    vectors = np.concatenate(seen).reshape(-1, RADII * ANGLES)
    values, directions = np.linalg.eigh(vectors.T @ vectors / len(vectors))
    strength = values[::-1] + _SHRINK * float(values.mean())
    project = directions[:, ::-1] / np.sqrt(strength)
    return _Whitening(mean, project[:, :_DIMENSIONS].astype(np.float32))


def _whitening(prints: npt.NDArray[np.float32]) -> _Whitening:
    """The packaged whitening about a mean that is the more the set's own the larger the set is."""
    reference = _reference()
    mean = prints.mean(axis=0) * len(prints) + reference.mean * _REFERENCE_COUNT
    return _Whitening((mean / (len(prints) + _REFERENCE_COUNT)).astype(np.float32), reference.project)


def _moved(prints: npt.NDArray[np.float32], move: _Move) -> npt.NDArray[np.float32]:
    """The prints that the images would have if they were flipped, then turned, then scaled."""
    moved = np.roll(prints[:, :, ::-1], 1, axis=2) if move.flip else prints
    moved = np.roll(moved, move.turn, axis=2)
    if move.zoom == 0:
        return moved
    empty = np.zeros_like(moved[:, : abs(move.zoom)])
    if move.zoom > 0:
        return np.concatenate([empty, moved[:, : -move.zoom]], axis=1)
    return np.concatenate([moved[:, -move.zoom :], empty], axis=1)


def _moves() -> Iterator[_Move]:
    for flip in (False, True):
        for turn in range(-_TURNS, _TURNS + 1):
            for zoom in range(-_ZOOMS, _ZOOMS + 1):
                yield _Move(flip, turn, zoom)
        yield _Move(flip, ANGLES // 2, 0)


def find_candidates(prints: npt.NDArray[np.float32]) -> list[Candidate]:
    """Find the pairs of images that could be copies of one another.

    Args:
        prints: (N, RADII, ANGLES) fingerprints from `describe`.

    Returns:
        Candidates in order of `first` and `second`; of each pair only the move that fits best.
    """
    if len(prints) < 2:
        return []
    whitening = _whitening(prints)
    centred = _centred(prints, whitening.mean)
    moves = list(_moves())
    pairs = _promising(whitening, centred, moves)
    full = whitening.apply(centred)
    found: dict[tuple[int, int], Candidate] = {}
    for number, move in enumerate(moves):
        i, j = pairs[pairs[:, 2] == number, :2].T
        moved = whitening.apply(_moved(centred[j], move))
        scores = np.einsum("nd,nd->n", full[i], moved) * np.sqrt(full.shape[1])
        turn, zoom = move.turn * 180 / ANGLES, float(ZOOM_STEP**-move.zoom)
        for a, b, score in zip(i.tolist(), j.tolist(), scores.tolist(), strict=True):
            if score >= _SCORE and ((a, b) not in found or score > found[a, b].score):
                found[a, b] = Candidate(a, b, move.flip, turn, zoom, score)
    return [found[pair] for pair in sorted(found)]


def _promising(
    whitening: _Whitening, centred: npt.NDArray[np.float32], moves: Sequence[_Move]
) -> npt.NDArray[np.int64]:
    """(P, 3) first image, second image and number of a good move of every pair worth a closer look."""
    vectors = whitening.apply(centred, _COARSE)
    least = _COARSE_SCORE / np.sqrt(vectors.shape[1])
    found: list[npt.NDArray[np.int64]] = []
    for column in range(0, len(centred), _BLOCK):
        block = centred[column : column + _BLOCK]
        moved = np.stack([whitening.apply(_moved(block, move), _COARSE) for move in moves])
        for row in range(0, column + 1, _BLOCK):
            rows = vectors[row : row + _BLOCK]
            best = rows @ moved[0].T
            score = np.empty_like(best)
            for columns in moved[1:]:
                np.maximum(best, np.matmul(rows, columns.T, out=score), out=best)
            i, j = np.nonzero(best >= least)
            i, j = i[row + i < column + j], j[row + i < column + j]
            for one in np.unique(j):
                mine = i[j == one]
                which = (rows[mine] @ moved[:, one].T).argsort(axis=1)[:, -_TRIED:]
                pair = np.column_stack([row + mine, np.full_like(mine, column + one)])
                found.append(np.column_stack([pair.repeat(_TRIED, axis=0), which.ravel()]))
    return np.concatenate(found).astype(np.int64) if found else np.empty((0, 3), np.int64)
