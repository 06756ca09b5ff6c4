"""Refinement: from where the network puts the joint line to the edge that is there, to a fraction of a pixel.

The crop is sampled in strips along the predicted curves, one column per place along the joint. In each strip
the path of strongest edge is found by dynamic programming (Amini 1990), held near the prediction by a prior
and smooth by a penalty. Each place of it then moves to the steepest slope near by, between the rows by a
parabola.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from kellgren.measure.contour import Contour
from kellgren.measure.frame import Frame, frame_of, height_at, smooth
from kellgren.vocabulary import FloatArray, Image


@dataclass(frozen=True, slots=True)
class Search:
    """How edges are searched; lengths in units of the frame (the femur's width).

    Attributes:
        columns: Distance of two columns.
        rows: Distance of two rows.
        reach: How far from the prediction an edge may lie.
        blur: Standard deviation of the smoothing before the derivative.
        prior: Standard deviation of the prior around the prediction.
        bend: Cost of moving one row from a column to the next, against an edge's full strength of 1.
        even: Standard deviation in columns over which the found edge is evened out.
    """

    columns: float = 1 / 160
    rows: float = 1 / 480
    reach: float = 0.03
    blur: float = 0.008
    prior: float = 0.007
    bend: float = 0.15
    even: float = 4.0


@dataclass(frozen=True, slots=True)
class Edges:
    """Femur and tibia along the joint.

    Attributes:
        frame: The joint's frame in crop pixels.
        x: (J,) places along the joint, 0 lateral .. 1 medial.
        femur: (J,) heights of the femur's edge in the frame.
        tibia: (J,) heights of the tibia's edge, never above the femur's.
        strength: (2, J) strength of the two edges there, 0 .. 1.
    """

    frame: Frame
    x: FloatArray
    femur: FloatArray
    tibia: FloatArray
    strength: FloatArray


DEFAULT = Search()


def refine(crop: Image, contour: Contour, search: Search = DEFAULT) -> Edges:
    """Find the edges of femur and tibia near a predicted contour.

    Args:
        crop: (H, W) float32, bone bright, lateral on the left.
        contour: The prediction, in pixels of the crop.
        search: How.

    Returns:
        The edges from x = 0.02 to 0.98.
    """
    frame = frame_of(contour.femur)
    x = np.arange(0.02, 0.98 + 1e-9, search.columns)
    start = np.stack(
        [height_at(frame.to_frame(smooth(points)), x) for points in (contour.femur, contour.tibia)]
    )
    slopes = np.stack([_slopes(crop, frame, x, row, search) for row in start])
    slopes[0] = -slopes[0]  # from femur to tibia the film grows dark at the femur, light at the tibia
    full = np.maximum(np.percentile(slopes, 95, axis=(1, 2), keepdims=True), 1e-6)
    strength = np.clip(slopes / full, 0.0, 1.0)
    half = round(search.reach / search.rows)
    rows = search.rows * np.arange(-half, half + 1)
    gain = strength * np.exp(-0.5 * (rows / search.prior) ** 2)[:, None]
    path = _climb(slopes, best_paths(gain, search.bend))
    offsets = rows[path] + search.rows * _between_rows(slopes, path)
    smoothed = cv2.GaussianBlur(
        offsets, (0, 0), sigmaX=search.even, sigmaY=1e-3, borderType=cv2.BORDER_REPLICATE
    )
    offsets = np.asarray(smoothed, dtype=np.float64)
    femur, tibia = start + offsets
    # Bone on bone there is no gap to be seen, and two edges found apart may cross: they then meet half way.
    middle, crossed = 0.5 * (femur + tibia), tibia < femur
    at_path = np.take_along_axis(strength, path[:, None], axis=1)[:, 0]
    return Edges(frame, x, np.where(crossed, middle, femur), np.where(crossed, middle, tibia), at_path)


def _slopes(crop: Image, frame: Frame, x: FloatArray, start: FloatArray, search: Search) -> FloatArray:
    """Derivative of the smoothed film towards the tibia, (R, J): rows around `start`, columns along `x`."""
    half = round(search.reach / search.rows)
    margin = half + 1 + round(3 * search.blur / search.rows)
    offsets = search.rows * np.arange(-margin, margin + 1)
    shape = (len(offsets), len(x))
    places = frame.from_frame(np.broadcast_to(x, shape), start + offsets[:, None]).astype(np.float32)
    strip = cv2.remap(crop, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    strip = cv2.GaussianBlur(
        strip,
        (0, 0),
        sigmaX=search.blur / search.columns,
        sigmaY=search.blur / search.rows,
        borderType=cv2.BORDER_REPLICATE,
    )
    return (0.5 * (strip[2:] - strip[:-2])[margin - 1 - half : margin + half]).astype(np.float64)


def best_paths(gain: FloatArray, bend: float) -> npt.NDArray[np.intp]:
    """Path with the largest sum of gains less `bend` a row moved, through each of K strips.

    From one column to the next a path moves by at most one row.

    Args:
        gain: (K, R, J).
        bend: Cost of one row.

    Returns:
        (K, J) rows.
    """
    strips, rows, columns = gain.shape
    padded = np.full((strips, rows + 2), -np.inf)
    options = np.empty((3, strips, rows))
    came = np.zeros((columns, strips, rows), dtype=np.intp)
    best = gain[:, :, 0]
    for column in range(1, columns):
        padded[:, 1:-1] = best - bend
        options[0], options[1], options[2] = padded[:, :-2], best, padded[:, 2:]
        came[column] = options.argmax(axis=0)
        best = options.max(axis=0) + gain[:, :, column]
    path = np.empty((strips, columns), dtype=np.intp)
    path[:, -1] = best.argmax(axis=1)
    each = np.arange(strips)
    for column in range(columns - 1, 0, -1):
        path[:, column - 1] = path[:, column] + came[column, each, path[:, column]] - 1
    return path


def _climb(slopes: FloatArray, path: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Move each place of a path up to three rows to the steepest slope near it.

    The prior draws a path towards the prediction, and where many slopes count fully it decides alone: the
    edge itself is where the film is steepest.
    """
    last = slopes.shape[1] - 1
    for _ in range(3):
        near = [np.clip(path + step, 0, last) for step in (0, -1, 1)]
        heights = np.stack([np.take_along_axis(slopes, rows[:, None], axis=1)[:, 0] for rows in near])
        path = np.choose(heights.argmax(axis=0), near)
    return path


def _between_rows(slopes: FloatArray, path: npt.NDArray[np.intp]) -> FloatArray:
    """Place of the maximum between the rows, -0.5 .. 0.5, by a parabola through three; (K, J)."""
    inner = np.clip(path, 1, slopes.shape[1] - 2)
    before, at, after = (np.take_along_axis(slopes, (inner + d)[:, None], axis=1)[:, 0] for d in (-1, 0, 1))
    curvature = np.minimum(before - 2 * at + after, -1e-9)
    return np.where(inner == path, np.clip(0.5 * (before - after) / curvature, -0.5, 0.5), 0.0)
