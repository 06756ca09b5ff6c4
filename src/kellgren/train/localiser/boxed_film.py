"""Films with boxes and key points: what a detector learns from and is measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kellgren.vocabulary import FloatArray


@dataclass(frozen=True, slots=True)
class BoxedFilm:
    """A film on which every joint is known.

    Attributes:
        name: Where it is from, for messages and for folds.
        pixels: (H, W) uint8, bone bright.
        boxes: (n, 4) x0, y0, x1, y1 in pixels, square, framed as the published crops; may pass the edge.
        points: (n, 6, 2) x, y of the key points, femur then tibia, each from the *image's* left to right;
            NaN where nobody knows them.
    """

    name: str
    pixels: npt.NDArray[np.uint8]
    boxes: FloatArray
    points: FloatArray


def image_order(points: FloatArray, *, lateral_left: bool) -> FloatArray:
    """Six key points from lateral-to-medial order to the image's left-to-right order, and back.

    Args:
        points: (..., 6, 2) femur's three points, then tibia's.
        lateral_left: Whether the lateral side lies on the image's left, as in right knees.

    Returns:
        (..., 6, 2), each bone's points reversed if the lateral side lies on the right.
    """
    return points if lateral_left else points[..., [2, 1, 0, 5, 4, 3], :]


def mirrored(film: BoxedFilm) -> BoxedFilm:
    """The film seen from behind: pixels, boxes and points flipped left to right."""
    width = film.pixels.shape[1]
    boxes = film.boxes.copy()
    boxes[:, [0, 2]] = width - film.boxes[:, [2, 0]]
    points = film.points[:, [2, 1, 0, 5, 4, 3]].copy()
    points[..., 0] = width - 1 - points[..., 0]
    return BoxedFilm(film.name, np.ascontiguousarray(film.pixels[:, ::-1]), boxes, points)
