"""From data set to batches: every crop prepared once and kept as tensors, then augmented batch by batch.

On an accelerator all of it happens there, and the interpreter runs ahead. On processors the network keeps all
of them busy, so that a thread that prepared batches beside it would gain nothing: making a batch of 16 knees
takes 0.04 s, learning from it 1.4 s (recipe `joint`, one thread).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kellgren.data import DataSet, Knee
from kellgren.errors import BadDataset
from kellgren.model import steps
from kellgren.model.steps import Step
from kellgren.read import read_bytes
from kellgren.standardise import standardise
from kellgren.train.graders.augment import augment
from kellgren.train.graders.recipe import Recipe, Sampling
from kellgren.vocabulary import MISSING, TASKS, Image


@dataclass(frozen=True, slots=True)
class Crops:
    """A data set in memory, ready to be augmented.

    Attributes:
        images: Prepared crops (N, 1, H, W) float32 in [0, 1], after the side convention, by the name of the
            first view that shows them.
        source: By view: which of `images` it shows. Views with equal `prepare` share one.
        grades: By task, (N,) int64, `MISSING` where not read.
        kl: (N,) KL grades, whether or not KL is a task: sampling and augmentation may go by them.
        names: N names.
        patients: (N,) patient ids.
    """

    images: dict[str, Tensor]
    source: dict[str, str]
    grades: dict[str, npt.NDArray[np.int64]]
    kl: npt.NDArray[np.int64]
    names: tuple[str, ...]
    patients: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: torch.device) -> Crops:
        """The same crops with their images in a device's memory."""
        images = {name: tensor.to(device) for name, tensor in self.images.items()}
        return Crops(images, self.source, self.grades, self.kl, self.names, self.patients)


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's input.

    Attributes:
        views: In the recipe's order, each (n, channels, h, w) float32, on the crops' device: the share of
            this process, all B where there is one.
        grades: By task, (B,) int64, of the whole batch, on the same device.
        indices: (B,) int64: which crops the batch has.
    """

    views: tuple[Tensor, ...]
    grades: dict[str, Tensor]
    indices: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)


def sources(recipe: Recipe) -> dict[str, str]:
    """By view, the first view with the same `prepare`."""
    first: dict[str, str] = {}
    views = recipe.views
    for name, view in views.items():
        same = (other for other in first.values() if views[other].prepare == view.prepare)
        first[name] = next(same, name)
    return first


def preload(dataset: DataSet, recipe: Recipe, *, threads: int) -> Crops:
    """Read, standardise and orient every crop, and run each different `prepare` on it, once.

    Raises:
        UnreadableImage, NotAKnee: Naming the first crop that cannot be used.
        BadDataset: If the prepared crops differ in size.
    """
    source = sources(recipe)
    distinct = tuple(dict.fromkeys(source.values()))

    def prepare(knee: Knee) -> list[Image]:
        film = standardise(read_bytes(knee.image.read_bytes(), knee.image.path))
        image = steps.unit_range(film.pixels)
        if steps.mirrors(knee.side, recipe.side_convention):
            image = steps.mirror(image)
        return [steps.apply(image, recipe.views[name].prepare) for name in distinct]

    images: dict[str, Tensor] = {}
    with ThreadPoolExecutor(threads) as pool:
        for index, prepared in enumerate(pool.map(prepare, dataset)):
            for name, image in zip(distinct, prepared, strict=True):
                if not index:
                    images[name] = torch.empty(len(dataset), 1, *image.shape)
                if image.shape != tuple(images[name].shape[2:]):
                    raise BadDataset(
                        f"view {name!r}: the crops differ in size, first {dataset.knees[index].name!r}",
                        path=dataset.root,
                        remedy="end prepare with a step that fixes it, such as resize",
                    )
                images[name][index, 0] = torch.from_numpy(image)
    grades = {task: _grades(dataset, task, recipe) for task in recipe.tasks}
    names = tuple(knee.name for knee in dataset)
    return Crops(images, source, grades, dataset.grades("KL"), names, dataset.patients())


def _grades(dataset: DataSet, task: str, recipe: Recipe) -> npt.NDArray[np.int64]:
    """Readings of a task; where the side is unknown, those that depend on it are missing."""
    oriented = recipe.side_convention == "as_right"
    known = np.array([knee.side is not None or not oriented for knee in dataset])
    if task == "SIDE":
        return np.where(known, 0, MISSING).astype(np.int64)
    grades = dataset.grades(task)
    return grades if TASKS[task].mirrored == task else np.where(known, grades, MISSING)


def mirrored_grades(grades: Mapping[str, Tensor], flipped: Tensor) -> dict[str, Tensor]:
    """What the readings are after some images were flipped: FL and FM, JSN_L and JSN_M, ... change places.

    Args:
        grades: By task, (N,) int64.
        flipped: (N,) bool.
    """
    if not flipped.any():
        return dict(grades)
    after = {task: torch.where(flipped, grades[TASKS[task].mirrored], own) for task, own in grades.items()}
    if "SIDE" in after:
        side = grades["SIDE"]
        after["SIDE"] = torch.where(flipped & (side != MISSING), 1 - side, side)
    return after


def epoch_order(
    grades: npt.NDArray[np.int64], sampling: Sampling, *, seed: int, epoch: int
) -> npt.NDArray[np.int64]:
    """Indices of the knees that one epoch shows, shuffled.

    Args:
        grades: (N,) KL grades, `MISSING` where not read.
        sampling: `natural`: each knee once. `balanced`: as many knees of each grade as of the most frequent
            one (OA-MEN 2024, section 2.2); rarer ones come several times, all equally often up to one, and
            knees without a grade once.
        seed: Of the run.
        epoch: From 0; each epoch has an order of its own, whatever came before.

    Returns:
        (M,) indices into `grades`; the same for the same seed and epoch.
    """
    rng = np.random.default_rng((seed, epoch))
    if sampling == "natural":
        return rng.permutation(len(grades))
    present, counts = np.unique(grades[grades != MISSING], return_counts=True)
    indices = [np.flatnonzero(grades == MISSING)]
    for grade in present:
        knees = np.flatnonzero(grades == grade)
        whole, rest = divmod(int(counts.max()), len(knees))
        indices += [np.tile(knees, whole), rng.permutation(knees)[:rest]]
    return rng.permutation(np.concatenate(indices))


def steps_per_epoch(crops: Crops, recipe: Recipe) -> int:
    """Batches of an epoch; the last incomplete one is dropped."""
    knees = len(epoch_order(crops.kl, recipe.sampling, seed=0, epoch=0))
    return max(1, knees // recipe.optimise.batch)


def training_batches(
    crops: Crops, recipe: Recipe, *, seed: int, epoch: int, part: tuple[int, int] = (0, 1)
) -> Iterator[Batch]:
    """Shuffled, augmented batches of one epoch; the last incomplete one is dropped.

    The random numbers depend on seed, epoch and the batch's number alone, so that a resumed run continues as
    the uninterrupted one, and processes that share a batch draw the same for it.

    Args:
        crops: All knees.
        recipe: Sampling, augmentation, views, batch size.
        seed: Of the run.
        epoch: From 0.
        part: Which share of every batch is wanted: (0, 1) all of it, (1, 4) the second quarter.
    """
    order = epoch_order(crops.kl, recipe.sampling, seed=seed, epoch=epoch)
    size = min(recipe.optimise.batch, len(order))
    generator = torch.Generator()
    for number in range(len(order) // size):
        indices = order[number * size : (number + 1) * size]
        generator.manual_seed(_mix(seed, epoch, number))
        yield _augmented(crops, recipe, indices, generator, part)


def _mix(*numbers: int) -> int:
    """One 64-bit seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _augmented(
    crops: Crops,
    recipe: Recipe,
    indices: npt.NDArray[np.int64],
    generator: torch.Generator,
    part: tuple[int, int],
) -> Batch:
    """The share of this process of the chosen crops, changed and finished, and what they all are graded."""
    chosen = _chosen(crops, indices)
    ranges = [recipe.augment_by_grade.get(int(grade), recipe.augment) for grade in crops.kl[indices]]
    changed, flipped = augment(chosen, ranges, generator)
    grades = {task: torch.from_numpy(values[indices]) for task, values in crops.grades.items()}
    grades = mirrored_grades(grades, flipped.cpu())
    share = np.array_split(np.arange(len(indices)), part[1])[part[0]]
    mine = slice(int(share[0]), int(share[-1]) + 1)
    changed = {name: images[mine] for name, images in changed.items()}
    return _batch(changed, grades, crops, recipe, indices)


