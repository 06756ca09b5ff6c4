"""The recipe of the joint-line model, as one annotated YAML file checked against frozen dataclasses."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from kellgren.errors import BadBundle, BadRecipe
from kellgren.model import steps
from kellgren.train.graders.recipe import Augment, Optimise, build, document


@dataclass(frozen=True, slots=True)
class Loss:
    """What a wrong point costs.

    Attributes:
        along: Weight of the error along the curve; that across it has 1.
        sigma: Standard deviation in cells of the Gaussian that a heat map is asked to be.
        shape: Weight of the divergence from that Gaussian.
        trusted: Score of a knee's points from which on they count fully.
        least: Weight of points with a score of 0.
    """

    along: float
    sigma: float
    shape: float
    trusted: float
    least: float


@dataclass(frozen=True, slots=True)
class Cutouts:
    """Grey squares laid over training images.

    Attributes:
        most: Largest number an image.
        side: Largest side, fraction of the image.
    """

    most: int
    side: float


@dataclass(frozen=True, slots=True)
class ContourRecipe:
    """Everything that decides a joint-line model, apart from data and seed.

    Attributes:
        kind: Always `contour`.
        name: The recipe's name.
        size: `full` or `small`.
        title: One line for tables.
        source: Paper, or who thought of it.
        side_convention: `as_right` mirrors left knees.
        steps: Model-stage steps as in the card.
        augment_before: Name of the step before which training augments.
        width: Channels of the first stage.
        loss: What a wrong point costs.
        augment: Random changes in training; flip must be 0, the points know their sides.
        cutouts: Grey squares.
        optimise: How the weights are learned: AdamW, one phase that trains everything.
    """

    kind: Literal["contour"]
    name: str
    size: str
    title: str
    source: str
    side_convention: Literal["as_right"]
    steps: tuple[dict[str, Any], ...]
    augment_before: str
    width: int
    loss: Loss
    augment: Augment
    cutouts: Cutouts
    optimise: Optimise

    def to_dict(self) -> dict[str, Any]:
        """As plain dictionaries, for cards and run records."""
        return dataclasses.asdict(self)

    def split_steps(self) -> tuple[tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]:
        """The steps before and after the point where training augments."""
        cut = [spec["step"] for spec in self.steps].index(self.augment_before)
        return self.steps[:cut], self.steps[cut:]


def load(name_or_path: str = "contour", *, size: str = "full") -> ContourRecipe:
    """Read the packaged recipe, or one in a file.

    Raises:
        BadRecipe: Unknown name, size or key, or a value that cannot be.
    """
    return from_dict(document(name_or_path, size=size))


def from_dict(values: dict[str, Any]) -> ContourRecipe:
    """The recipe that `ContourRecipe.to_dict` stored.

    Raises:
        BadRecipe: As `load`.
    """
    recipe: ContourRecipe = build(ContourRecipe, values, where="recipe")
    try:
        steps.validate(recipe.steps)
    except BadBundle as error:
        raise BadRecipe(f"steps: {error.reason}") from error
    if recipe.augment_before not in [spec["step"] for spec in recipe.steps]:
        raise BadRecipe(f"augment_before: no step {recipe.augment_before!r}")
    if len(recipe.optimise.phases) != 1:
        raise BadRecipe(f"optimise.phases: {len(recipe.optimise.phases)}, a joint-line model has one")
    if recipe.augment.flip > 0:
        raise BadRecipe("augment.flip is not 0", remedy="lateral and medial points do not change places")
    return recipe
