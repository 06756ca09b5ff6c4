"""Crops with their joint-line points: read once, framed again in every epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kellgren.data import DataSet, Knee
from kellgren.errors import BadDataset
from kellgren.measure import FEMUR_POINTS, POINTS, TIBIA_POINTS
from kellgren.model import steps
from kellgren.read import read_bytes, tables
from kellgren.standardise import standardise
from kellgren.train.contour.recipe import ContourRecipe, Cutouts
from kellgren.train.graders.augment import augment
from kellgren.train.graders.recipe import Augment
from kellgren.vocabulary import FloatArray, Image

TABLE: Final = "joint_line_points.csv"
"""The table of points in a data set folder."""

_BORDERS: Final = (cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101, cv2.BORDER_CONSTANT)


@dataclass(frozen=True, slots=True)
class Crops:
    """Crops in memory, left knees mirrored, with their points.

    Attributes:
        images: (N, S, S) uint8, after the steps before augmentation.
        points: (N, 30, 2) as (x, y), fractions of the image's width and height, 0 at its edge.
        scores: (N,) score of each knee's points.
        names: N names.
    """

    images: npt.NDArray[np.uint8]
    points: FloatArray
    scores: FloatArray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True)
class Batch:
    """Images (B, 1, h, w), points (B, 30, 2) in fractions of the image, scores (B,), all float32."""

    images: Tensor
    points: Tensor
    scores: Tensor


def read_table(path: Path) -> dict[str, tuple[FloatArray, float]]:
    """Points (30, 2) in crop pixels, as published, and score, by knee.

    Columns: `name`, `score`, `femur0_x`, `femur0_y`, ... `femur12_y`, `tibia0_x`, ... `tibia16_y`; 0 is the
    lateral end, and the centre of the crop's first pixel has the coordinate 0.

    Raises:
        BadDataset: If the table is missing or lacks a column.
    """
    columns = [f"femur{i}" for i in range(FEMUR_POINTS)] + [f"tibia{i}" for i in range(TIBIA_POINTS)]
    header, rows = tables.read_table(path, BadDataset)
    absent = sorted({"name", "score", *(f"{c}_{axis}" for c in columns for axis in "xy")} - set(header))
    if absent:
        raise BadDataset(f"not a table of joint-line points: no column {absent[0]}", path=path)
    knees: dict[str, tuple[FloatArray, float]] = {}
    for line, cells in rows:
        row = dict(zip(header, cells, strict=True))
        try:
            points = np.array([[float(row[f"{c}_x"]), float(row[f"{c}_y"])] for c in columns])
            knees[row["name"]] = points, float(row["score"])
        except ValueError:
            raise BadDataset(f"line {line}: a point or the score is not a number", path=path) from None
    return knees


def preload(dataset: DataSet, recipe: ContourRecipe, *, threads: int) -> Crops:
    """Read, standardise and orient every crop that has points, and run the steps before augmentation.

    Raises:
        BadDataset: If no knee has points, or crops differ in size.
        UnreadableImage, NotAKnee: Naming the first crop that cannot be used.
    """
    table = read_table(dataset.root / TABLE)
    knees = [knee for knee in dataset if knee.name in table and knee.side is not None]
    if not knees:
        raise BadDataset(f"no knee of the data set is in {TABLE}", path=dataset.root)
    before, _ = recipe.split_steps()

    def prepare(knee: Knee) -> npt.NDArray[np.uint8]:
        image = steps.unit_range(standardise(read_bytes(knee.image.read_bytes(), knee.name)).pixels)
        if steps.mirrors(knee.side, recipe.side_convention):
            image = steps.mirror(image)
        return np.asarray(np.rint(steps.apply(image, before) * 255), dtype=np.uint8)

    with ThreadPoolExecutor(threads) as pool:
        images = list(pool.map(prepare, knees))
    if len({image.shape for image in images}) > 1:
        raise BadDataset("the crops differ in size", path=dataset.root)
    height, width = images[0].shape
    points = np.stack([table[knee.name][0] for knee in knees])
    mirrored = np.array([steps.mirrors(knee.side, recipe.side_convention) for knee in knees])
    points[mirrored, :, 0] = width - 1 - points[mirrored, :, 0]
    return Crops(
        np.stack(images),
        (points + 0.5) / (width, height),
        np.array([table[knee.name][1] for knee in knees]),
        tuple(knee.name for knee in knees),
    )


def reframe(
    image: npt.NDArray[np.uint8], points: FloatArray, ranges: Augment, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], FloatArray]:
    """Turn, scale and shift a crop and its points alike, as another framing of the same joint.

    Args:
        image: (H, W).
        points: (P, 2) in fractions of the image.
        ranges: `rotate`, `scale` and `shift` are used.
        rng: Source of every random number.

    Returns:
        Image (H, W) and points (P, 2); points may come to lie outside.
    """
    height, width = image.shape
    angle = math.radians(rng.uniform(-1, 1) * ranges.rotate)
    zoom = 1.0 + rng.uniform(-1, 1) * ranges.scale
    shift = rng.uniform(-1, 1, size=2) * ranges.shift * (width, height)
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.hstack([linear, (centre + shift - linear @ centre)[:, None]])
    border = _BORDERS[rng.integers(len(_BORDERS))]
    warped = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border)
    pixels = points * (width, height) - 0.5
    moved = pixels @ linear.T + matrix[:, 2]
    return np.asarray(warped, dtype=np.uint8), (moved + 0.5) / (width, height)


def cut_out(image: Image, cutouts: Cutouts, rng: np.random.Generator) -> Image:
    """Lay grey squares over an image (DeVries & Taylor 2017): markers, labels, hardware.

    Args:
        image: (H, W) in [0, 1].
        cutouts: How many and how large.
        rng: Source of every random number.
    """
    covered = image.copy()
    for _ in range(int(rng.integers(cutouts.most + 1))):
        side = rng.uniform(0.05, max(cutouts.side, 0.05)) * np.array(image.shape)
        top, left = (rng.uniform(0, 1, size=2) * (image.shape - side)).astype(int)
        covered[top : top + int(side[0]), left : left + int(side[1])] = rng.uniform()
    return covered


def training_batches(
    crops: Crops, recipe: ContourRecipe, *, seed: int, epoch: int, threads: int
) -> Iterator[Batch]:
    """Shuffled, augmented batches of one epoch; the last incomplete one is dropped.

    The random numbers depend on seed, epoch, the knee and the batch that it is in.
    """
    _, after = recipe.split_steps()
    resize, rest = after[:1], after[1:]
    exposure = replace(recipe.augment, rotate=0.0, scale=0.0, shift=0.0)
    order = np.random.default_rng((seed, epoch)).permutation(len(crops))
    size = min(recipe.optimise.batch, len(crops))

    def framed(index: int) -> tuple[Image, FloatArray]:
        rng = np.random.default_rng((seed, epoch, index))
        warped, points = reframe(crops.images[index], crops.points[index], recipe.augment, rng)
        return steps.apply(warped.astype(np.float32) / np.float32(255), resize), points

    def covered(image: Image, index: int) -> Image:
        rng = np.random.default_rng((seed, epoch, index, 1))
        return steps.apply(cut_out(image, recipe.cutouts, rng), rest)

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(order) - size + 1, size):
            indices = order[start : start + size]
            images, points = zip(*pool.map(framed, indices.tolist()), strict=True)
            generator = torch.Generator().manual_seed(
                int(np.random.default_rng((seed, epoch, start)).integers(2**62))
            )
            stacked = {"joint": torch.from_numpy(np.stack(images))[:, None]}
            exposed, _ = augment(stacked, [exposure] * size, generator)
            finished = pool.map(covered, exposed["joint"][:, 0].numpy(), indices.tolist())
            yield _batch(np.stack(list(finished)), np.stack(points), crops.scores[indices])


def evaluation_batches(crops: Crops, recipe: ContourRecipe, *, size: int = 16) -> Iterator[Batch]:
    """Every crop once, in order, unchanged."""
    _, after = recipe.split_steps()
    for start in range(0, len(crops), size):
        part = slice(start, start + size)
        images = [
            steps.apply(image.astype(np.float32) / np.float32(255), after) for image in crops.images[part]
        ]
        yield _batch(np.stack(images), crops.points[part], crops.scores[part])


def _batch(images: npt.NDArray[np.float32], points: FloatArray, scores: FloatArray) -> Batch:
    assert points.shape[1] == POINTS  # noqa: S101 - the table reader gives no other number
    return Batch(
        torch.from_numpy(images)[:, None],
        torch.from_numpy(points.astype(np.float32)),
        torch.from_numpy(scores.astype(np.float32)),
    )
