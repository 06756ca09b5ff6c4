"""Whether two images are copies: lay one over the other and see if the fine detail agrees.

Two films of different knees, or of one knee on different days, can be laid over each other so that the
bones' outlines meet. Their grain never does. A candidate's turn, scale and flip are known from its
fingerprint; the shift comes from phase correlation (Kuglin & Hines, Proc IEEE Cybern Soc 1975:163), what is
left from enhanced correlation maximisation (Evangelidis & Psarakis, IEEE Trans PAMI 2008;30:1858).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from kellgren.data.fingerprint import SIZE, Candidate, Thumbnail, blurred, flatten
from kellgren.vocabulary import Image

_TAPER: Final = np.outer(np.hanning(SIZE), np.hanning(SIZE)).astype(np.float32) ** 0.5
_CRITERIA: Final = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-4)
_EVERYWHERE: Final = np.ones((SIZE, SIZE), np.uint8)
_LEAST_OVERLAP: Final = 0.3  # of the image: less agrees by chance
_PROMISING: Final = 0.25  # correlation before the refinement: copies reach 0.4, half of the others not 0.15
_TILE: Final = 16  # pixels; a bone's outline crosses few of the tiles, its grain fills them all
_DETAIL: Final = 0.05  # least variance of a tile: an overexposed one says nothing
_INSIDE: Final = 0.6  # least share of a tile that must lie inside of both images

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Overlay:
    """How well one image lies over another.

    Attributes:
        likeness: Median over small tiles of the correlation of the finest detail, -1 .. 1. Knees whose
            outlines meet reach 0.4, the flipped other knee of a patient 0.7, copies more.
        inverted: Whether dark and bright are exchanged.
        flipped: Whether one is the mirror image of the other.
        turn: Rotation that takes the second image onto the first, degrees.
        zoom: Scale factor that does so.
        shift: Distance between the centres, share of the image's side.
        overlap: Share of the first image that the second one covers.
    """

    likeness: float
    inverted: bool
    flipped: bool
    turn: float
    zoom: float
    shift: float
    overlap: float


def lay_over(first: Thumbnail, second: Thumbnail, candidate: Candidate) -> Overlay:
    """Register the second image of a candidate onto the first.

    Args:
        first: (SIZE, SIZE) thumbnail of the candidate's first image.
        second: That of its second image.
        candidate: Flip, turn and scale to start from.

    Returns:
        The best overlay of those tried; `likeness` is 0 where nothing was found to agree.
    """
    target, source = flatten(first), flatten(second)
    starts = [_start(candidate, half_turn) for half_turn in (False, True)]
    spectrum = _spectrum(target)
    tried = [_shifted(spectrum, source, start) for start in starts]
    height, matrix = max(tried, key=lambda found: abs(found[0]))
    inverted = height < 0
    source = -source if inverted else source
    agreement = _correlation(target, source, matrix)
    likeness = 0.0
    if agreement > _PROMISING:
        refined = _refined(target, source, matrix)
        if _correlation(target, source, refined) > agreement:
            matrix = refined
        likeness = _likeness(first, 255 - second if inverted else second, matrix)
    return _describe(likeness, inverted, matrix)


def _start(candidate: Candidate, half_turn: bool) -> Matrix:
    """The candidate's move about the image's centre, (2, 3), second image to first."""
    angle = np.deg2rad(candidate.turn + (180 if half_turn else 0))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    flip = np.diag([-1.0, 1.0]) if candidate.mirrored else np.eye(2)
    linear = candidate.zoom * turn @ flip
    centre = np.full(2, (SIZE - 1) / 2)
    return np.column_stack([linear, centre - linear @ centre]).astype(np.float32)


def _spectrum(image: Image) -> Image:
    """(SIZE, SIZE, 2) real and imaginary part of the spectrum of an image that fades out at its border."""
    return np.asarray(cv2.dft(image * _TAPER, flags=cv2.DFT_COMPLEX_OUTPUT), np.float32)


def _shifted(target: Image, source: Image, start: Matrix) -> tuple[float, Matrix]:
    """Signed height of the phase correlation's peak, and the move with the shift that it stands at."""
    moved = np.asarray(cv2.warpAffine(source, start, (SIZE, SIZE), flags=cv2.INTER_LINEAR), np.float32)
    cross = np.asarray(cv2.mulSpectrums(target, _spectrum(moved), 0, conjB=True), np.float32)
    magnitude = np.hypot(cross[..., 0], cross[..., 1])[..., None]
    cross /= magnitude + 1e-3 * magnitude.max() + 1e-12
    surface = cv2.idft(cross, flags=cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)
    peaks = blurred(np.asarray(surface, np.float32), 0.8)
    y, x = np.unravel_index(np.abs(peaks).argmax(), peaks.shape)
    matrix = start.copy()
    matrix[:, 2] += [p - SIZE if p > SIZE // 2 else p for p in (x, y)]
    return float(peaks[y, x]), matrix


def _refined(target: Image, source: Image, matrix: Matrix) -> Matrix:
    """The move after maximising the correlation; as it was where that runs off to no plausible copy."""
    inverse = cv2.invertAffineTransform(matrix).astype(np.float32)
    try:
        _, refined = cv2.findTransformECC(
            target, source, inverse, cv2.MOTION_AFFINE, _CRITERIA, _EVERYWHERE, 3
        )
    except cv2.error:  # it does not converge: the two have nothing in common there
        return matrix
    moved = np.asarray(cv2.invertAffineTransform(np.asarray(refined)), np.float32)
    stretch = np.linalg.svd(moved[:, :2], compute_uv=False)
    return moved if stretch[1] > 0.5 and stretch[0] < 2 and stretch[0] < 1.25 * stretch[1] else matrix


def _covered(matrix: Matrix) -> npt.NDArray[np.uint8]:
    """(SIZE, SIZE) 1 where the second image, moved, lies over the first."""
    covered = cv2.warpAffine(_EVERYWHERE, matrix, (SIZE, SIZE), flags=cv2.INTER_NEAREST)
    return np.asarray(covered, np.uint8)


def _correlation(target: Image, source: Image, matrix: Matrix) -> float:
    """Correlation of two flattened images where both are; 0 where that is too little of the first."""
    inside = _covered(matrix) > 0
    if inside.mean() < _LEAST_OVERLAP:
        return 0.0
    moved = cv2.warpAffine(source, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
    a, b = target[inside], moved[inside]
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0


def _likeness(first: Thumbnail, second: Thumbnail, matrix: Matrix) -> float:
    """Median of the tiles' correlations in the band of 1 to 2 pixels, about 4 in a crop of 299."""
    moved = cv2.warpAffine(
        second.astype(np.float32),
        matrix,
        (SIZE, SIZE),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    a, b = _finest(first.astype(np.float32)), _finest(np.asarray(moved, np.float32))
    inside = cv2.erode(_covered(matrix), np.ones((7, 7), np.uint8), borderValue=0).astype(np.float32)

    def tiles(values: Image) -> Image:
        return np.asarray(cv2.blur(values * inside, (_TILE, _TILE)), np.float32)

    share = tiles(np.ones_like(a)) + 1e-6
    mean_a, mean_b = tiles(a) / share, tiles(b) / share
    covariance = tiles(a * b) / share - mean_a * mean_b
    variance_a, variance_b = tiles(a * a) / share - mean_a**2, tiles(b * b) / share - mean_b**2
    detailed = (variance_a > _DETAIL) & (variance_b > _DETAIL)
    correlations = covariance / np.sqrt(np.maximum(variance_a * variance_b, _DETAIL**2))
    counted = correlations[(inside > 0) & (share > _INSIDE) & detailed]
    enough = len(counted) >= _LEAST_OVERLAP / 2 * SIZE * SIZE
    return float(np.median(counted)) if enough else 0.0


def _finest(image: Image) -> Image:
    """The band of detail between 1 and 2 pixels, of equal strength everywhere."""
    band = blurred(image, 1.0) - blurred(image, 2.0)
    even: Image = band / np.sqrt(blurred(band * band, 6.0) + 0.1)
    return even.clip(-3, 3)


def _describe(likeness: float, inverted: bool, matrix: Matrix) -> Overlay:
    linear = matrix[:, :2].astype(np.float64)
    flipped = bool(np.linalg.det(linear) < 0)
    if flipped:
        linear = linear @ np.diag([-1.0, 1.0])
    centre = np.full(2, (SIZE - 1) / 2)
    return Overlay(
        likeness=likeness,
        inverted=inverted,
        flipped=flipped,
        turn=float(np.degrees(np.arctan2(linear[1, 0], linear[0, 0]))),
        zoom=float(np.sqrt(abs(np.linalg.det(linear)))),
        shift=float(np.linalg.norm(matrix @ np.append(centre, 1) - centre)) / SIZE,
        overlap=float(_covered(matrix).mean()),
    )
