"""`kellgren models`: list, check, inspect, export, ensemble."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from kellgren.cli import terminal

app = typer.Typer(
    help="List, check, inspect, export and combine model bundles.",
    invoke_without_command=True,
    add_completion=False,
)

ModelArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="Name of a packaged bundle, or path of a bundle's folder or zip."),
]
Out = Annotated[
    Path,
    typer.Option("--out", "-o", metavar="DIR", help="Folder of the new bundle.", file_okay=False),
]
Version = Annotated[str, typer.Option(metavar="VERSION", help="Version of the new bundle.")]


class Vote(enum.StrEnum):
    """How the members' answers become one."""

    soft = "soft"
    hard = "hard"
    mixed = "mixed"


class Calibration(enum.StrEnum):
    """Which calibrator a task gets."""

    temperature = "temperature"
    best = "best"


@app.callback()
def models(context: typer.Context, as_json: terminal.Json = False) -> None:
    """List, check, inspect, export and combine model bundles. Without a subcommand: list."""
    if context.invoked_subcommand is None:
        with terminal.explained():
            list_models(as_json)


def list_models(as_json: terminal.Json = False) -> None:
    """List the packaged bundles."""
    from kellgren.model import bundle

    cards = [bundle.load(name).card for name in bundle.packaged()]
    if as_json:
        terminal.document([card.to_json() for card in cards])
        return
    for card in cards:
        default = " (default)" if card.name == bundle.DEFAULT else ""
        terminal.answer(f"{card.title}{default}: {card.description}")


def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL...", help="Bundles to check; all packaged ones by default."),
    ] = None,
    as_json: terminal.Json = False,
) -> None:
    """Verify each bundle's hashes, and that its golden inputs still give its golden outputs.

    Exit code 1: a bundle differs.
    """
    from kellgren.grade import golden
    from kellgren.model import bundle

    results = [golden.check(bundle.load(name)) for name in names or list(bundle.packaged())]
    if as_json:
        terminal.document([result.to_dict() for result in results])
    else:
        for result in results:
            verdict = "ok" if result.passed else "DIFFERS"
            terminal.answer(
                f"{result.title}: {verdict}, {result.inputs} inputs, largest difference {result.largest:.1e}"
            )
    raise typer.Exit(int(not all(result.passed for result in results)))


def inspect(model: ModelArgument, as_json: terminal.Json = False) -> None:
    """Show a bundle's card: what it grades, how it was made, how well it performs."""
    from kellgren.model import bundle

    opened = bundle.load(model)
    opened.sha256()
    if as_json:
        terminal.document(opened.card.to_json())
        return
    from kellgren.report.card import describe

    terminal.answer(describe(opened))


def export(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Run folder of kellgren train.", exists=True, file_okay=False),
    ],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Data set folder that the run was trained on.")],
    out: Out,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the new bundle; the recipe's by default.")
    ] = None,
    version: Version = "0.1.0",
    calibration: Annotated[
        Calibration | None,
        typer.Option(help="How tasks are calibrated on the held-out fold; as in the recipe by default."),
    ] = None,
) -> None:
    """Export the best weights of a run: ONNX graph, calibration, card and golden outputs."""
    from kellgren.errors import require

    require("train", "exporting a bundle")
    from kellgren.train.graders.export import export_run

    written = export_run(
        run,
        data,
        out,
        name=name,
        version=version,
        calibration=calibration.value if calibration else None,
        track=terminal.track,
    )
    terminal.say(f"-> {written}")


def ensemble(
    members: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help="Names of packaged bundles, or paths of folders or zips."),
    ],
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Data set folder that all members were trained on.")
    ],
    out: Out,
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the new bundle.")],
    version: Version = "0.1.0",
    vote: Annotated[
        Vote,
        typer.Option(help="Mean of the probabilities, majority, or majority with ties broken by the mean."),
    ] = Vote.soft,
    weight: Annotated[
        list[float] | None,
        typer.Option(metavar="WEIGHT", help="Weight of a member; repeat it for each, in their order."),
    ] = None,
    calibration: Annotated[
        Calibration, typer.Option(help="How the vote is calibrated on the knees that were held out.")
    ] = Calibration.best,
) -> None:
    """Combine bundles into one that votes, calibrated as a whole on the folds its members held out."""
    from kellgren.calibrate.ensemble import make_ensemble
    from kellgren.data import load
    from kellgren.model import bundle

    if weight and len(weight) != len(members):
        raise typer.BadParameter(f"{len(weight)} given for {len(members)} members", param_hint="--weight")
    written = make_ensemble(
        [bundle.load(member) for member in members],
        load(data),
        out,
        name=name,
        version=version,
        vote=vote.value,
        weights=weight or None,
        calibration=calibration.value,
        track=terminal.track,
    )
    terminal.say(f"-> {written}")


terminal.command(app, "list")(list_models)
terminal.command(app)(check)
terminal.command(app)(inspect)
terminal.command(app)(export)
terminal.command(app)(ensemble)
