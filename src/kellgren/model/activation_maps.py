"""Class activation maps in their place on the crop: where inputs look, and maps of several brought together.

A map shares a logit out over the places of an input: its mean over positions is the logit. `lay` keeps that
mean, so a map laid on another grid is as exact as it was before; it never interpolates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kellgren.model import steps
from kellgren.model.steps import Step
from kellgren.vocabulary import FloatArray, Image

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 as shares of the crop's width and height."""

FINEST: Final = 128
"""Most rows or columns of a common grid."""

_SLICES: Final = ("patch", "region")


def footprint(image: Image, specs: Sequence[Step]) -> Box:
    """The part of an image that is left when the steps have run.

    Args:
        image: (H, W) float32 in [0, 1]; `density_crop` cuts by what it shows.
        specs: As in a card.
    """
    x0, y0, x1, y1 = 0.0, 0.0, 1.0, 1.0
    turned = False
    for spec in specs:
        top, bottom, left, right = _window(image, spec)
        if turned:
            left, right = 1.0 - right, 1.0 - left
        width, height = x1 - x0, y1 - y0
        x0, x1 = x0 + left * width, x0 + right * width
        y0, y1 = y0 + top * height, y0 + bottom * height
        turned ^= spec.step == "mirror"
        image = steps.apply(image, [spec])
    return (x0, y0, x1, y1)


def _window(image: Image, spec: Step) -> tuple[float, float, float, float]:
    """Top, bottom, left and right of what one step keeps, as shares of its input."""
    height, width = image.shape
    if spec.step == "density_crop":
        top, left, side = steps.densest(image, float(spec.parameters["share"]))
        return top / height, (top + side) / height, left / width, (left + side) / width
    if spec.step in _SLICES:
        # cut pictures of the pixels' own places: the step itself says what it keeps
        across = np.broadcast_to(np.arange(width, dtype=np.float32), image.shape)
        down = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None], image.shape)
        rows, columns = steps.apply(down, [spec]), steps.apply(across, [spec])
        return (
            float(rows[0, 0]) / height,
            float(rows[-1, -1] + 1) / height,
            float(columns[0, 0]) / width,
            float(columns[-1, -1] + 1) / width,
        )
    return 0.0, 1.0, 0.0, 1.0


def mirrored(box: Box) -> Box:
    """The same part of the mirrored image."""
    x0, y0, x1, y1 = box
    return (1.0 - x1, y0, 1.0 - x0, y1)


def side_by_side(boxes: Sequence[Box]) -> tuple[Box, ...]:
    """The different places among what several inputs see, from left to right.

    Two inputs see one place (and share its map) where the middle of one lies inside the other: a raw and an
    equalised view. Otherwise the map shows them side by side: the patches of a Siamese network.
    """
    different: list[Box] = []
    for box in boxes:
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        if not any(b[0] < x < b[2] and b[1] < y < b[3] for b in different):
            different.append(box)
    return tuple(sorted(different))


def union(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all."""
    x0, y0, x1, y1 = np.array(boxes).T
    return (float(x0.min()), float(y0.min()), float(x1.max()), float(y1.max()))


def cut(image: Image, box: Box) -> Image:
    """The pixels of an image inside a box, at least one."""
    height, width = image.shape
    left, top = min(round(box[0] * width), width - 1), min(round(box[1] * height), height - 1)
    return image[top : max(round(box[3] * height), top + 1), left : max(round(box[2] * width), left + 1)]


def grid(frame: Box, sources: Sequence[tuple[Box, tuple[int, int]]]) -> tuple[int, int]:
    """Rows and columns of a common grid over `frame`, as fine as the finest source.

    Args:
        frame: What the grid covers.
        sources: Place and (rows, columns) of each map that will be laid on it.
    """

    def cells(low: int, count: int) -> int:
        finest = min((box[low + 2] - box[low]) / size[count] for box, size in sources)
        return min(FINEST, max(1, round((frame[low + 2] - frame[low]) / finest)))

    return cells(1, 0), cells(0, 1)


def lay(maps: npt.NDArray[np.floating[Any]], box: Box, frame: Box, size: tuple[int, int]) -> FloatArray:
    """Lay maps of one place on a grid that covers it, keeping their means over positions.

    Every cell of the grid takes the mean of what it covers, zero outside `box`, times the ratio of areas.

    Args:
        maps: (C, h, w) over `box`.
        box: Where they are; inside `frame`.
        frame: What the grid covers.
        size: Rows and columns of the grid.

    Returns:
        (C, *size) with the same mean over positions.
    """
    rows = _shares(maps.shape[1], (box[1], box[3]), size[0], (frame[1], frame[3]))
    columns = _shares(maps.shape[2], (box[0], box[2]), size[1], (frame[0], frame[2]))
    larger = (frame[2] - frame[0]) * (frame[3] - frame[1]) / ((box[2] - box[0]) * (box[3] - box[1]))
    return np.asarray(larger * np.einsum("ih,chw,jw->cij", rows, maps, columns, optimize=True))


def _shares(
    cells: int, extent: tuple[float, float], count: int, frame: tuple[float, float]
) -> npt.NDArray[np.float64]:
    """(count, cells): the share of each grid cell that each source cell covers."""
    source, target = np.linspace(*extent, cells + 1), np.linspace(*frame, count + 1)
    low = np.maximum(target[:-1, None], source[None, :-1])
    high = np.minimum(target[1:, None], source[None, 1:])
    return np.asarray(np.clip(high - low, 0.0, None) / (target[1] - target[0]))


def lay_parts(maps: npt.NDArray[np.floating[Any]], boxes: Sequence[Box]) -> FloatArray:
    """Maps over places side by side, each with an equal share of the columns, laid over `union(boxes)`.

    Args:
        maps: (C, h, w), the columns being those of the places from left to right.
        boxes: The places, as `side_by_side` gives them.

    Returns:
        (C, H, W) with the same mean over positions.
    """
    if len(boxes) == 1 or maps.shape[2] % len(boxes):  # a map that shows no parts covers the whole
        return maps.astype(np.float64)
    frame = union(boxes)
    parts = np.split(maps, len(boxes), axis=2)
    size = grid(frame, [(box, part.shape[1:]) for box, part in zip(boxes, parts, strict=True)])
    laid = [lay(part, box, frame, size) for box, part in zip(boxes, parts, strict=True)]
    return np.asarray(np.mean(laid, axis=0))
