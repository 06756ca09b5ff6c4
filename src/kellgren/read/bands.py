"""Large images a band of rows at a time: what lies between two whole arrays takes little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_PIXELS: Final = 1 << 20


def bands(image: npt.NDArray[Any]) -> Iterator[slice]:
    """Slices of rows that together are the image, of about a million pixels each."""
    rows = max(1, _PIXELS // max(1, image.shape[1]))
    return (slice(start, start + rows) for start in range(0, len(image), rows))


def in_bands(
    image: npt.NDArray[Any],
    function: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
    out: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """Apply a function of single pixels to an image.

    Args:
        image: (H, W, ...) pixels.
        function: Of a band (h, W, ...), to (h, W).
        out: (H, W) what to write to; may be `image`.

    Returns:
        (H, W) float32, `out` where it is given.
    """
    result = np.empty(image.shape[:2], np.float32) if out is None else out
    for rows in bands(image):
        result[rows] = function(image[rows])
    return result