def evaluation_batches(crops: Crops, recipe: Recipe, *, size: int = 16) -> Iterator[Batch]:
    """Every crop once, in order, unchanged."""
    for start in range(0, len(crops), size):
        indices = np.arange(start, min(start + size, len(crops)))
        grades = {task: torch.from_numpy(values[indices]) for task, values in crops.grades.items()}
        yield _batch(_chosen(crops, indices), grades, crops, recipe, indices)


def _chosen(crops: Crops, indices: npt.NDArray[np.int64]) -> dict[str, Tensor]:
    rows = torch.from_numpy(np.ascontiguousarray(indices))
    return {name: images.index_select(0, _on(images.device, rows)) for name, images in crops.images.items()}


def _on(device: torch.device, tensor: Tensor) -> Tensor:
    """The tensor on a device; the copy to an accelerator does not hold up the interpreter."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _batch(
    images: Mapping[str, Tensor],
    grades: Mapping[str, Tensor],
    crops: Crops,
    recipe: Recipe,
    indices: npt.NDArray[np.int64],
) -> Batch:
    views = finished(images, crops.source, recipe)
    return Batch(views, {task: _on(views[0].device, values) for task, values in grades.items()}, indices)


def finished(images: Mapping[str, Tensor], source: Mapping[str, str], recipe: Recipe) -> tuple[Tensor, ...]:
    """Every view of a batch as the network takes it, in the recipe's order.

    Args:
        images: By the name of the first view that shows them, (N, 1, H, W) in [0, 1].
        source: By view, which of them it shows.
        recipe: Gives `finish` and `channels` of each view.
    """
    return tuple(
        finish(images[source[name]], view.finish, channels=view.channels)
        for name, view in recipe.views.items()
    )


def region(images: Tensor, *, top: float, left: float, height: float, width: float) -> Tensor:
    """Cut a fixed rectangle given in fractions of the image; see `kellgren.model.steps.region`."""
    rows, columns = images.shape[-2:]
    y, x = min(round(top * rows), rows - 1), min(round(left * columns), columns - 1)
    return images[..., y : y + max(1, round(height * rows)), x : x + max(1, round(width * columns))]


def patch(images: Tensor, *, part: Literal["left", "right"], width: float = 0.5) -> Tensor:
    """Cut the left or right part at full height; see `kellgren.model.steps.patch`."""
    columns = max(1, round(width * images.shape[-1]))
    return images[..., :columns] if part == "left" else images[..., -columns:]


def mirror(images: Tensor) -> Tensor:
    """Flip left to right."""
    return images.flip(-1)


def normalise(images: Tensor, *, mean: float, std: float) -> Tensor:
    """(x - mean) / std."""
    # tensors on both sides: dividing by a Python number may multiply by its rounded inverse
    return (images - images.new_tensor(mean)) / images.new_tensor(std)


STEPS: Final[dict[str, Callable[..., Tensor]]] = {
    step.__name__: step for step in (region, patch, mirror, normalise)
}
"""The same names as in `kellgren.train.graders.recipe.FINISHING`."""


def finish(images: Tensor, steps: Sequence[Step], *, channels: int = 1) -> Tensor:
    """Run the steps that follow augmentation, in order.

    Training finishes thousands of augmented images on the device that the network computes on; grading runs
    `kellgren.model.steps` on one image at a time. Each function above is the step of the same name, to the
    bit.

    Args:
        images: (N, 1, H, W) float32 in [0, 1], bone bright.
        steps: `View.finish`.
        channels: How many equal channels come out: 1 or 3.

    Returns:
        (N, channels, h, w) float32; a view of `images` where nothing had to be computed.
    """
    for step in steps:
        images = STEPS[step.step](images, **step.parameters)
    return images.expand(-1, channels, -1, -1) if channels > 1 else images
