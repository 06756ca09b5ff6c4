"""From film to network: the equalised film that is searched, and the windows that are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from kellgren.model import framing
from kellgren.vocabulary import FloatArray

Pixels = npt.NDArray[np.uint8 | np.uint16]
"""Grey levels of 8 or 16 bits."""

SMALLEST: Final = 0.12
"""Smallest box that is searched for, as a share of the film's shorter side."""

FACTOR: Final = 2**-0.5
"""Size of each level of the pyramid against the one before it."""

BEYOND: Final = 0.25
"""How far a box may reach past the film's edge, in its own widths."""


def searchable(film: Pixels, window: int) -> tuple[npt.NDArray[np.uint8], float]:
    """Reduce a film to the size at which the smallest box fills the window, and equalise its histogram.

    Wang et al. equalise the whole film; at the size that is searched it costs nothing.

    Args:
        film: (H, W) grey, bone bright.
        window: Side of the first network's window, pixels.

    Returns:
        The reduced film (uint8), and its size against the original's. Films are never enlarged beyond
        twice their size.
    """
    scale = min(window / (SMALLEST * min(film.shape)), 2.0)
    size = (max(1, round(film.shape[1] * scale)), max(1, round(film.shape[0] * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return equalised(eight_bit(_resized(film, size, way))), scale


def eight_bit(image: Pixels) -> npt.NDArray[np.uint8]:
    """Pixels levels 0..255 of an 8 or 16 bit image."""
    return np.asarray(image if image.dtype == np.uint8 else image >> np.uint16(8), dtype=np.uint8)


def _resized(image: Pixels, size: tuple[int, int], way: int) -> Pixels:
    resized = cv2.resize(image, size, interpolation=way)
    if image.dtype == np.uint8:
        return np.asarray(resized, dtype=np.uint8)
    return np.asarray(resized, dtype=np.uint16)


def equalised(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The image with an even histogram."""
    return np.asarray(cv2.equalizeHist(image), dtype=np.uint8)


def pyramid(image: npt.NDArray[np.uint8], window: int) -> Iterator[tuple[npt.NDArray[np.uint8], float, int]]:
    """The searched film at ever smaller sizes, each with a black border for boxes that pass the edge.

    Yields:
        Image, its size against `image`, and the border's width in its pixels.
    """
    border, scale = round(BEYOND * window), 1.0
    level = image
    while True:
        bordered = cv2.copyMakeBorder(level, border, border, border, border, cv2.BORDER_CONSTANT, value=0)
        yield np.asarray(bordered, dtype=np.uint8), scale, border
        scale *= FACTOR
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        if min(size) < window * FACTOR:
            return
        level = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def cut(image: Pixels, box: FloatArray, size: int) -> tuple[npt.NDArray[np.uint8], FloatArray]:
    """One square window, black where it passes the image's edge.

    Args:
        image: (H, W) grey.
        box: (4,) what to show; rounded to whole pixels.
        size: Side of the result, pixels.

    Returns:
        (size, size) uint8, and the (4,) box that is really shown.
    """
    x0, y0 = (int(c) for c in np.round(box[:2]))
    side = max(2, round(float(box[2] - box[0] + box[3] - box[1]) / 2))
    inner = framing.window(image, x0, y0, side, side)
    way = cv2.INTER_AREA if side >= size else cv2.INTER_LINEAR
    shown = _resized(inner, (size, size), way)
    return eight_bit(shown), np.array([x0, y0, x0 + side, y0 + side], dtype=np.float64)


def standardised(windows: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Windows with mean 0 and standard deviation 1 each: their exposure does not matter.

    Args:
        windows: (n, s, s).

    Returns:
        (n, 1, s, s) float32.
    """
    values = windows.astype(np.float32)
    mean = values.mean(axis=(1, 2), keepdims=True)
    spread = values.std(axis=(1, 2), keepdims=True)
    return np.asarray((values - mean) / np.maximum(spread, 4.0), dtype=np.float32)[:, None]


def centred(image: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Equalised grey levels as -1..1."""
    return np.asarray(image, dtype=np.float32) / np.float32(127.5) - np.float32(1)
