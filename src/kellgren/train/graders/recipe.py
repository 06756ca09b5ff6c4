"""Recipes: what to train and how, as one annotated YAML file checked against frozen dataclasses.

A recipe file holds the fields of `Recipe` once, and under `sizes:` what differs for `full` and `small`.
An unknown key is an error that names the nearest known one: a typo never becomes a silent default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from kellgren.errors import BadBundle, BadRecipe, nearest
from kellgren.model import steps
from kellgren.model.calibrators import Method
from kellgren.model.decision import DecisionRule
from kellgren.train.documents import available, build, document, merge, override
from kellgren.vocabulary import TASKS

__all__ = [
    "FINISHING",
    "Augment",
    "Auxiliary",
    "Loss",
    "Network",
    "Optimise",
    "Phase",
    "Recipe",
    "View",
    "available",
    "build",
    "document",
    "from_dict",
    "load",
    "merge",
    "nearest",
    "override",
]

FINISHING: Final = ("region", "patch", "mirror", "normalise")
"""Steps that `View.finish` may hold: those that `kellgren.train.graders.tensor_steps` has for batches."""


@dataclass(frozen=True, slots=True)
class View:
    """One input of the network: how a crop becomes it.

    Training runs `prepare` once, then augments, then runs `finish`; grading runs both in turn, as the card
    lists them. Augmentation treats all views of a knee alike.

    Attributes:
        prepare: Model-stage steps before augmentation (`kellgren.model.steps`), ending at a fixed size.
        finish: Those after it: cutting, mirroring and normalising, which batches of tensors can do as well
            (`kellgren.train.graders.tensor_steps`).
        channels: 1, or 3 equal ones for backbones that need colour.
    """

    prepare: tuple[dict[str, Any], ...]
    finish: tuple[dict[str, Any], ...] = ()
    channels: int = 1


@dataclass(frozen=True, slots=True)
class Network:
    """Which network.

    Attributes:
        kind: Name in `kellgren.train.graders.networks.KINDS`.
        backbone: Name of a timm model, where the kind takes one.
        dropout: Probability before the heads.
        drop_path: Stochastic depth of the backbone (Huang 2016), where it has any.
        freeze: Prefixes of backbone parameter names that keep their initial weights and statistics.
        options: What only this kind of network has, checked against its own dataclass.
    """

    kind: str
    backbone: str = ""
    dropout: float = 0.0
    drop_path: float = 0.0
    freeze: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loss:
    """What a head is asked for.

    Attributes:
        kind: Name in `kellgren.train.graders.losses.KINDS`: cross_entropy, focal, ordinal_matrix, coral,
            corn, cross_entropy_mse.
        spread: cross_entropy: standard deviation in grades of the soft ordinal target; 0 is one-hot.
        smoothing: cross_entropy: share of the target that is spread evenly over all grades.
        gamma: focal: how much less easy knees count (Lin 2017).
        alpha: focal: weight of each grade; none given: 1 each.
        matrix: ordinal_matrix: penalty (read grade, answered grade), a row a grade; none given: Chen's.
        share: cross_entropy_mse: weight of the squared error.
    """

    kind: str = "cross_entropy"
    spread: float = 0.0
    smoothing: float = 0.0
    gamma: float = 2.0
    alpha: tuple[float, ...] = ()
    matrix: tuple[tuple[float, ...], ...] = ()
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Auxiliary:
    """A head that only training has, for a question about a task's reading; other readings are masked.

    Attributes:
        of: The task whose reading is asked about.
        classes: The class of each reading that counts: `{0: 0, 1: 1, 2: 1}` tells 0 from 1 and 2.
        weight: Weight of its loss.
        loss: What it is asked for.
    """

    of: str
    classes: dict[int, int]
    weight: float
    loss: Loss = Loss()


@dataclass(frozen=True, slots=True)
class Augment:
    """Ranges of the random changes, drawn anew for each knee and epoch (`kellgren.train.graders.augment`).

    Attributes:
        chance: Probability of changing a knee at all, apart from `flip`.
        flip: Probability of a left-right mirror (lateral and medial labels change places).
        rotate: Largest rotation either way, degrees.
        scale: Largest relative change of size either way.
        crop: Smallest side of a random crop relative to the image, which is resized back; 1 crops nothing.
        shift: Largest shift either way, fraction of the image.
        grid: Largest relative change of the cells of a grid distortion of 5 x 5 cells; 0 distorts nothing.
        contrast: Largest relative change of contrast either way.
        brightness: Largest added brightness either way, image range being 0..1.
        gamma: Largest factor (and divisor) of the exponent, >= 1.
        blur: Largest Gaussian sigma, pixels; applied to half of the images.
        noise: Largest standard deviation of Gaussian noise; applied to half of the images.
    """

    chance: float = 1.0
    flip: float = 0.0
    rotate: float = 0.0
    scale: float = 0.0
    crop: float = 1.0
    shift: float = 0.0
    grid: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    gamma: float = 1.0
    blur: float = 0.0
    noise: float = 0.0


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of training with one rule for the learning rate.

    Attributes:
        epochs: Passes over the training knees.
        lr: Learning rate of the backbone, at its peak.
        head_lr: That of heads and fusion; 0 means the same as `lr`.
        train: `heads` leaves the backbone as it is; `all` trains everything that is not frozen.
        schedule: `constant`, or `cosine` down to zero at the end of the phase.
        warmup: Epochs of linear warm-up at its beginning.
    """

    epochs: int
    lr: float
    head_lr: float = 0.0
    train: Literal["all", "heads"] = "all"
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: float = 0.0


