"""The kinds of recipe: what each trains, and which bundle comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

from kellgren.errors import BadRecipe, nearest
from kellgren.train.contour import export as contour_export
from kellgren.train.contour import recipe as contour_recipe
from kellgren.train.contour import training as contour_training
from kellgren.train.contour.recipe import ContourRecipe
from kellgren.train.documents import Document
from kellgren.train.graders import export, recipe, training
from kellgren.train.graders.recipe import Recipe
from kellgren.train.localiser import export as localiser_export
from kellgren.train.localiser import recipe as localiser_recipe
from kellgren.train.localiser import training as localiser_training
from kellgren.train.localiser.compared import recipe as compared_recipe
from kellgren.train.localiser.compared import training as compared
from kellgren.train.localiser.compared.recipe import ComparatorRecipe
from kellgren.train.localiser.recipe import FilmRecipe as FilmRecipe
from kellgren.train.localiser.recipe import LocaliserRecipe as LocaliserRecipe
from kellgren.train.run import Run, Track

AnyRecipe = Recipe | ContourRecipe | LocaliserRecipe | ComparatorRecipe

KINDS: Final[dict[str, Callable[[Document], AnyRecipe]]] = {
    "grader": recipe.from_dict,
    "localiser": localiser_recipe.from_dict,
    "contour": contour_recipe.from_dict,
    "mtcnn": compared_recipe.from_dict,
    "hog_svm": compared_recipe.from_dict,
}
"""Parsers by the key `kind`."""


def from_dict(document: Document) -> AnyRecipe:
    """A recipe of the kind that its key `kind` names; a grader's has none.

    Raises:
        BadRecipe: Unknown kind or key, or a value that cannot be.
    """
    kind = document.get("kind", "grader")
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadRecipe(f"kind is {kind!r:.60}", remedy=nearest(str(kind), tuple(KINDS)))
    return KINDS[kind](document if kind != "grader" else {k: v for k, v in document.items() if k != "kind"})


def train(run: Run[AnyRecipe], *, resume: bool, track: Track) -> Path:
    """Train a recipe of any kind and export its bundle.

    Returns:
        The bundle's folder, `bundle` in the run folder; of a detector that the cascade is compared with, the
        detector's.

    Raises:
        BadRecipe, BadDataset, BadBundle: See the kinds' `training.train` and `export`.
    """
    recipe, bundle = run.recipe, run.out / "bundle"
    if isinstance(recipe, Recipe):
        grader = cast("Run[Recipe]", run)
        training.train(grader, resume=resume, track=track)
        # of several processes the first exports
        return (
            bundle if run.hardware.rank else export.export_run(run.out, run.dataset.root, bundle, track=track)
        )
    if run.init is not None:
        raise BadRecipe(f"{recipe.name!r} starts from random weights", remedy="leave --init out")
    if run.hardware.world > 1:
        raise BadRecipe(f"{recipe.name!r} is trained by one process", remedy="start it without torchrun")
    if isinstance(recipe, ContourRecipe):
        contour_training.train(cast("Run[ContourRecipe]", run), resume=resume, track=track)
        return contour_export.export_contour(run.out, run.dataset, bundle)
    if isinstance(recipe, LocaliserRecipe):
        localiser_training.train(cast("Run[LocaliserRecipe]", run), resume=resume, track=track)
        return localiser_export.export_localiser(run.out, run.dataset, bundle)
    return compared.train(cast("Run[ComparatorRecipe]", run), resume=resume, track=track)
