"""Recipes: what to train and how, as one annotated YAML file checked against frozen dataclasses.

A recipe file holds the fields of `Recipe` once, and under `sizes:` what differs for `full` and `small`.
An unknown key is an error that names the nearest known one: a typo never becomes a silent default.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml

from kellgren import steps
from kellgren.calibrate import DecisionRule
from kellgren.errors import BadBundle, BadRecipe
from kellgren.vocabulary import TASKS


@dataclass(frozen=True, slots=True)
class Input:
    """What the network sees.

    Attributes:
        view: Name of the view in the card.
        steps: Model-stage steps as in the card (`kellgren.steps`).
        augment_before: Name of the step before which training augments; the steps before it are run once.
    """

    view: str
    steps: tuple[dict[str, Any], ...]
    augment_before: str


@dataclass(frozen=True, slots=True)
class Network:
    """Which network.

    Attributes:
        kind: Name of the constructor in `kellgren.learn.networks`.
        backbone: Name of a timm model.
        dropout: Probability before the heads.
        drop_path: Stochastic depth of the backbone (Huang 2016).
        freeze: Prefixes of backbone parameter names that keep their initial weights and statistics.
    """

    kind: str
    backbone: str
    dropout: float
    drop_path: float = 0.0
    freeze: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """What the network is asked to say.

    Attributes:
        spread: Standard deviation in grades of the soft ordinal target (`losses.soft_ordinal`); 0 is one-hot.
    """

    spread: float


@dataclass(frozen=True, slots=True)
class Augment:
    """Ranges of the random changes, drawn anew for each knee and epoch (`kellgren.learn.augment`).

    Attributes:
        flip: Probability of a left-right mirror (lateral and medial labels change places).
        rotate: Largest rotation either way, degrees.
        scale: Largest relative change of size either way.
        shift: Largest shift either way, fraction of the image.
        contrast: Largest relative change of contrast either way.
        brightness: Largest added brightness either way, image range being 0..1.
        gamma: Largest factor (and divisor) of the exponent, >= 1.
        blur: Largest Gaussian sigma, pixels; applied to half of the images.
        noise: Largest standard deviation of Gaussian noise; applied to half of the images.
    """

    flip: float = 0.0
    rotate: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    gamma: float = 1.0
    blur: float = 0.0
    noise: float = 0.0


@dataclass(frozen=True, slots=True)
class Optimise:
    """How the weights are learned: AdamW with linear warm-up and cosine decay to zero.

    Attributes:
        epochs: Passes over the training knees.
        batch: Knees per step.
        lr: Peak learning rate of the backbone.
        head_lr: Peak learning rate of the heads.
        weight_decay: Decoupled weight decay (not on biases and normalisation).
        warmup: Epochs of linear warm-up.
        clip: Largest gradient norm.
        ema: Decay of the exponential moving average of the weights, per step.
    """

    epochs: int
    batch: int
    lr: float
    head_lr: float
    weight_decay: float
    warmup: float
    clip: float
    ema: float


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
        decision: How each task's grade follows from its probabilities.
        tta: Test-time views besides the plain one; `flip` only where training flips.
        input: What the network sees.
        network: Which network.
        target: What it is asked to say.
        augment: Random changes in training.
        optimise: How the weights are learned.
    """

    name: str
    size: str
    title: str
    source: str
    tasks: dict[str, float]
    side_convention: Literal["as_right", "none"]
    decision: dict[str, DecisionRule]
    tta: tuple[str, ...]
    input: Input
    network: Network
    target: Target
    augment: Augment
    optimise: Optimise

    def to_dict(self) -> dict[str, Any]:
        """As plain dictionaries, for cards and run records."""
        return dataclasses.asdict(self)


def available() -> tuple[str, ...]:
    """Names of the packaged recipes."""
    folder = resources.files("kellgren.learn") / "recipes"
    return tuple(sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".yaml")))


