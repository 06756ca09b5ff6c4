"""`kellgren bundle export`, `kellgren bundle ensemble` and `kellgren bundle inspect`."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Make a bundle from a training run or from other bundles, or look into one.",
    add_completion=False,
    no_args_is_help=True,
)


class VoteOption(enum.StrEnum):
    """How members are joined."""

    soft = "soft"
    hard = "hard"
    mixed = "mixed"


class CalibrationOption(enum.StrEnum):
    """Which calibrator a task gets."""

    temperature = "temperature"
    best = "best"


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="Packaged bundle, or a bundle's folder or zip.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the card on stdout.")] = False,
) -> None:
    """Show a bundle's card: what it grades, how it was made, how well it does."""
    from kellgren.model import bundle

    opened = bundle.load(model)
    opened.sha256()
    if as_json:
        typer.echo(json.dumps(opened.card.document, indent=2))
        return
    from kellgren.report.card import describe

    typer.echo(describe(opened))


@app.command()
def export(
    run: Annotated[
        Path, typer.Argument(help="Run folder of `kellgren train`.", exists=True, file_okay=False)
    ],
    data: Annotated[Path, typer.Option(help="The data set folder it was trained on.")],
    out: Annotated[Path, typer.Option(help="Folder for the bundle.", file_okay=False)],
    name: Annotated[str | None, typer.Option(help="Name of the bundle; the recipe's by default.")] = None,
    version: Annotated[str, typer.Option(help="Version of the bundle.")] = "0.1.0",
    calibration: Annotated[
        CalibrationOption | None,
        typer.Option(help="How tasks are calibrated on the held-out fold; as the recipe says by default."),
    ] = None,
) -> None:
    """Export a run's best weights: ONNX graph, calibration on the held-out fold, card, golden outputs."""
    from kellgren.errors import require

    require("train", "exporting a bundle")
    from kellgren.cli import progress
    from kellgren.train.graders.export import export_run

    written = export_run(
        run,
        data,
        out,
        name=name,
        version=version,
        calibration=calibration.value if calibration else None,
        track=progress.track,
    )
    typer.echo(f"-> {written}", err=True)


@app.command()
def ensemble(
    members: Annotated[
        list[str], typer.Argument(metavar="MEMBER...", help="Packaged bundles, or bundles' folders or zips.")
    ],
    data: Annotated[Path, typer.Option(help="The data set folder that all members were trained on.")],
    out: Annotated[Path, typer.Option(help="Folder for the bundle.", file_okay=False)],
    name: Annotated[str, typer.Option(help="Name of the bundle.")],
    version: Annotated[str, typer.Option(help="Version of the bundle.")] = "0.1.0",
    vote: Annotated[
        VoteOption,
        typer.Option(help="Mean of probabilities, majority, or majority with ties broken by the mean."),
    ] = VoteOption.soft,
    weight: Annotated[
        list[float] | None, typer.Option(help="Weight of a member; repeat it for each, in their order.")
    ] = None,
    calibration: Annotated[
        CalibrationOption, typer.Option(help="How the vote is calibrated on what was held out.")
    ] = CalibrationOption.best,
) -> None:
    """Let bundles vote: one bundle that holds them, calibrated as a whole on the folds that they left out."""
    from kellgren.calibrate.ensemble import make_ensemble
    from kellgren.cli import progress
    from kellgren.data import load
    from kellgren.model import bundle

    if weight and len(weight) != len(members):
        raise typer.BadParameter(f"{len(weight)} for {len(members)} members", param_hint="--weight")
    written = make_ensemble(
        [bundle.load(member) for member in members],
        load(data),
        out,
        name=name,
        version=version,
        vote=vote.value,
        weights=weight or None,
        calibration=calibration.value,
        track=progress.track,
    )
    typer.echo(f"-> {written}", err=True)
