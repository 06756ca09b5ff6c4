"""Recipes of graders: what to train and how, as one annotated YAML file.

A recipe file holds the fields of `Recipe` once, and under `sizes:` what differs for `full` and `small`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue, TypeAdapter
from pydantic.dataclasses import dataclass

from kellgren.errors import BadRecipe, nearest
from kellgren.model.calibrators import Method
from kellgren.model.decision import DecisionRule
from kellgren.model.steps import Step
from kellgren.model.tta import TestTimeLook
from kellgren.train.documents import (
    STRICT,
    Amount,
    Count,
    Document,
    Epochs,
    Rate,
    Share,
    available,
    document,
    merge,
    override,
    parse,
)
from kellgren.vocabulary import TASKS

__all__ = [
    "FINISHING",
    "OPTIONS",
    "Augment",
    "Auxiliary",
    "Loss",
    "Network",
    "Optimise",
    "Phase",
    "Recipe",
    "View",
    "available",
    "document",
    "from_dict",
    "load",
    "merge",
    "override",
    "parse",
]

Grade = Annotated[int, Field(ge=0, le=4)]

Sampling = Literal["natural", "balanced"]

FINISHING: Final = ("region", "patch", "mirror", "normalise")
"""Steps that `View.finish` may hold: those that `kellgren.train.graders.batches` has for tensors."""


@dataclass(frozen=True, slots=True, config=STRICT)
class View:
    """One input of the network: how a crop becomes it.

    Training runs `prepare` once, then augments, then runs `finish`; grading runs both in turn, as the card
    lists them. Augmentation treats all views of a knee alike.

    Attributes:
        prepare: Model-stage steps before augmentation (`kellgren.model.steps`), ending at a fixed size.
        finish: Those after it: cutting, mirroring and normalising, which batches of tensors can do as well
            (`kellgren.train.graders.batches.finish`).
        channels: 1, or 3 equal ones for backbones that need colour.
    """

    prepare: tuple[Step, ...]
    finish: tuple[Step, ...] = ()
    channels: Literal[1, 3] = 1


@dataclass(frozen=True, slots=True, config=STRICT)
class Network:
    """Which network.

    Attributes:
        kind: Name in `kellgren.train.graders.networks.KINDS`.
        backbone: Name of a timm model, where the kind takes one.
        dropout: Probability before the heads.
        drop_path: Stochastic depth of the backbone (Huang 2016), where it has any.
        freeze: Prefixes of backbone parameter names that keep their initial weights and statistics.
        options: What only this kind of network has, as written: `parse` makes one of `OPTIONS` of it, and a
            network of one's own reads it as it likes.
    """

    kind: str
    backbone: str = ""
    dropout: Share = 0.0
    drop_path: Share = 0.0
    freeze: tuple[str, ...] = ()
    options: Document = field(default_factory=dict)


@dataclass(frozen=True, slots=True, config=STRICT)
class BackboneOptions:
    """What `multi_task` has, and every network with a backbone of timm.

    Attributes:
        model: Further arguments of the backbone's constructor in timm, by which it can be narrowed.
    """

    model: Document = field(default_factory=dict)


@dataclass(frozen=True, slots=True, config=STRICT)
class WangOptions(BackboneOptions):
    """What only the network of Wang 2021 has.

    Attributes:
        fusion: `gate` is the paper's equation 6. The ablation's rows without the gate `concatenate`, as its
            predecessor does (Tiulpin 2018); the paper's text does not say how they join the patches. `mean`
            is the gate that never moves.
        gates: `feature` has a gate for each of the D features, `patch` one for the whole patch: the text
            admits both readings, and "emphasize useful information and suppress the useless" the first.
    """

    fusion: Literal["gate", "concatenate", "mean"] = "gate"
    gates: Literal["feature", "patch"] = "feature"


@dataclass(frozen=True, slots=True, config=STRICT)
class DualStreamOptions(BackboneOptions):
    """What only the dual-stream network has.

    Attributes:
        attention: Cross-attention and attention fusion. Without, the streams are averaged: the ablation's
            row "Dual-stream (Raw + CLAHE, No Attention)", whose wiring the paper does not give.
        heads: Of the cross-attention.
        hidden: Width of the fusion's small MLP.
    """

    attention: bool = True
    heads: Count = 8
    hidden: Count = 128


@dataclass(frozen=True, slots=True, config=STRICT)
class OaMenOptions(BackboneOptions):
    """What only OA-MEN has.

    Attributes:
        parallel: The MobileNet, a name in timm, or empty for none; `network.backbone` is the ResNet.
        pyramid: Channels of each level of the multi-scale fusion.
    """

    parallel: str = "mobilenetv1_100"
    pyramid: Count = 256


@dataclass(frozen=True, slots=True, config=STRICT)
class TiulpinOptions:
    """What only the network of Tiulpin 2018 has.

    Attributes:
        width: Channels of the first block; the others have twice and four times as many.
    """

    width: Count = 64


@dataclass(frozen=True, slots=True, config=STRICT)
class AntonyOptions:
    """What only the network of Antony 2017 has.

    Attributes:
        widths: Channels of the four convolution stages.
        hidden: Width of fc5.
    """

    widths: Annotated[tuple[Count, ...], Field(min_length=1, max_length=4)] = (32, 64, 96, 128)
    hidden: Count = 512


OPTIONS: Final = {
    "multi_task": BackboneOptions,
    "wang": WangOptions,
    "dual_stream": DualStreamOptions,
    "oa_men": OaMenOptions,
    "tiulpin": TiulpinOptions,
    "antony": AntonyOptions,
}
"""Type of `network.options` by `network.kind`."""


@dataclass(frozen=True, slots=True, config=STRICT)
class Loss:
    """What a head is asked for.

    Attributes:
        kind: Name in `kellgren.train.graders.losses.KINDS`.
        spread: cross_entropy: standard deviation in grades of the soft ordinal target; 0 is one-hot.
        smoothing: cross_entropy: share of the target that is spread evenly over all grades.
        gamma: focal: how much less easy knees count (Lin 2017).
        alpha: focal: weight of each grade; none given: 1 each.
        matrix: ordinal_matrix: penalty (read grade, answered grade), a row per grade; none given: Chen's.
        share: cross_entropy_mse: weight of the squared error.
    """

    kind: Literal["cross_entropy", "focal", "ordinal_matrix", "coral", "corn", "cross_entropy_mse"] = (
        "cross_entropy"
    )
    spread: Annotated[float, Field(ge=0, le=10)] = 0.0
    smoothing: Share = 0.0
    gamma: Annotated[float, Field(ge=0, le=20)] = 2.0
    alpha: tuple[Amount, ...] = ()
    matrix: tuple[tuple[Amount, ...], ...] = ()
    share: Amount = 1.0


@dataclass(frozen=True, slots=True, config=STRICT)
class Auxiliary:
    """A head that only training has, for a question about a task's reading; other readings are masked.

    Attributes:
        of: The task whose reading is asked about.
        classes: The class of each reading that counts: `{0: 0, 1: 1, 2: 1}` tells 0 from 1 and 2.
        weight: Weight of its loss.
        loss: The loss that trains it.
    """

    of: str
    classes: dict[Grade, Grade]
    weight: Amount
    loss: Loss = Loss()


@dataclass(frozen=True, slots=True, config=STRICT)
class Augment:
    """Ranges of the random changes, redrawn for each knee and epoch (`kellgren.train.graders.augment`).

    Attributes:
        chance: Probability of each transform, drawn for each on its own: rotation, scale and shift together,
            grid, contrast and brightness together, gamma, blur, noise. Not of `flip` and `crop`.
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

    chance: Share = 1.0
    flip: Share = 0.0
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    shift: Share = 0.0
    grid: Annotated[float, Field(ge=0, lt=1)] = 0.0
    contrast: Share = 0.0
    brightness: Share = 0.0
    gamma: Annotated[float, Field(ge=1, le=10)] = 1.0
    blur: Annotated[float, Field(ge=0, le=50)] = 0.0
    noise: Share = 0.0


