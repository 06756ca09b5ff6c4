"""The recipe of the joint-line model, as one annotated YAML file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from kellgren.errors import BadRecipe
from kellgren.model.steps import Step
from kellgren.train.documents import STRICT, Amount, Count, Document, Share, document, parse
from kellgren.train.graders.recipe import Augment, Optimise


@dataclass(frozen=True, slots=True, config=STRICT)
class Loss:
    """What a wrong point costs.

    Attributes:
        along: Weight of the error along the curve; that across it has 1.
        sigma: Standard deviation in cells of the Gaussian that a heat map is asked to be.
        shape: Weight of the divergence from that Gaussian.
        trusted: Score of a knee's points from which on they count fully.
        least: Weight of points with a score of 0.
    """

    along: Amount
    sigma: Annotated[float, Field(gt=0, le=100)]
    shape: Amount
    trusted: Annotated[float, Field(gt=0, le=1)]
    least: Share


@dataclass(frozen=True, slots=True, config=STRICT)
class Cutouts:
    """Grey squares laid over training images.

    Attributes:
        most: Largest number per image.
        side: Largest side, fraction of the image.
    """

    most: Annotated[int, Field(ge=0, le=100)]
    side: Share


@dataclass(frozen=True, slots=True, config=STRICT)
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
    steps: tuple[Step, ...]
    augment_before: str
    width: Count
    loss: Loss
    augment: Augment
    cutouts: Cutouts
    optimise: Optimise

    def to_dict(self) -> Document:
        """As plain values, for cards and run records."""
        values: Document = TypeAdapter(ContourRecipe).dump_python(self)
        return values

    def split_steps(self) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        """The steps before and after the point where training augments."""
        cut = [step.step for step in self.steps].index(self.augment_before)
        return self.steps[:cut], self.steps[cut:]


def load(name_or_path: str = "contour", *, size: str = "full") -> ContourRecipe:
    """Read the packaged recipe, or one in a file.

    Raises:
        BadRecipe: Unknown name, size or key, or a value that cannot be.
    """
    return from_dict(document(name_or_path, size=size))


def from_dict(values: Document) -> ContourRecipe:
    """The recipe that `ContourRecipe.to_dict` stored.

    Raises:
        BadRecipe: As `load`.
    """
    recipe = parse(ContourRecipe, values, where="recipe")
    if recipe.augment_before not in [step.step for step in recipe.steps]:
        raise BadRecipe(f"augment_before: no step {recipe.augment_before!r}")
    if len(recipe.optimise.phases) != 1:
        raise BadRecipe(f"optimise.phases: {len(recipe.optimise.phases)}, a joint-line model has one")
    if recipe.augment.flip > 0:
        raise BadRecipe("augment.flip is not 0", remedy="lateral and medial points do not change places")
    return recipe
