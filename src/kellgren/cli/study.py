"""`kellgren study`: list, run, table, heat; predictions vote, search, reweight."""

from __future__ import annotations

import enum
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kellgren.cli import terminal
from kellgren.cli.train import Device, Fold, Size, SizeOption, parse_fold

if TYPE_CHECKING:
    from kellgren.study.records import Table

app = typer.Typer(
    help="Train and compare recipes on the same knees: ablations and the tables of the papers.",
    add_completion=False,
    no_args_is_help=True,
)
predictions_app = typer.Typer(
    help="Work on saved predictions: let models vote, search for a vote, reweight readings.",
    add_completion=False,
    no_args_is_help=True,
)
app.add_typer(predictions_app, name="predictions")


class Rule(enum.StrEnum):
    """How members' answers become one."""

    soft = "soft"
    hard = "hard"
    mixed = "mixed"


Members = Annotated[
    list[Path],
    typer.Argument(metavar="CSV...", help="Several predictions.csv of the same knees.", exists=True),
]


def _positive(value: float | None) -> float | None:
    if value is not None and value < 1:
        raise typer.BadParameter(f"{value:g} is less than a minute.")
    return value


def list_plans() -> None:
    """List the packaged plans."""
    from kellgren.errors import require

    require("train", "studies")
    from kellgren.study import plan

    for name in plan.available():
        chosen = plan.load(name)
        terminal.answer(f"{name}: {chosen.title} ({len(chosen.rows)} rows)")


def run(
    plan: Annotated[
        str, typer.Argument(metavar="PLAN", help="Packaged plan (kellgren study list), or a YAML file.")
    ],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Data set folder with a train split and folds.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Folder of all studies, which share it.", file_okay=False
        ),
    ],
    size: SizeOption = Size.full,
    seeds: Annotated[str, typer.Option(metavar="N,N,...", help="Seeds of every row.")] = "0",
    fold: Fold = "0",
    init: Annotated[
        str | None,
        typer.Option(metavar="DIR|hub", help="Initial weights where they fit: a folder of files, or 'hub'."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="ROW", help="Train this row only. Repeatable.")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            callback=terminal.at_least(1),
            help="Epochs of every training; the recipe's by default.",
        ),
    ] = None,
    parallel: Annotated[
        int, typer.Option(metavar="N", callback=terminal.at_least(1), help="Trainings at a time.")
    ] = 1,
    minutes: Annotated[
        float | None,
        typer.Option(metavar="M", callback=_positive, help="Stop all trainings after so many minutes."),
    ] = None,
    device: Device = "auto",
    test_data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Evaluate on another data set folder.", file_okay=False, exists=True
        ),
    ] = None,
    split: Annotated[str, typer.Option(metavar="NAME", help="Split to evaluate on.")] = "val",
) -> None:
    """Train and evaluate what is not there yet, then write the tables. Exit code 1: a row failed."""
    from kellgren.errors import require

    require("train", "studies")
    from kellgren.study import plan as plans
    from kellgren.study import runner, table

    for name in ("kellgren.study", "kellgren.train"):
        logging.getLogger(name).setLevel(logging.INFO)
    settings = runner.Settings(
        data=data,
        out=out,
        size=size.value,
        seeds=_numbers(seeds),
        fold=parse_fold(fold),
        init=init,
        epochs=epochs,
        test_data=test_data,
        split=split,
        only=tuple(only or ()),
        parallel=parallel,
        device=device,
        minutes=minutes or 0.0,
    )
    folder = runner.run(plans.load(plan, size=size.value), settings)
    built = table.build(folder)
    _show(folder, built)
    raise typer.Exit(int(any(row.state.startswith("failed") for row in built.rows)))


def table_(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Folder of a study, or the one that holds all.", exists=True, file_okay=False
        ),
    ],
    as_json: terminal.Json = False,
) -> None:
    """Write the tables again from what is trained so far, also while a study runs."""
    from kellgren.errors import require

    require("train", "studies")
    from kellgren.study import table

    tables = []
    for study in table.studies(folder):
        tables.append(table.build(study))
        _show(study, tables[-1], quiet=as_json)
    if as_json:
        documents = [asdict(built) for built in tables]
        terminal.document(documents[0] if len(documents) == 1 else documents)