@dataclass(frozen=True, slots=True, config=STRICT)
class Phase:
    """A stretch of training with one rule for the learning rate.

    Attributes:
        epochs: Passes over the training knees.
        lr: Learning rate of the backbone, at its peak.
        head_lr: That of heads and fusion; 0 means the same as `lr`.
        train: `heads` leaves the backbone as it is; `all` trains everything that is not frozen.
        schedule: `constant`; `cosine` down to zero at the end of the phase; or `one_cycle`, up and down
            (Smith 2018; `adam` and `adamw`).
        warmup: Epochs of linear warm-up at its beginning.
    """

    epochs: Epochs
    lr: Rate
    head_lr: Rate = 0.0
    train: Literal["all", "heads"] = "all"
    schedule: Literal["constant", "cosine", "one_cycle"] = "constant"
    warmup: Annotated[float, Field(ge=0)] = 0.0


@dataclass(frozen=True, slots=True, config=STRICT)
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

    phases: Annotated[tuple[Phase, ...], Field(min_length=1, max_length=100)]
    batch: Count
    optimiser: Literal["adam", "adamw", "sgd"] = "adamw"
    weight_decay: Amount = 0.0
    clip: Amount = 0.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patience: Annotated[int, Field(ge=0)] = 0

    @property
    def epochs(self) -> int:
        """Epochs of all phases."""
        return sum(phase.epochs for phase in self.phases)


