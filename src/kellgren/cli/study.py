"""`kellgren study`: list, run, table, heat, vote, reweighted."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Ablations and comparisons: recipes trained, judged and compared on the same knees.",
    add_completion=False,
    no_args_is_help=True,
)

PlanArgument = Annotated[str, typer.Argument(help="Packaged plan (kellgren study list) or a YAML file.")]


@app.command("list")
def list_plans() -> None:
    """List the packaged plans."""
    from kellgren.errors import require

    require("train", "studies")
    from kellgren.study import plan

    for name in plan.available():
        chosen = plan.load(name)
        typer.echo(f"{name}: {chosen.title} ({len(chosen.rows)} rows)")


@app.command()
def run(
    plan: PlanArgument,
    data: Annotated[Path, typer.Option(help="Data set folder with a train split and folds.")],
    out: Annotated[Path, typer.Option(help="Folder of all studies; cells are shared.", file_okay=False)],
    size: Annotated[str, typer.Option(help="full: as published; small: for two processors.")] = "full",
    seeds: Annotated[str, typer.Option(help="Seeds of every row, with commas.")] = "0",
    fold: Annotated[int, typer.Option(help="Fold held out for every choice; -1 trains on all.")] = 0,
    init: Annotated[
        str | None, typer.Option(help="Initial weights where they fit: a folder of files, or hub.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="ROW", help="Train this row. Repeatable.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of every training instead of the recipe's.")
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, help="Trainings at once.")] = 1,
    minutes: Annotated[
        float | None, typer.Option(min=1.0, help="Stop trainings after so long, with the epochs they have.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    test_data: Annotated[
        Path | None, typer.Option(help="Judge on another data set folder.", file_okay=False, exists=True)
    ] = None,
    split: Annotated[str, typer.Option(help="Split to judge on.")] = "val",
) -> None:
    """Train and judge what is not in the cache yet, then write the tables."""
    from kellgren.errors import require

    require("train", "studies")
    from kellgren.study import laboratory, table
    from kellgren.study import plan as plans

    for name in ("kellgren.study", "kellgren.train"):
        logging.getLogger(name).setLevel(logging.INFO)
    settings = laboratory.Settings(
        data=data,
        out=out,
        size=size,
        seeds=_numbers(seeds),
        fold=fold,
        init=init,
        epochs=epochs,
        test_data=test_data,
        split=split,
        only=tuple(only or ()),
        parallel=parallel,
        device=device,
        minutes=minutes or 0.0,
    )
    folder = laboratory.run(plans.load(plan, size=size), settings)
    document = table.build(folder)
    _show(folder, document)
    raise typer.Exit(int(any(row["state"].startswith("failed") for row in document["rows"])))


@app.command("table")
def table_(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A study's folder, or that of all.", exists=True, file_okay=False),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print table.json on stdout.")] = False,
) -> None:
    """Write the tables anew from what the cells hold, also while a study runs."""
    from kellgren.errors import require

    require("train", "studies")
    from kellgren.study import table

    documents = []
    for study in table.studies(folder):
        documents.append(table.build(study))
        _show(study, documents[-1], quiet=as_json)
    if as_json:
        typer.echo(json.dumps(documents[0] if len(documents) == 1 else documents))


@app.command()
def heat(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A study's folder.", exists=True, file_okay=False)
    ],
    data: Annotated[Path, typer.Option(help="The data set folder that the study was judged on.")],
    only: Annotated[list[str] | None, typer.Option(metavar="ROW", help="Draw this row. Repeatable.")] = None,
) -> None:
    """Draw what the rows' networks rest their grades on: by grade, by class, with bars of every task."""
    from kellgren.data import load
    from kellgren.errors import require
    from kellgren.parallel import processors

    require("train", "studies")
    require("study", "heat maps")
    from kellgren.study import maps

    files, without = maps.draw(folder, load(data), only=tuple(only or ()), threads=processors())
    for row, why in without.items():
        typer.echo(f"{row}: no heat maps: {why}", err=True)
    for file in files:
        typer.echo(str(file))


@app.command()
def vote(
    members: Annotated[
        list[Path],
        typer.Argument(metavar="PREDICTIONS...", help="predictions.csv of the same knees.", exists=True),
    ],
    rule: Annotated[str, typer.Option(help="soft, hard or mixed.")] = "soft",
    search: Annotated[
        bool, typer.Option("--search", help="Rank every subset and rule instead, on a held-out fold.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for metrics.json and predictions.csv.", file_okay=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome on stdout.")] = False,
) -> None:
    """Let models vote from their saved predictions."""
    from kellgren.errors import BadDataset
    from kellgren.evaluate.evaluation import count_test_look
    from kellgren.study import markdown, predictions, voting

    voters = [predictions.read(member) for member in members]
    if search:
        best = voting.search(voters)[:10]
        if as_json:
            typer.echo(json.dumps([asdict(choice) for choice in best]))
            return
        typer.echo("accuracy QWK    rule  members")
        for choice in best:
            named_members = " ".join(str(members[i]) for i in choice.members)
            typer.echo(f"{choice.accuracy:.4f}   {choice.qwk:.4f} {choice.rule:5} {named_members}")
        return
    named = next((known for known in voting.RULES if known == rule), None)
    if named is None:
        raise BadDataset(f"no rule {rule!r}", remedy=f"one of {', '.join(voting.RULES)}")
    joined = voting.join(voters, named)
    looks = sum(count_test_look(out or Path(), split) for split in joined.split)
    metrics = predictions.judge(joined, f"{named} vote of {len(members)}", test_looks=looks)
    if out is not None:
        predictions.write_votes(joined, metrics, out)
    if as_json:
        typer.echo(json.dumps(metrics))
    else:
        for task in joined.tasks:
            shown = ("accuracy", "accuracy_pm1", "qwk")
            values = ", ".join(f"{name} {markdown.number(metrics[task][name])}" for name in shown)
            typer.echo(f"{task}: n {metrics[task]['n']}, {values}")


@app.command()
def reweighted(
    predictions: Annotated[Path, typer.Argument(help="predictions.csv of kellgren evaluate.", exists=True)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures on stdout as JSON.")] = False,
) -> None:
    """Judge the atlas features as read, and as if every knee of each KL grade had been read."""
    from kellgren.study import markdown, rows
    from kellgren.study import predictions as saved

    entries = rows.oarsi(saved.read(predictions))
    if as_json:
        typer.echo(json.dumps(entries))
    else:
        typer.echo(markdown.atlas([(str(predictions), entries)]))


def _numbers(text: str) -> tuple[int, ...]:
    from kellgren.errors import BadRecipe

    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise BadRecipe(f"--seeds {text!r} are no whole numbers", remedy="write them as 0,1,2") from error


def _show(folder: Path, document: dict[str, object], *, quiet: bool = False) -> None:
    """Draw what can be drawn, and say where everything is."""
    from kellgren.errors import MissingExtra
    from kellgren.study import markdown

    files = [folder / "table.md", folder / "table.csv", folder / "table.json"]
    try:
        from kellgren.study import plots

        files += plots.draw(document, folder)
    except MissingExtra as error:
        typer.echo(f"no plot: {error}", err=True)
    if not quiet:
        typer.echo(markdown.render(document))
    typer.echo(f"-> {', '.join(map(str, files))}", err=True)