def load(name_or_path: str, *, size: str = "full") -> Recipe:
    """Read a grader's recipe by packaged name or from a YAML file.

    Raises:
        BadRecipe: Unknown name, size or key, or a value that cannot be.
    """
    return from_dict(document(name_or_path, size=size))


def document(name_or_path: str, *, size: str = "full") -> dict[str, Any]:
    """A recipe of any kind as plain values, the given size laid over what is common to all.

    Raises:
        BadRecipe: Unknown name or size, or not a mapping.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise BadRecipe(f"cannot read the recipe: {error.strerror}", path=path) from error
    elif name_or_path in available():
        resource = resources.files("kellgren.learn") / "recipes" / f"{name_or_path}.yaml"
        text = resource.read_text(encoding="utf-8")
    else:
        raise BadRecipe(f"no recipe {name_or_path!r}", remedy=_nearest(name_or_path, available()))
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadRecipe(f"not valid YAML: {error}", path=path) from error
    if not isinstance(values, dict):
        raise BadRecipe("a recipe is a mapping", path=path)
    sizes = values.pop("sizes", {})
    if size not in sizes:
        raise BadRecipe(f"no size {size!r}", path=path, remedy=_nearest(size, tuple(sizes)))
    return {**merge(values, sizes[size] or {}), "size": size}


def from_dict(document: Mapping[str, Any]) -> Recipe:
    """The recipe that `Recipe.to_dict` stored.

    Raises:
        BadRecipe: As `load`.
    """
    recipe: Recipe = build(Recipe, document, where="recipe")
    _check(recipe)
    return recipe


def _nearest(word: str, known: tuple[str, ...]) -> str:
    match = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {match[0]!r}?" if match else f"known: {', '.join(known)}"


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another, key by key at every depth."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def build(cls: type[Any], values: Mapping[str, Any], *, where: str) -> Any:
    """A frozen dataclass from plain values, every key and type checked.

    Raises:
        BadRecipe: Naming the key and, if it is unknown, the nearest known one.
    """
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise BadRecipe(f"{where}: unknown key {key!r}", remedy=_nearest(str(key), tuple(hints)))
    for field in dataclasses.fields(cls):
        if field.name not in values and field.default is dataclasses.MISSING:
            raise BadRecipe(f"{where}: no key {field.name!r}")
    return cls(**{key: _convert(hints[key], value, where=f"{where}.{key}") for key, value in values.items()})


def _convert(hint: Any, value: Any, *, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return build(typing.cast("type[Any]", hint), value, where=where)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_convert(arguments[0], item, where=f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        return {key: _convert(arguments[1], item, where=f"{where}.{key}") for key, item in value.items()}
    if origin is Literal:
        if value not in arguments:
            raise BadRecipe(f"{where} is {value!r}", remedy=f"one of {', '.join(arguments)}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = origin or hint
    if isinstance(expected, type):
        wrong = not isinstance(value, expected) or (expected is int and isinstance(value, bool))
        if wrong:
            raise BadRecipe(f"{where} is {value!r}, expected {expected.__name__}")
    return value


def _check(recipe: Recipe) -> None:
    for task in recipe.tasks:
        if task not in TASKS:
            raise BadRecipe(f"tasks: unknown task {task!r}", remedy=_nearest(task, tuple(TASKS)))
    try:
        steps.validate(recipe.input.steps)
    except BadBundle as error:
        raise BadRecipe(f"input.steps: {error.reason}") from error
    names = tuple(spec["step"] for spec in recipe.input.steps)
    if recipe.input.augment_before not in names:
        raise BadRecipe(
            f"input.augment_before: no step {recipe.input.augment_before!r}",
            remedy=_nearest(recipe.input.augment_before, names),
        )
    for key in ("epochs", "batch"):
        if getattr(recipe.optimise, key) < 1:
            raise BadRecipe(f"optimise.{key} is {getattr(recipe.optimise, key)}, not 1 or more")
    if "flip" in recipe.tta and recipe.augment.flip <= 0:
        raise BadRecipe("tta lists flip, but the network is not trained with it", remedy="set augment.flip")
