"""The localiser's recipe, as one annotated YAML file checked against frozen dataclasses."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from kellgren.errors import BadRecipe
from kellgren.train.graders.recipe import build
from kellgren.train.localiser.losses import Weights


@dataclass(frozen=True, slots=True)
class Material:
    """What films there are to learn from.

    Attributes:
        composed: Films composed from each patient's crops.
        jointless: Share of these that show shafts only.
        single: Share that show one knee although there are two.
        real: Changed copies (turned, enlarged, other exposure) of each real film.
        simulated: Simulated films, a quarter of them without a native joint in front view.
    """

    composed: int
    jointless: float
    single: float
    real: int
    simulated: int


@dataclass(frozen=True, slots=True)
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

    width: int
    near: int
    far: int
    epochs: int
    lr: float
    cycle: bool
    batch: int
    loss: Weights
    hardest: float


@dataclass(frozen=True, slots=True)
class Tune:
    """How level 2 goes on with real films, where there are any.

    Attributes:
        epochs: Passes over their windows and as many of the other films.
        lr: Peak learning rate of one cycle.
    """

    epochs: int
    lr: float


@dataclass(frozen=True, slots=True)
class Search:
    """See `kellgren.locate.Settings`."""

    propose: float
    accept: float
    proposals: int
    passes: int


@dataclass(frozen=True, slots=True)
class LocaliserRecipe:
    """Everything that decides a localiser, apart from data and seed.

    Attributes:
        kind: `localiser`.
        name: The recipe's name.
        size: `full` or `small`.
        title: One line for tables.
        source: Paper, or who thought of it.
        material: Films.
        level1: The network that proposes.
        level2: The network that decides.
        tune: How it goes on with real films.
        search: Thresholds.
    """

    kind: Literal["localiser"]
    name: str
    size: str
    title: str
    source: str
    material: Material
    level1: Level
    level2: Level
    tune: Tune
    search: Search

    def to_dict(self) -> dict[str, Any]:
        """As plain dictionaries, for cards and run records."""
        return dataclasses.asdict(self)


def from_dict(document: dict[str, Any]) -> LocaliserRecipe:
    """Check a recipe.

    Raises:
        BadRecipe: Naming the key that is unknown or the value that cannot be.
    """
    recipe: LocaliserRecipe = build(LocaliserRecipe, document, where="recipe")
    for name, level in (("level1", recipe.level1), ("level2", recipe.level2)):
        for key in ("width", "epochs", "batch", "near"):
            if getattr(level, key) < 1:
                raise BadRecipe(f"{name}.{key} is {getattr(level, key)}, not 1 or more")
    return recipe
