"""`kellgren evaluate`: grade a split of a data set the way a user would, and judge the grades."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kellgren.data import DataSet, Knee
from kellgren.errors import BadDataset, NotAKnee, UnreadableImage
from kellgren.evaluate.task_metrics import assemble_metrics
from kellgren.grade.assessment import Assessment
from kellgren.grade.grader import Grader
from kellgren.parallel import in_order
from kellgren.report.table import Row, columns, failed_row, graded_row, write_table
from kellgren.vocabulary import MISSING
from kellgren.writing import write_json

TEST_SPLITS = ("test", "auto_test")
Progress = Callable[[Iterable[Any], int], Iterator[Any]]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        metrics: The `metrics.json` object.
        rows: The rows of `predictions.csv`.
        failed: Names of knees that could not be graded, which count in no figure.
    """

    metrics: dict[str, Any]
    rows: list[Row]
    failed: tuple[str, ...]


def evaluate(
    grader: Grader, dataset: DataSet, split: str, *, workers: int, test_looks: int, progress: Progress
) -> Evaluation:
    """Grade every knee of a split and compare with its readings.

    Args:
        grader: The model at work.
        dataset: All knees.
        split: Name of the split.
        workers: Knees at once.
        test_looks: How often a test split has been read, this time included.
        progress: Wraps the knees, with their number, with a progress display.

    Raises:
        BadDataset: If the split is empty, or none of its knees could be graded.
    """
    knees = dataset.select(split=split)
    graded: list[tuple[Knee, Assessment]] = []
    rows: list[Row] = []
    failed: list[str] = []
    for knee, result in progress(_grade_knees(grader, knees, workers), len(knees)):
        file = knee.image.file
        if isinstance(result, Assessment):
            graded.append((knee, result))
            row = graded_row(result, file)
        else:
            failed.append(knee.name)
            row = failed_row(result, file, grader.title)
        rows.append(row | _truth_cells(knee, grader))
    if not graded:
        raise BadDataset(f"none of the {len(knees)} knees of {split!r} could be graded", path=dataset.root)
    metrics = _judge(grader, graded, split=split, test_looks=test_looks, data_sha256=dataset.sha256())
    metrics |= {"n_failed": len(failed), "n_refer": sum(a.refer for _, a in graded)}
    return Evaluation(metrics, rows, tuple(failed))


def _grade_knees(
    grader: Grader, knees: DataSet, workers: int
) -> Iterator[tuple[Knee, Assessment | UnreadableImage | NotAKnee]]:
    """Each knee with its assessment, or why there is none, in order."""

    def one(knee: Knee) -> tuple[Knee, Assessment | UnreadableImage | NotAKnee]:
        try:
            data = knee.image.read_bytes()
            return knee, grader.grade_bytes(data, knee.name, input="crop", side=knee.side)[0]
        except (UnreadableImage, NotAKnee) as error:
            return knee, error

    return in_order(one, knees, workers=workers)


def _judged_tasks(grader: Grader) -> list[str]:
    return [task for task in grader.model.card.tasks if task != "SIDE"]


def _truth_cells(knee: Knee, grader: Grader) -> Row:
    cells: Row = {"name": knee.name, "split": knee.split, "patient": knee.patient}
    for task in _judged_tasks(grader):
        grade = knee.grade(task)
        cells[f"{task}_true"] = None if grade == MISSING else grade
    return cells


def _judge(
    grader: Grader, graded: list[tuple[Knee, Assessment]], *, split: str, test_looks: int, data_sha256: str
) -> dict[str, Any]:
    probabilities: dict[str, npt.NDArray[np.float64]] = {}
    decided: dict[str, npt.NDArray[np.int64]] = {}
    truth: dict[str, npt.NDArray[np.int64]] = {}
    for task in _judged_tasks(grader):
        classes = grader.model.card.tasks[task]
        # a feature left undecided because the side is unknown was not graded: it is judged as not read
        known = [task in assessment for _, assessment in graded]
        rows = [
            a[task].probabilities if k else (1 / classes,) * classes
            for (_, a), k in zip(graded, known, strict=True)
        ]
        probabilities[task] = np.array(rows)
        decided[task] = np.array([a[task].grade if k else 0 for (_, a), k in zip(graded, known, strict=True)])
        grades = np.array(
            [knee.grade(task) if k else MISSING for (knee, _), k in zip(graded, known, strict=True)]
        )
        if (grades != MISSING).any():
            truth[task] = grades
    patients = np.array([knee.patient for knee, _ in graded])
    return assemble_metrics(
        probabilities,
        decided,
        truth,
        patients,
        model=grader.title,
        split=split,
        test_looks=test_looks,
        data_sha256=data_sha256,
    )


def write(evaluation: Evaluation, grader: Grader, out: Path) -> None:
    """Write `metrics.json` and `predictions.csv`."""
    out.mkdir(parents=True, exist_ok=True)
    tasks = _judged_tasks(grader)
    truths = tuple(f"{task}_true" for task in tasks)
    names = ("name", "split", "patient", *truths, *columns(tasks))
    write_table(out / "predictions.csv", names, evaluation.rows)
    write_json(out / "metrics.json", evaluation.metrics)


def count_test_look(out: Path, split: str) -> int:
    """Note that a test split is about to be read, and say how often it has been with this folder.

    Args:
        out: Where results go; `test_looks.jsonl` there keeps the count.
        split: Name of the split; only test splits count.

    Returns:
        Number of looks, this one included; 0 for other splits.
    """
    if split not in TEST_SPLITS:
        return 0
    out.mkdir(parents=True, exist_ok=True)
    ledger = out / "test_looks.jsonl"
    with ledger.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"split": split, "at": datetime.now(UTC).isoformat(timespec="seconds")}) + "\n")
    return len(ledger.read_text(encoding="utf-8").splitlines())
