"""`kellgren train`."""

from __future__ import annotations

import contextlib
import enum
import logging
from pathlib import Path
from typing import Annotated

import typer

from kellgren.cli import terminal


class Size(enum.StrEnum):
    """Which of a recipe's sizes."""

    full = "full"
    small = "small"
    matched = "matched"


SizeOption = Annotated[Size, typer.Option(help="As published, a smoke size, or one trunk for all.")]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ...")]


def parse_fold(text: str) -> int:
    """`2` or `all`; -1 stands for all inside the program.

    Raises:
        typer.BadParameter: If it is neither.
    """
    if text == "all":
        return -1
    if not text.isdecimal():
        raise typer.BadParameter(f"{text!r} is neither a fold's number nor 'all'", param_hint="--fold")
    return int(text)


Fold = Annotated[
    str, typer.Option(metavar="K|all", help="Fold held out for every choice; 'all' trains on every fold.")
]


def train(
    context: typer.Context,
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Name of a packaged recipe, or a YAML file.")
    ],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Data set folder with a train split and folds.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Run folder.", file_okay=False)],
    size: SizeOption = Size.full,
    device: Device = "auto",
    fold: Fold = "0",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of all random numbers.")] = 0,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|hub",
            help="Initial weights: a file, a folder of them, a finished run, or 'hub' to download them.",
        ),
    ] = None,
    films: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Real films with boxes.csv, for a localiser.", file_okay=False, exists=True
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a value of the recipe: optimise.batch=8. Repeatable."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the output folder.")] = False,
) -> None:
    """Train a recipe and export the bundle to OUT/bundle. Downloads nothing unless --init hub says so."""
    from kellgren.errors import require

    require("train", "training")
    from kellgren import data as datasets
    from kellgren.errors import BadRecipe
    from kellgren.train import clone, hardware, kinds
    from kellgren.train.graders import recipe as recipes
    from kellgren.train.run import Run, check
    from kellgren.writing import locked

    # hours of silence are worse than a line per epoch
    logging.getLogger("kellgren.train").setLevel(logging.INFO)
    parsed = kinds.from_dict(recipes.override(recipes.document(recipe, size=size.value), assignments or []))
    if not isinstance(parsed, kinds.FilmRecipe) and films is not None:
        raise BadRecipe(f"{parsed.name!r} learns from crops alone", remedy="leave --films out")
    place = hardware.choose(device)
    run = Run(parsed, datasets.load(data), out, parse_fold(fold), seed, place, init=init, films=films)
    if context.obj is not None:  # the command's own process
        check(run, resume=resume)
        clone.go_on(out, context.obj, rank=place.rank)
    with contextlib.nullcontext() if place.rank else locked(out):
        written = kinds.train(run, resume=resume, track=terminal.track)
    if not place.rank:
        terminal.say(f"-> {written}")
