"""From data set to batches: preload once, augment in a thread while the network computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kellgren import steps
from kellgren.data import DataSet, Knee
from kellgren.learn.augment import augment
from kellgren.learn.recipe import Recipe
from kellgren.read import read_bytes
from kellgren.standardise import standardise
from kellgren.vocabulary import MISSING, TASKS

_AHEAD = 4  # batches prepared while one is computed


@dataclass(frozen=True, slots=True)
class Crops:
    """A data set in memory, ready to be augmented.

    Attributes:
        images: N crops, each (H, W) float32, after the side convention and the steps before augmentation.
        grades: By task, (N,) int64, `MISSING` where not read.
        names: N names.
        patients: (N,) patient ids.
    """

    images: Sequence[steps.Image]
    grades: dict[str, npt.NDArray[np.int64]]
    names: tuple[str, ...]
    patients: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's input: images (B, 1, h, w) float32, grades by task (B,) int64, indices (B,) int64."""

    images: Tensor
    grades: dict[str, Tensor]
    indices: npt.NDArray[np.int64]


def split_steps(recipe: Recipe) -> tuple[tuple[dict[str, object], ...], tuple[dict[str, object], ...]]:
    """The card's steps before and after the point where training augments."""
    names = [spec["step"] for spec in recipe.input.steps]
    cut = names.index(recipe.input.augment_before)
    return recipe.input.steps[:cut], recipe.input.steps[cut:]


def preload(dataset: DataSet, recipe: Recipe, *, threads: int) -> Crops:
    """Read, standardise and orient every crop, and run the steps before augmentation.

    Raises:
        UnreadableImage, NotAKnee: Naming the first crop that cannot be used.
    """
    before, _ = split_steps(recipe)

    def prepare(knee: Knee) -> steps.Image:
        film = standardise(read_bytes(knee.image.read_bytes(), knee.image.path))
        image = steps.unit_range(film.pixels)
        if steps.mirrors(knee.side, recipe.side_convention):
            image = steps.mirror(image)
        return steps.apply(image, before)

    with ThreadPoolExecutor(threads) as pool:
        images = list(pool.map(prepare, dataset))
    grades = {task: _grades(dataset, task, recipe) for task in recipe.tasks}
    return Crops(images, grades, tuple(k.name for k in dataset), dataset.patients())


def _grades(dataset: DataSet, task: str, recipe: Recipe) -> npt.NDArray[np.int64]:
    """Readings of a task; where the side is unknown, those that depend on it are missing."""
    oriented = recipe.side_convention == "as_right"
    known = np.array([knee.side is not None or not oriented for knee in dataset])
    if task == "SIDE":
        return np.where(known, 0, MISSING).astype(np.int64)
    grades = dataset.grades(task)
    return grades if TASKS[task].mirrored == task else np.where(known, grades, MISSING)


def mirrored_grades(grades: dict[str, int]) -> dict[str, int]:
    """What the readings become when the image is flipped: FL and FM, JSN_L and JSN_M, ... change places."""
    flipped = {task: grades[TASKS[task].mirrored] for task in grades}
    if flipped.get("SIDE", MISSING) != MISSING:
        flipped["SIDE"] = 1 - flipped["SIDE"]
    return flipped


def training_batches(crops: Crops, recipe: Recipe, *, seed: int, epoch: int, threads: int) -> Iterator[Batch]:
    """Shuffled, augmented batches of one epoch; the last incomplete one is dropped.

    The random numbers of a knee depend on seed, epoch and its index alone, so that batches are the
    same whatever the number of threads, and a resumed run continues as the uninterrupted one.
    """
    _, after = split_steps(recipe)
    order = np.random.default_rng((seed, epoch)).permutation(len(crops))
    size = min(recipe.optimise.batch, len(crops))

    def prepare(index: int) -> tuple[steps.Image, dict[str, int]]:
        rng = np.random.default_rng((seed, epoch, index))
        image, flipped = augment(crops.images[index], recipe.augment, rng)
        grades = {task: int(values[index]) for task, values in crops.grades.items()}
        return steps.apply(image, after), mirrored_grades(grades) if flipped else grades

    def assemble(indices: npt.NDArray[np.int64], pool: ThreadPoolExecutor) -> Batch:
        images, grades = zip(*pool.map(prepare, indices.tolist()), strict=True)
        stacked = torch.from_numpy(np.stack(images))[:, None]
        return Batch(stacked, {t: torch.tensor([g[t] for g in grades]) for t in crops.grades}, indices)

    chunks = [order[i : i + size] for i in range(0, len(order) - size + 1, size)]
    with ThreadPoolExecutor(threads) as pool:
        yield from _ahead(assemble(chunk, pool) for chunk in chunks)


def evaluation_batches(crops: Crops, recipe: Recipe, *, size: int = 16) -> Iterator[Batch]:
    """Every crop once, in order, unchanged."""
    _, after = split_steps(recipe)
    for start in range(0, len(crops), size):
        indices = np.arange(start, min(start + size, len(crops)))
        images = np.stack([steps.apply(crops.images[i], after) for i in indices.tolist()])
        grades = {task: torch.from_numpy(values[indices]) for task, values in crops.grades.items()}
        yield Batch(torch.from_numpy(images)[:, None], grades, indices)


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, prepared in a thread while the consumer is busy; errors are handed on."""
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=_AHEAD)
    stopped = threading.Event()

    def hand_over(item: Batch | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def produce() -> None:
        try:
            for batch in batches:
                hand_over(batch)
                if stopped.is_set():
                    return
            hand_over(None)
        except BaseException as error:  # noqa: BLE001 - raised again in the consumer's thread
            hand_over(error)

    thread = threading.Thread(target=produce, name="batches", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
