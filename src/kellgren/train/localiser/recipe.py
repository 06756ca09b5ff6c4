"""The localiser's recipe, as one annotated YAML file."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from kellgren.train.documents import STRICT, Amount, Count, Document, Epochs, Rate, Share, parse

Number = Annotated[int, Field(ge=0, le=100_000)]


@dataclass(frozen=True, slots=True, config=STRICT)
class Weights:
    """The alphas of eq. (1) in Wang 2021: level 1 has 1, 0.5, 0; level 2 has 0.8, 0.6, 1.5."""

    knee: Amount
    box: Amount
    points: Amount


@dataclass(frozen=True, slots=True, config=STRICT)
class Material:
    """What films there are to learn from.

    Attributes:
        composed: Films composed from each patient's crops.
        jointless: Share of these that show shafts only.
        single: Share that show one knee although there are two.
        real: Changed copies (turned, enlarged, other exposure) of each real film.
        simulated: Simulated films, a quarter of them without a native joint in front view.
    """

    composed: Number
    jointless: Share
    single: Share
    real: Number
    simulated: Number


@dataclass(frozen=True, slots=True, config=STRICT)
class Level:
    """How one level is trained.

    Attributes:
        width: Channels of its first convolution.
        near: Windows around each joint.
        far: Windows anywhere on each film.
        epochs: Passes over the windows.
        lr: Learning rate of Adam: constant, or the peak of one cycle.
        cycle: Whether the rate rises and falls once (Smith 2018) instead of staying.
        batch: Windows per step.
        loss: Weights of eq. (1).
        hardest: Share of windows whose cross entropy counts (MTCNN: 0.7).
    """

    width: Count
    near: Count
    far: Number
    epochs: Epochs
    lr: Rate
    cycle: bool
    batch: Count
    loss: Weights
    hardest: Share


@dataclass(frozen=True, slots=True, config=STRICT)
class Tune:
    """How level 2 goes on with real films, where there are any.

    Attributes:
        epochs: Passes over their windows and as many of the other films.
        lr: Peak learning rate of one cycle.
    """

    epochs: Epochs
    lr: Rate


@dataclass(frozen=True, slots=True, config=STRICT)
class Search:
    """See `kellgren.locate.Settings`."""

    propose: Share
    accept: Share
    proposals: Count
    passes: Annotated[int, Field(ge=1, le=100)]


@dataclass(frozen=True, slots=True, config=STRICT)
class FilmRecipe:
    """What the recipes of all detectors have, apart from data and seed.

    Attributes:
        name: The recipe's name.
        size: `full` or `small`.
        title: One line for tables.
        source: Paper, or who thought of it.
        material: Films.
    """

    name: str
    size: str
    title: str
    source: str
    material: Material

    def to_dict(self) -> Document:
        """As plain values, for cards and run records."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True, config=STRICT)
class LocaliserRecipe(FilmRecipe):
    """Everything that decides a localiser.

    Attributes:
        kind: `localiser`.
        level1: The network that proposes.
        level2: The network that decides.
        tune: How it goes on with real films.
        search: Thresholds.
    """

    kind: Literal["localiser"]
    level1: Level
    level2: Level
    tune: Tune
    search: Search


def from_dict(document: Document) -> LocaliserRecipe:
    """The recipe that a YAML file or `LocaliserRecipe.to_dict` holds.

    Raises:
        BadRecipe: Naming the key that is unknown or the value that cannot be.
    """
    return parse(LocaliserRecipe, document, where="recipe")