def heat(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of a study.", exists=True, file_okay=False)
    ],
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Data set folder that the study was evaluated on.")
    ],
    only: Annotated[
        list[str] | None, typer.Option(metavar="ROW", help="Draw this row only. Repeatable.")
    ] = None,
) -> None:
    """Draw where each row's network sees the evidence: by grade, by class, with bars for every task."""
    from kellgren.data import load
    from kellgren.errors import require
    from kellgren.parallel import processors

    require("train", "studies")
    require("study", "heat maps")
    from kellgren.study import plots

    files, without = plots.draw_heat(folder, load(data), only=tuple(only or ()), threads=processors())
    for row, why in without.items():
        terminal.say(f"{row}: no heat maps: {why}")
    for file in files:
        terminal.answer(str(file))


def vote(
    members: Members,
    rule: Annotated[
        Rule, typer.Option(help="Mean of the probabilities, majority, or majority then mean.")
    ] = Rule.soft,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Folder for metrics.json and predictions.csv.", file_okay=False
        ),
    ] = None,
    as_json: terminal.Json = False,
) -> None:
    """Let models vote from their saved predictions."""
    from kellgren.evaluate.evaluation import count_test_look
    from kellgren.study import markdown, predictions, records, voting

    joined = voting.join([predictions.read(member) for member in members], rule.value)
    looks = sum(count_test_look(out or Path(), split) for split in joined.split)
    metrics = predictions.judge(joined, f"{rule.value} vote of {len(members)}", test_looks=looks)
    if out is not None:
        predictions.write_votes(joined, metrics, out)
    if as_json:
        terminal.document(metrics)
        return
    for task in joined.tasks:
        values = (
            f"{name} {markdown.number(records.Interval(**metrics[task][name]))}"
            for name in ("accuracy", "accuracy_pm1", "qwk")
        )
        terminal.answer(f"{task}: n {metrics[task]['n']}, {', '.join(values)}")


def search(members: Members, as_json: terminal.Json = False) -> None:
    """Rank every subset of the members and every rule, on a fold that all of them held out."""
    from kellgren.study import predictions, voting

    best = voting.search([predictions.read(member) for member in members])[:10]
    if as_json:
        terminal.document([asdict(choice) for choice in best])
        return
    rows = [
        [
            f"{choice.accuracy:.4f}",
            f"{choice.qwk:.4f}",
            choice.rule,
            " ".join(str(members[i]) for i in choice.members),
        ]
        for choice in best
    ]
    terminal.table("", ("accuracy", "QWK", "rule", "members"), rows, right="accuracy QWK")


def reweight(
    predictions: Annotated[
        Path, typer.Argument(metavar="CSV", help="A predictions.csv of kellgren evaluate.", exists=True)
    ],
    as_json: terminal.Json = False,
) -> None:
    """Evaluate the atlas features as read, and as if every knee of each KL grade had been read."""
    from kellgren.study import markdown, rows
    from kellgren.study import predictions as saved

    entries = rows.oarsi(saved.read(predictions))
    if as_json:
        terminal.document([asdict(entry) for entry in entries])
    else:
        terminal.answer(markdown.atlas([(str(predictions), entries)]))


def _numbers(text: str) -> tuple[int, ...]:
    from kellgren.errors import BadRecipe

    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise BadRecipe(f"--seeds {text!r} are not whole numbers", remedy="write them as 0,1,2") from error


def _show(folder: Path, table: Table, *, quiet: bool = False) -> None:
    """Draw what can be drawn, and say where everything is."""
    from kellgren.errors import MissingExtra
    from kellgren.study import markdown

    files = [folder / "table.md", folder / "table.csv", folder / "table.json"]
    try:
        from kellgren.study import plots

        files += plots.draw(table, folder)
    except MissingExtra as error:
        terminal.say(f"no plot: {error}")
    if not quiet:
        terminal.answer(markdown.render(table))
    terminal.say(f"-> {', '.join(map(str, files))}")


terminal.command(app, "list")(list_plans)
terminal.command(app)(run)
terminal.command(app, "table")(table_)
terminal.command(app)(heat)
terminal.command(predictions_app)(vote)
terminal.command(predictions_app)(search)
terminal.command(predictions_app)(reweight)
