"""`kellgren train`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[
        str, typer.Argument(help="Packaged recipe (see docs/reference/recipes.md) or a YAML file.")
    ],
    data: Annotated[Path, typer.Option(help="Data set folder with a train split and folds.")],
    out: Annotated[Path, typer.Option(help="Run folder.", file_okay=False)],
    size: Annotated[str, typer.Option(help="full: as published; small: for two processors.")] = "full",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    fold: Annotated[int, typer.Option(help="Fold held out for every choice; -1 trains on all.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    init: Annotated[
        str | None,
        typer.Option(help="Initial weights: a file, a folder of them, hub, or a run's folder to go on from."),
    ] = None,
    films: Annotated[
        Path | None,
        typer.Option(help="Real films with boxes.csv, for a localiser.", file_okay=False, exists=True),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Exchange a value of the recipe: optimise.batch=8. Repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in OUT.")] = False,
) -> None:
    """Train a recipe and export the bundle to OUT/bundle. Downloads nothing unless --init hub says so."""
    from kellgren.errors import require

    require("train", "training")
    from kellgren import data as datasets
    from kellgren.cli import progress
    from kellgren.errors import BadRecipe
    from kellgren.train import hardware, kinds
    from kellgren.train.graders import recipe as recipes

    # an epoch's line is worth seeing without --verbose, in minutes and hours of silence
    logging.getLogger("kellgren.train").setLevel(logging.INFO)
    chosen = kinds.from_dict(recipes.override(recipes.document(recipe, size=size), assignments or []))
    if not isinstance(chosen, recipes.Recipe) and init is not None:
        raise BadRecipe(f"{chosen.name!r} starts from random weights", remedy="leave --init out")
    if not isinstance(chosen, kinds.FILM_RECIPES) and films is not None:
        raise BadRecipe(f"{chosen.name!r} learns from crops alone", remedy="leave --films out")
    place = hardware.choose(device)
    written = kinds.train(
        chosen,
        kinds.Request(
            data=datasets.load(data),
            films=films,
            out=out,
            fold=fold,
            seed=seed,
            init=init,
            hardware=place,
        ),
        resume=resume,
        track=progress.track,
    )
    if not place.rank:
        typer.echo(f"-> {written}", err=True)
