"""`kellgren evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def evaluate(
    data: Annotated[Path, typer.Option(help="Data set folder (see docs/reference/data-set-folder.md).")],
    split: Annotated[str, typer.Option(help="Which split: val, train, test, auto_test.")],
    out: Annotated[
        Path, typer.Option(help="Folder for metrics.json, predictions.csv and figures.", file_okay=False)
    ],
    model: Annotated[str, typer.Option(help="Packaged bundle, or a bundle's folder or zip.")] = "joint",
    workers: Annotated[int, typer.Option(min=0, help="Knees at once; 0: one a processor.")] = 0,
    figures: Annotated[bool, typer.Option("--figures", help="Also draw figures (study extra).")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json on stdout.")] = False,
) -> None:
    """Grade a split of a labelled data set and judge the grades, with intervals over patients."""
    from kellgren.cli import progress
    from kellgren.data import load
    from kellgren.evaluate import evaluation as study
    from kellgren.grade.grader import Grader
    from kellgren.model import bundle
    from kellgren.parallel import processors

    if figures:
        # a missing extra is said before the work, not after
        from kellgren.evaluate import heat
        from kellgren.evaluate import plots as drawing
    count = workers or processors()
    dataset = load(data)
    grader = Grader(bundle.load(model), threads=max(1, processors() // count))
    dataset.select(split=split)
    evaluation = study.evaluate(
        grader,
        dataset,
        split,
        workers=count,
        test_looks=study.count_test_look(out, split),
        progress=lambda knees, total: progress.track(knees, total, "grading"),
    )
    study.write(evaluation, grader, out)
    if figures:
        drawing.draw(evaluation, grader, out / "figures")
        why = heat.obstacle(grader.model, split)
        if why is None:
            heat.draw(grader, dataset, heat.answers(evaluation), out / "figures")
        else:
            typer.echo(f"no heat maps: {why}", err=True)
    if as_json:
        typer.echo(json.dumps(evaluation.metrics))
    else:
        _show(evaluation.metrics, evaluation.failed, out)
    raise typer.Exit(int(bool(evaluation.failed)))


def _show(metrics: dict[str, Any], failed: tuple[str, ...], out: Path) -> None:
    """A table a person can read, on stderr like all that is not the result itself."""
    from rich.console import Console
    from rich.table import Table

    knees = f"{metrics['n']} knees, {metrics['n_patients']} patients"
    table = Table(title=f"{metrics['model']} on {metrics['split']}: {knees}")
    shown = ("accuracy", "majority_accuracy", "accuracy_pm1", "balanced_accuracy", "qwk", "auc_macro", "ece")
    for name in ("task", "n", *shown):
        table.add_column(name, justify="left" if name == "task" else "right")
    for task, figures in metrics.items():
        if isinstance(figures, dict):
            table.add_row(task, str(figures["n"]), *(_estimate(figures[name]) for name in shown))
    console = Console(stderr=True, width=max(Console(stderr=True).width, 190))
    console.print(table)
    if metrics["test_looks"]:
        console.print(f"this was look number {metrics['test_looks']} at a test split")
    for name in failed:
        console.print(f"not graded: {name}")
    console.print(f"-> {out / 'metrics.json'}, {out / 'predictions.csv'}")


def _estimate(figure: dict[str, float | None]) -> str:
    if figure["value"] is None:
        return "-"
    if figure.get("low") is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
