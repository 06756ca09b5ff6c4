"""`kellgren simulate`."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from kellgren.cli import terminal


class Format(enum.StrEnum):
    """File format of the images."""

    png = "png"
    dicom = "dicom"
    mixed = "mixed"


class View(enum.StrEnum):
    """What the images show."""

    crop = "crop"
    film = "film"


def simulate(
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Folder for the images and tables.", file_okay=False),
    ],
    n: Annotated[
        int, typer.Option("-n", metavar="N", callback=terminal.at_least(1), help="Number of images.")
    ] = 10,
    view: Annotated[View, typer.Option(help="Crops of one joint, or whole films.")] = View.crop,
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed draws the same images.")] = 0,
    format: Annotated[Format, typer.Option(help="File format.")] = Format.png,  # noqa: A002
) -> None:
    """Draw simulated knees with known truth, for trying things out. They show no patient."""
    from kellgren.simulate import simulate as draw_crops
    from kellgren.simulate import simulate_films
    from kellgren.writing import locked

    draw = simulate_films if view is View.film else draw_crops
    with locked(out):
        files = draw(out, n, seed=seed, format=format.value)
    terminal.say(f"{len(files)} simulated {'films' if view is View.film else 'knees'} -> {out}")
