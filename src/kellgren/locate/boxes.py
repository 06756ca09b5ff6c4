"""Boxes: overlap, suppression, squares. A box is x0, y0, x1, y1 in pixels, origin top left."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kellgren.vocabulary import FloatArray


def iou(boxes: FloatArray, others: FloatArray) -> FloatArray:
    """Intersection over union of every pair.

    Args:
        boxes: (n, 4).
        others: (m, 4).

    Returns:
        (n, m), 0..1.
    """
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    areas, other_areas = _area(boxes), _area(others)
    return np.asarray(shared / np.maximum(areas[:, None] + other_areas[None] - shared, 1e-9))


def _area(boxes: FloatArray) -> FloatArray:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def suppress(boxes: FloatArray, scores: FloatArray, overlap: float) -> npt.NDArray[np.intp]:
    """Non-maximum suppression: of boxes that overlap by more than `overlap`, the best scored one stays.

    Args:
        boxes: (n, 4).
        scores: (n,).
        overlap: Intersection over union from which two boxes count as one.

    Returns:
        Indices of the boxes that stay, best first.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[iou(boxes[best][None], boxes[order])[0] <= overlap]
    return np.array(kept, dtype=np.intp)


def squared(boxes: FloatArray) -> FloatArray:
    """Squares of the same centres and mean side length."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).mean(axis=1, keepdims=True) / 2
    return np.concatenate([centres - half, centres + half], axis=1)


def moved(boxes: FloatArray, offsets: FloatArray) -> FloatArray:
    """Apply a network's offsets, in units of the window's side, to the windows' corners.

    Args:
        boxes: (n, 4) windows.
        offsets: (n, 4).
    """
    side = (boxes[:, 2:] - boxes[:, :2])[:, [0, 1, 0, 1]]
    return np.asarray(boxes + offsets * side)


def offsets(windows: FloatArray, boxes: FloatArray) -> FloatArray:
    """What `moved` needs to turn windows into boxes: the targets of the box regression.

    Args:
        windows: (n, 4).
        boxes: (n, 4), the box that belongs to each window.
    """
    side = (windows[:, 2:] - windows[:, :2])[:, [0, 1, 0, 1]]
    return np.asarray((boxes - windows) / side)
