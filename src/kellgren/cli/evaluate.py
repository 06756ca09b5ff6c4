"""`kellgren evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kellgren.cli import terminal

if TYPE_CHECKING:
    from kellgren.evaluate.evaluation import Evaluation


def evaluate(
    data: Annotated[Path, typer.Option(metavar="DIR", help="Data set folder.")],
    split: Annotated[
        str, typer.Option(metavar="NAME", help="Split to grade: val, train, test, auto_test, ...")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder for metrics.json, predictions.csv, figures.",
            file_okay=False,
        ),
    ],
    model: terminal.Model = None,
    workers: terminal.Workers = None,
    figures: Annotated[bool, typer.Option("--figures", help="Also draw figures (extra 'study').")] = False,
    as_json: terminal.Json = False,
) -> None:
    """Grade a split of a labelled data set and compare with its labels, with intervals over patients."""
    from kellgren.data import load
    from kellgren.evaluate import evaluation as evaluating
    from kellgren.grade.grader import Grader
    from kellgren.model import bundle
    from kellgren.parallel import processors
    from kellgren.writing import locked

    if figures:
        # a missing extra is said before the work, not after
        from kellgren.evaluate import heat
        from kellgren.evaluate import plots as drawing
    count = workers or processors()
    dataset = load(data)
    grader = Grader(bundle.load(model or bundle.DEFAULT), threads=max(1, processors() // count))
    dataset.select(split=split)
    with terminal.libraries_silenced(), locked(out):
        evaluation = evaluating.evaluate(
            grader,
            dataset,
            split,
            workers=count,
            test_looks=evaluating.count_test_look(out, split),
            progress=lambda knees, total: terminal.track(knees, total, "grading"),
        )
        evaluating.write(evaluation, grader, out)
        if figures:
            drawing.draw(evaluation, grader, out / "figures")
            why = heat.obstacle(grader.model, split)
            if why is None:
                heat.draw(grader, dataset, heat.answers(evaluation), out / "figures")
            else:
                terminal.say(f"no heat maps: {why}")
    if as_json:
        terminal.document(evaluation.metrics)
    else:
        _show(evaluation)
    for name in evaluation.failed:
        terminal.say(f"not graded: {name}")
    terminal.say(f"-> {out / 'metrics.json'}, {out / 'predictions.csv'}")
    raise typer.Exit(int(bool(evaluation.failed)))


def _show(evaluation: Evaluation) -> None:
    """Print a line per task."""
    metrics = evaluation.metrics
    shown = ("accuracy", "majority_accuracy", "accuracy_pm1", "balanced_accuracy", "qwk", "auc_macro", "ece")
    rows = [
        [task, str(figures["n"]), *(_estimate(figures[name]) for name in shown)]
        for task, figures in metrics.items()
        if isinstance(figures, dict)
    ]
    from kellgren.cli.screen import count

    knees = f"{count(metrics['n'], 'knee')}, {count(metrics['n_patients'], 'patient')}"
    terminal.table(
        f"{metrics['model']} on {metrics['split']}: {knees}",
        ("task", "n", *shown),
        rows,
        right="n " + " ".join(shown),
    )
    if metrics["test_looks"]:
        terminal.answer(f"this was look number {metrics['test_looks']} at a test split")


def _estimate(figure: dict[str, float | None]) -> str:
    if figure["value"] is None:
        return "-"
    if figure.get("low") is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
