"""Recipes of the detectors that the cascade is compared with."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from kellgren.train.documents import STRICT, Amount, Document, parse
from kellgren.train.localiser.compared.hog import HogSettings
from kellgren.train.localiser.compared.mtcnn import MtcnnSettings
from kellgren.train.localiser.recipe import FilmRecipe, Level, Number, Tune


@dataclass(frozen=True, slots=True, config=STRICT)
class MtcnnRecipe(FilmRecipe):
    """Three-level MTCNN.

    Attributes:
        kind: `mtcnn`.
        level1: P-Net; `width` is the channels of its first convolution.
        level2: R-Net.
        level3: O-Net.
        tune: How R-Net and O-Net go on with real films, as the cascade's second level does.
        search: Thresholds.
    """

    kind: Literal["mtcnn"]
    level1: Level
    level2: Level
    level3: Level
    tune: Tune
    search: MtcnnSettings

    @property
    def levels(self) -> tuple[Level, Level, Level]:
        """All three."""
        return self.level1, self.level2, self.level3


@dataclass(frozen=True, slots=True, config=STRICT)
class HogRecipe(FilmRecipe):
    """HOG + linear SVM.

    Attributes:
        kind: `hog_svm`.
        near: Windows around each joint, as the cascade's first level.
        far: Windows anywhere on each film.
        penalty: C of the support vector machine.
        mined: Most false windows per film that the second fit learns from as well.
        search: Thresholds.
    """

    kind: Literal["hog_svm"]
    near: Number
    far: Number
    penalty: Amount
    mined: Number
    search: HogSettings


ComparatorRecipe = MtcnnRecipe | HogRecipe


def from_dict(document: Document) -> ComparatorRecipe:
    """Check a recipe of either kind.

    Raises:
        BadRecipe: Naming the key that is unknown or the value that cannot be.
    """
    if document.get("kind") == "mtcnn":
        return parse(MtcnnRecipe, document, where="recipe")
    return parse(HogRecipe, document, where="recipe")
