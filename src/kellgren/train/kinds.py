"""The kinds of recipe: what each trains, and which bundle comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kellgren.data import DataSet
from kellgren.errors import BadRecipe, nearest
from kellgren.train import localiser
from kellgren.train.contour import export as contour_export
from kellgren.train.contour import recipe as contour_recipe
from kellgren.train.contour import train as contour_training
from kellgren.train.contour.recipe import ContourRecipe
from kellgren.train.documents import Document
from kellgren.train.graders import export, recipe
from kellgren.train.graders import train as training
from kellgren.train.graders.recipe import Recipe
from kellgren.train.hardware import Hardware
from kellgren.train.localiser.compared import recipe as compared_recipe
from kellgren.train.localiser.compared import training as compared
from kellgren.train.localiser.compared.recipe import ComparatorRecipe, HogRecipe, MtcnnRecipe
from kellgren.train.localiser.recipe import LocaliserRecipe as LocaliserRecipe
from kellgren.train.run import Run, Track

AnyRecipe = Recipe | ContourRecipe | LocaliserRecipe | ComparatorRecipe

KINDS: Final[dict[str, Callable[[Document], AnyRecipe]]] = {
    "grader": recipe.from_dict,
    "localiser": localiser.recipe.from_dict,
    "contour": contour_recipe.from_dict,
    "mtcnn": compared_recipe.from_dict,
    "hog_svm": compared_recipe.from_dict,
}
"""Parsers by the key `kind`."""

FILM_RECIPES = (LocaliserRecipe, MtcnnRecipe, HogRecipe)
"""Those that learn from real films, where there are any."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks for when training, whatever the kind.

    Attributes:
        data: All knees.
        films: Folder of real films, for localisers.
        out: Run folder; the bundle goes to `out/bundle`.
        fold: Held-out fold, -1 for none.
        seed: Source of all random numbers.
        init: Initial weights, for graders.
        hardware: Where.
    """

    data: DataSet
    films: Path | None
    out: Path
    fold: int
    seed: int
    init: str | None
    hardware: Hardware


def from_dict(document: Document) -> AnyRecipe:
    """A recipe of the kind that its key `kind` names; a grader's has none.

    Raises:
        BadRecipe: Unknown kind or key, or a value that cannot be.
    """
    kind = document.get("kind", "grader")
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadRecipe(f"kind is {kind!r:.60}", remedy=nearest(str(kind), tuple(KINDS)))
    return KINDS[kind](document if kind != "grader" else {k: v for k, v in document.items() if k != "kind"})


def train(chosen: AnyRecipe, request: Request, *, resume: bool, track: Track) -> Path:
    """Train a recipe of any kind and export its bundle.

    Returns:
        The bundle's folder; of a detector that the cascade is compared with, the detector's.

    Raises:
        BadRecipe, BadDataset, BadBundle: See `learn.train`, `learn.localiser.train`, `learn.contour.train`.
    """
    bundle = request.out / "bundle"
    if request.hardware.world > 1 and not isinstance(chosen, Recipe):
        raise BadRecipe(f"{chosen.name!r} is trained by one process", remedy="start it without torchrun")
    if isinstance(chosen, LocaliserRecipe):
        located = localiser.train.LocaliserRun(
            chosen, request.data, request.films, request.out, request.fold, request.seed, request.hardware
        )
        nets = localiser.train.train(located, resume=resume, track=track)
        return localiser.bundle.write(located, nets, bundle)
    if isinstance(chosen, MtcnnRecipe | HogRecipe):
        if resume:
            raise BadRecipe("a comparator's run cannot be resumed", remedy="start again in another --out")
        return compared.train(
            compared.ComparatorRun(
                chosen, request.data, request.films, request.out, request.fold, request.seed, request.hardware
            )
        )
    if isinstance(chosen, ContourRecipe):
        if resume:
            raise BadRecipe("a joint-line run cannot be resumed", remedy="start again in another --out")
        contour = contour_training.ContourRun(
            chosen, request.data, request.out, request.fold, request.seed, request.hardware
        )
        contour_training.train(contour, track=track)
        return contour_export.export_contour(request.out, request.data, bundle)
    run = Run(chosen, request.data, request.out, request.fold, request.seed, request.init, request.hardware)
    training.train(run, resume=resume, track=track)
    if request.hardware.rank:  # of several processes the first exports
        return bundle
    return export.export_run(request.out, request.data.root, bundle, track=track)