@dataclass(frozen=True, slots=True, config=STRICT)
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
    tasks: Annotated[dict[str, Amount], Field(min_length=1)]
    side_convention: Literal["as_right", "none"]
    views: Annotated[dict[str, View], Field(min_length=1)]
    network: Network
    optimise: Optimise
    loss: dict[str, Loss] = field(default_factory=dict)
    auxiliary: dict[str, Auxiliary] = field(default_factory=dict)
    augment: Augment = Augment()
    augment_by_grade: dict[Grade, Augment] = field(default_factory=dict)
    sampling: Sampling = "natural"
    decision: dict[str, DecisionRule] = field(default_factory=dict)
    calibration: Method = "temperature"
    tta: tuple[TestTimeLook, ...] = ()

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

    def to_dict(self) -> Document:
        """As plain values, for cards and run records.

        A key that is younger than the first runs is left out at its default, so that these can be resumed and
        the cells of studies keep their keys.
        """
        values: Document = TypeAdapter(Recipe).dump_python(self)
        if self.calibration == "temperature":
            del values["calibration"]
        return values


def load(name_or_path: str, *, size: str = "full") -> Recipe:
    """Read a grader's recipe by packaged name or from a YAML file.

    Raises:
        BadRecipe: Unknown name, size or key, or a value that cannot be.
    """
    return from_dict(document(name_or_path, size=size))


def from_dict(document: Mapping[str, JsonValue]) -> Recipe:
    """The recipe that `Recipe.to_dict` stored.

    Raises:
        BadRecipe: As `load`.
    """
    recipe = parse(Recipe, document, where="recipe")
    _check(recipe)
    return recipe


def _check(recipe: Recipe) -> None:
    for task in recipe.tasks:
        if task not in TASKS:
            raise BadRecipe(f"tasks: unknown task {task!r}", remedy=nearest(task, tuple(TASKS)))
    for task in recipe.loss:
        if task != "default" and task not in recipe.tasks:
            raise BadRecipe(f"loss: {task!r} is not a task here", remedy=nearest(task, tuple(recipe.tasks)))
    for task in recipe.decision:
        if task not in TASKS:
            raise BadRecipe(f"decision: unknown task {task!r}", remedy=nearest(task, tuple(TASKS)))
    for name, question in recipe.auxiliary.items():
        _check_auxiliary(name, question, recipe)
    _check_views(recipe)
    _check_augment(recipe)
    _check_optimise(recipe.optimise)
    if recipe.network.kind in OPTIONS:
        parse(OPTIONS[recipe.network.kind], recipe.network.options, where="recipe.network.options")


def _check_auxiliary(name: str, question: Auxiliary, recipe: Recipe) -> None:
    where = f"auxiliary.{name}"
    if name in recipe.tasks:
        raise BadRecipe(f"{where}: a task has this name")
    if question.of not in recipe.tasks:
        raise BadRecipe(f"{where}.of: {question.of!r} is not a task here")
    classes = set(question.classes.values())
    if len(classes) < 2 or classes != set(range(len(classes))):
        raise BadRecipe(f"{where}.classes: classes are numbered from 0 without a gap, two or more")
    unknown = sorted(set(question.classes) - set(range(TASKS[question.of].classes)))
    if unknown:
        raise BadRecipe(f"{where}.classes: {question.of} has no reading {unknown[0]}")


def _check_views(recipe: Recipe) -> None:
    for name, view in recipe.views.items():
        for step in view.finish:
            if step.step not in FINISHING:
                raise BadRecipe(
                    f"views.{name}.finish: {step.step!r} cannot follow augmentation",
                    remedy=f"move it to prepare; finish may hold {', '.join(FINISHING)}",
                )


def _check_augment(recipe: Recipe) -> None:
    if "flip" in recipe.tta and recipe.augment.flip <= 0:
        raise BadRecipe("tta lists flip, but the network is not trained with it", remedy="set augment.flip")
    if any(ranges.flip > 0 for ranges in (recipe.augment, *recipe.augment_by_grade.values())):
        for task in recipe.tasks:
            if TASKS[task].mirrored not in recipe.tasks:
                raise BadRecipe(
                    f"augment.flip turns {task} into {TASKS[task].mirrored}, which is not a task here",
                    remedy=f"add {TASKS[task].mirrored} to tasks, or set flip to 0",
                )


def _check_optimise(optimise: Optimise) -> None:
    for i, phase in enumerate(optimise.phases):
        where = f"optimise.phases[{i}]"
        if phase.lr <= 0 and phase.train == "all":
            raise BadRecipe(f"{where}.lr is {phase.lr:g}, not positive")
        if max(phase.lr, phase.head_lr) <= 0:
            raise BadRecipe(f"{where}: neither lr nor head_lr is positive")
        if phase.warmup > phase.epochs:
            raise BadRecipe(f"{where}.warmup is {phase.warmup:g}, not 0 to {phase.epochs} epochs")
