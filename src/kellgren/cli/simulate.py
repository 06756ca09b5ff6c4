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


def simulate(
    out: Annotated[Path, typer.Option(help="Folder for images, labels.csv and truth.json.", file_okay=False)],
    n: Annotated[int, typer.Option("-n", min=1, help="Number of knees.")] = 10,
    seed: Annotated[int, typer.Option(help="Same seed, same pictures.")] = 0,
    format: Annotated[Format, typer.Option(help="png, dicom, or mixed.")] = Format.png,  # noqa: A002
) -> None:
    """Draw phantom knee crops with known grades, for trying things out. They are no patients."""
    from kellgren.simulate import simulate as draw

    files = draw(out, n, seed=seed, format=format.value)
    typer.echo(f"{len(files)} simulated knees -> {out}", err=True)