@dataclass(frozen=True, slots=True)
class Optimise:
    """How the weights are learned.

    Attributes:
        phases: What is trained how fast for how long, one after the other.
        batch: Knees per step.
        optimiser: `adam` (weight decay added to the gradient, as in the papers), `adamw` or `sgd`
            (Nesterov momentum 0.9).
        weight_decay: Not on biases and normalisation.
        clip: Largest gradient norm; 0 does not clip.
        ema: Decay of the exponential moving average of the weights, per step; 0 keeps none.
        patience: Epochs without a better held-out score after which training stops, in the last phase (those
            before it are run whole, so that it begins); 0 never stops early.
    """

    phases: tuple[Phase, ...]
    batch: int
    optimiser: Literal["adam", "adamw", "sgd"] = "adamw"
    weight_decay: float = 0.0
    clip: float = 0.0
    ema: float = 0.0
    patience: int = 0

    @property
    def epochs(self) -> int:
        """Epochs of all phases."""
        return sum(phase.epochs for phase in self.phases)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides a trained model, apart from data, seed and initial weights.

    Attributes:
        name: The recipe's name on the command line.
        size: `full` or `small`.
        title: One line for tables.
        source: Paper, or who thought of it.
        tasks: Loss weight by task name; the order is the order of the graph's outputs.
        side_convention: `as_right` mirrors left knees, `none` does not.
        views: What the network sees, by name, in the order of its arguments.
        network: Which network.
        optimise: How the weights are learned.
        loss: What each task's head is asked for; `default` for those not named.
        auxiliary: Heads that only training has, by name.
        augment: Random changes in training.
        augment_by_grade: Other changes for knees of some KL grades.
        sampling: `natural`: each knee once an epoch. `balanced`: as many of each KL grade as of the most
            frequent one, rarer ones repeated (augmented differently each time).
        decision: How each task's grade follows from its probabilities.
        calibration: Which calibrators the bundle's tasks may get.
        tta: Test-time looks besides the plain one; `flip` only where training flips.
    """

    name: str
    size: str
    title: str
    source: str
    tasks: dict[str, float]
    side_convention: Literal["as_right", "none"]
    views: dict[str, View]
    network: Network
    optimise: Optimise
    loss: dict[str, Loss] = field(default_factory=dict)
    auxiliary: dict[str, Auxiliary] = field(default_factory=dict)
    augment: Augment = Augment()
    augment_by_grade: dict[int, Augment] = field(default_factory=dict)
    sampling: Literal["natural", "balanced"] = "natural"
    decision: dict[str, DecisionRule] = field(default_factory=dict)
    calibration: Method = "temperature"
    tta: tuple[str, ...] = ()

    def loss_of(self, task: str) -> Loss:
        """What the head of a task or an auxiliary question is asked for."""
        if task in self.auxiliary:
            return self.auxiliary[task].loss
        return self.loss.get(task, self.loss.get("default", Loss()))

    def classes_of(self, task: str) -> int:
        """Number of classes of a task or an auxiliary question."""
        if task in self.auxiliary:
            return len(set(self.auxiliary[task].classes.values()))
        return TASKS[task].classes

    def to_dict(self) -> dict[str, Any]:
        """As plain dictionaries, for cards and run records.

        A key that is younger than the first runs is left out at its default: they can be resumed, and
        a laboratory's cells keep their names.
        """
        values = dataclasses.asdict(self)
        if self.calibration == "temperature":
            del values["calibration"]
        return values


def load(name_or_path: str, *, size: str = "full") -> Recipe:
    """Read a grader's recipe by packaged name or from a YAML file.

    Raises:
        BadRecipe: Unknown name, size or key, or a value that cannot be.
    """
    return from_dict(document(name_or_path, size=size))


def from_dict(document: Mapping[str, Any]) -> Recipe:
    """The recipe that `Recipe.to_dict` stored.

    Raises:
        BadRecipe: As `load`.
    """
    recipe: Recipe = build(Recipe, document, where="recipe")
    _check(recipe)
    return recipe


def _check(recipe: Recipe) -> None:
    if not recipe.tasks:
        raise BadRecipe("tasks: there is none")
    for task in recipe.tasks:
        if task not in TASKS:
            raise BadRecipe(f"tasks: unknown task {task!r}", remedy=nearest(task, tuple(TASKS)))
    for task in recipe.loss:
        if task != "default" and task not in recipe.tasks:
            raise BadRecipe(f"loss: {task!r} is no task here", remedy=nearest(task, tuple(recipe.tasks)))
    for name, question in recipe.auxiliary.items():
        _check_auxiliary(name, question, recipe)
    _check_views(recipe)
    _check_augment(recipe)
    _check_optimise(recipe.optimise)


def _check_auxiliary(name: str, question: Auxiliary, recipe: Recipe) -> None:
    where = f"auxiliary.{name}"
    if name in recipe.tasks:
        raise BadRecipe(f"{where}: a task has this name")
    if question.of not in recipe.tasks:
        raise BadRecipe(f"{where}.of: {question.of!r} is no task here")
    classes = set(question.classes.values())
    if len(classes) < 2 or classes != set(range(len(classes))):
        raise BadRecipe(f"{where}.classes: classes are numbered from 0 without a gap, two or more")
    unknown = sorted(set(question.classes) - set(range(TASKS[question.of].classes)))
    if unknown:
        raise BadRecipe(f"{where}.classes: {question.of} has no reading {unknown[0]}")


def _check_views(recipe: Recipe) -> None:
    if not recipe.views:
        raise BadRecipe("views: there is none")
    for name, view in recipe.views.items():
        try:
            steps.validate((*view.prepare, *view.finish))
        except BadBundle as error:
            raise BadRecipe(f"views.{name}: {error.reason}") from error
        for spec in view.finish:
            if spec["step"] not in FINISHING:
                raise BadRecipe(
                    f"views.{name}.finish: {spec['step']!r} cannot follow augmentation",
                    remedy=f"move it to prepare; finish may hold {', '.join(FINISHING)}",
                )
        if view.channels not in (1, 3):
            raise BadRecipe(f"views.{name}.channels is {view.channels}, not 1 or 3")


def _check_augment(recipe: Recipe) -> None:
    for grade in recipe.augment_by_grade:
        if not 0 <= grade < TASKS["KL"].classes:
            raise BadRecipe(f"augment_by_grade: {grade} is no KL grade")
    if "flip" in recipe.tta and recipe.augment.flip <= 0:
        raise BadRecipe("tta lists flip, but the network is not trained with it", remedy="set augment.flip")
    if any(ranges.flip > 0 for ranges in (recipe.augment, *recipe.augment_by_grade.values())):
        for task in recipe.tasks:
            if TASKS[task].mirrored not in recipe.tasks:
                raise BadRecipe(
                    f"augment.flip turns {task} into {TASKS[task].mirrored}, which is no task here",
                    remedy=f"add {TASKS[task].mirrored} to tasks, or set flip to 0",
                )


def _check_optimise(optimise: Optimise) -> None:
    if not optimise.phases:
        raise BadRecipe("optimise.phases: there is none")
    for i, phase in enumerate(optimise.phases):
        where = f"optimise.phases[{i}]"
        if phase.epochs < 1:
            raise BadRecipe(f"{where}.epochs is {phase.epochs}, not 1 or more")
        if phase.lr <= 0 and phase.train == "all":
            raise BadRecipe(f"{where}.lr is {phase.lr:g}, not positive")
        if max(phase.lr, phase.head_lr) <= 0:
            raise BadRecipe(f"{where}: neither lr nor head_lr is positive")
        if not 0 <= phase.warmup <= phase.epochs:
            raise BadRecipe(f"{where}.warmup is {phase.warmup:g}, not 0 to {phase.epochs} epochs")
    if optimise.batch < 1:
        raise BadRecipe(f"optimise.batch is {optimise.batch}, not 1 or more")
    if not 0 <= optimise.ema < 1:
        raise BadRecipe(f"optimise.ema is {optimise.ema:g}, not from 0 to below 1")
    for key in ("weight_decay", "clip", "patience"):
        if getattr(optimise, key) < 0:
            raise BadRecipe(f"optimise.{key} is {getattr(optimise, key):g}, less than 0")
