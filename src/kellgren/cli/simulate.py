"""`kellgren simulate`."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer


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
    out: Annotated[Path, typer.Option(help="Folder for images, tables and truth.json.", file_okay=False)],
    n: Annotated[int, typer.Option("-n", min=1, help="Number of crops or films.")] = 10,
    view: Annotated[View, typer.Option(help="crop: one joint; film: whole knees.")] = View.crop,
    seed: Annotated[int, typer.Option(help="Same seed, same pictures.")] = 0,
    format: Annotated[Format, typer.Option(help="png, dicom, or mixed.")] = Format.png,  # noqa: A002
) -> None:
    """Draw phantom knees with known truth, for trying things out. They are no patients."""
    from kellgren.simulate import simulate as draw_crops
    from kellgren.simulate import simulate_films

    draw = simulate_films if view is View.film else draw_crops
    files = draw(out, n, seed=seed, format=format.value)
    typer.echo(f"{len(files)} simulated {'films' if view is View.film else 'knees'} -> {out}", err=True)
