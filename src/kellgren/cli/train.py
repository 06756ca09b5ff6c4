"""`kellgren train`."""

from __future__ import annotations

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
        str | None, typer.Option(help="Initial weights: a file, a folder of them, or hub.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in OUT.")] = False,
) -> None:
    """Train a recipe and export the bundle to OUT/bundle. Downloads nothing unless --init hub says so."""
    from kellgren.extras import require

    require("train", "training")
    from kellgren import data as datasets
    from kellgren.cli import progress
    from kellgren.learn import hardware
    from kellgren.learn import recipe as recipes
    from kellgren.learn import train as training
    from kellgren.learn.export import export_run

    run = training.Run(
        recipe=recipes.load(recipe, size=size),
        dataset=datasets.load(data),
        out=out,
        fold=fold,
        seed=seed,
        init=init,
        hardware=hardware.choose(device),
    )
    training.train(run, resume=resume, track=progress.track)
    written = export_run(out, data, out / "bundle", track=progress.track)
    typer.echo(f"-> {written}", err=True)
