"""Saved predictions: `predictions.csv` as arrays, so that votes and tables need no network."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kellgren._version import __version__
from kellgren.data import DataSet
from kellgren.errors import BadDataset
from kellgren.evaluate.task_metrics import TaskSample, assemble_metrics, task_sample
from kellgren.model.calibrators import softmax
from kellgren.model.decision import decide
from kellgren.report.table import Row, columns, write_table
from kellgren.vocabulary import MISSING, TASKS, FloatArray, IntArray
from kellgren.writing import whole_folder, write_json

if TYPE_CHECKING:
    from kellgren.train.graders.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a model said about knees that people have read, in name order.

    Attributes:
        source: File, for messages.
        names: (N,) knees.
        patients: (N,) their patients.
        split: Names of the splits they are of.
        probabilities: By task, (N, C).
        decided: By task, (N,) grades.
        truth: By task, (N,) readings, -1 where not read.
    """

    source: Path
    names: tuple[str, ...]
    patients: npt.NDArray[np.str_]
    split: tuple[str, ...]
    probabilities: dict[str, FloatArray]
    decided: dict[str, IntArray]
    truth: dict[str, IntArray]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that were graded and of which there are readings."""
        return tuple(task for task, read in self.truth.items() if (read != MISSING).any())

    def sample(self, task: str) -> TaskSample:
        """One task on the knees that were read for it.

        Raises:
            BadDataset: If it was not graded, or never read.
        """
        if task not in self.truth:
            raise BadDataset(f"{task} was not graded", path=self.source)
        return task_sample(
            task, self.probabilities[task], self.decided[task], self.truth[task], self.patients
        )

    def only(self, names: Sequence[str]) -> Predictions:
        """The same of these knees, in name order."""
        wanted = frozenset(names)
        keep = np.array([name in wanted for name in self.names])
        return replace(
            self,
            names=tuple(name for name in self.names if name in wanted),
            patients=self.patients[keep],
            probabilities={task: values[keep] for task, values in self.probabilities.items()},
            decided={task: values[keep] for task, values in self.decided.items()},
            truth={task: values[keep] for task, values in self.truth.items()},
        )


def read(path: Path) -> Predictions:
    """Read `predictions.csv`; knees that could not be graded are left out.

    Args:
        path: The file, or the folder that holds it.

    Raises:
        BadDataset: If it is no such table.
    """
    file = path / "predictions.csv" if path.is_dir() else path
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row.get("status") != "failed"]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadDataset("cannot read the predictions", path=file) from error
    if not rows or not {"name", "split", "patient", "KL"} <= set(rows[0]):
        raise BadDataset(
            "no predictions there", path=file, remedy="give predictions.csv of kellgren evaluate"
        )
    rows.sort(key=lambda row: row["name"])
    try:
        graded = {task: _task(rows, task) for task in TASKS if f"{task}_true" in rows[0]}
    except (KeyError, ValueError) as error:
        raise BadDataset(f"not a table of predictions: {error}", path=file) from error
    return Predictions(
        source=file,
        names=tuple(row["name"] for row in rows),
        patients=np.array([row["patient"] for row in rows]),
        split=tuple(sorted({row["split"] for row in rows})),
        probabilities={task: found[0] for task, found in graded.items()},
        decided={task: found[1] for task, found in graded.items()},
        truth={task: found[2] for task, found in graded.items()},
    )


def _task(rows: list[dict[str, str]], task: str) -> tuple[FloatArray, IntArray, IntArray]:
    """Probabilities, decided grades and readings; a grade that was left undecided counts as not read."""
    classes = TASKS[task].classes
    truth = np.array([int(row[f"{task}_true"] or MISSING) for row in rows])
    if task == "OA":  # the table has its probability alone; of two classes the more probable is decided
        positive = np.array([float(row["OA_p"] or np.nan) for row in rows])
        probabilities = np.stack([1.0 - positive, positive], axis=1)
        decided = (np.nan_to_num(positive) > 0.5).astype(np.int64)
    else:
        probabilities = np.array(
            [[float(row[f"{task}_p{k}"] or np.nan) for k in range(classes)] for row in rows]
        )
        decided = np.array([int(row[task] or 0) for row in rows])
    unknown = np.isnan(probabilities).any(axis=1)
    probabilities[unknown] = 1.0 / classes
    truth[unknown] = MISSING
    return probabilities, decided, truth


def common(each: Sequence[Predictions]) -> list[Predictions]:
    """The same predictions on the knees that all of them have.

    Raises:
        BadDataset: If there are none, or readings contradict one another.
    """
    names = set(each[0].names).intersection(*(one.names for one in each[1:]))
    if not names:
        raise BadDataset("no knee is in all of the predictions", path=each[0].source)
    kept = [one.only(sorted(names)) for one in each]
    for one in kept[1:]:
        for task in set(one.truth) & set(kept[0].truth):
            both = (one.truth[task] != MISSING) & (kept[0].truth[task] != MISSING)
            if (one.truth[task] != kept[0].truth[task])[both].any():
                raise BadDataset(f"other {task} readings than in {kept[0].source}", path=one.source)
    return kept


def together(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of different knees as one: of folds, each answered by the network that left it out.

    Raises:
        BadDataset: If a knee is in two of them.
    """
    names = [name for part in parts for name in part.names]
    order = np.argsort(names, kind="stable")
    twice = next((names[i] for i, j in itertools.pairwise(order) if names[i] == names[j]), None)
    if twice is not None:
        raise BadDataset(f"knee {twice!r} is in two of the folds", path=parts[0].source)

    def stacked(each: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        return np.concatenate(each)[order]

    graded = [task for task in TASKS if all(task in part.probabilities for part in parts)]
    return Predictions(
        source=parts[0].source,
        names=tuple(names[i] for i in order),
        patients=stacked([part.patients for part in parts]),
        split=tuple(sorted({split for part in parts for split in part.split})),
        probabilities={task: stacked([part.probabilities[task] for part in parts]) for task in graded},
        decided={task: stacked([part.decided[task] for part in parts]) for task in graded},
        truth={task: stacked([part.truth[task] for part in parts]) for task in graded},
    )


def write_probabilities(
    logits: Mapping[str, FloatArray], recipe: Recipe, dataset: DataSet, out: Path
) -> None:
    """Write `predictions.csv` and `metrics.json` of uncalibrated answers.

    Args:
        logits: By task, (N, C), knees in the data set's order.
        recipe: Gives the decision rules.
        dataset: The knees.
        out: Folder; made, and complete when it is there.
    """
    tasks = [task for task in recipe.tasks if task != "SIDE"]
    probabilities = {task: softmax(logits[task]) for task in tasks}
    decided = {task: decide(probabilities[task], recipe.decision.get(task, "argmax")) for task in tasks}
    truth = {task: dataset.grades(task) for task in tasks if (dataset.grades(task) != MISSING).any()}
    model = f"{recipe.name} (not a bundle: uncalibrated, no test-time looks)"
    about: list[Row] = [
        {"name": knee.name, "split": knee.split, "patient": knee.patient, "file": knee.name, "model": model}
        for knee in dataset
    ]
    grades = {task: dataset.grades(task) for task in tasks}
    metrics = assemble_metrics(
        probabilities,
        decided,
        truth,
        dataset.patients(),
        split=dataset.knees[0].split,
        test_looks=0,
        data_sha256=dataset.sha256(),
        model=model,
    )
    with whole_folder(out) as folder:
        write_rows(folder / "predictions.csv", about, probabilities, decided, grades)
        write_json(folder / "metrics.json", metrics)


def write_rows(
    path: Path,
    about: Sequence[Row],
    probabilities: Mapping[str, FloatArray],
    decided: Mapping[str, IntArray],
    truth: Mapping[str, IntArray],
) -> None:
    """Write a `predictions.csv`.

    Args:
        path: The file.
        about: N rows with name, split, patient and file.
        probabilities: By task, (N, C).
        decided: By task, (N,).
        truth: By task, (N,), -1 where not read.
    """
    tasks = tuple(probabilities)
    names = ("name", "split", "patient", *(f"{task}_true" for task in tasks), *columns(tasks))
    rows = []
    for i, row in enumerate(about):
        cells: Row = {"status": "graded", "knee": 1, "kellgren": __version__, **row}
        for task in tasks:
            reading = int(truth[task][i])
            cells[f"{task}_true"] = None if reading == MISSING else reading
            given = probabilities[task][i]
            if task == "OA":
                cells["OA_p"] = float(given[1])
                continue
            cells[task] = int(decided[task][i])
            cells |= {f"{task}_p{k}": float(p) for k, p in enumerate(given)}
        rows.append(cells)
    write_table(path, names, rows)


def judge(found: Predictions, model: str, *, test_looks: int = 0) -> dict[str, Any]:
    """The `metrics.json` object of saved predictions."""
    return assemble_metrics(
        found.probabilities,
        found.decided,
        {task: found.truth[task] for task in found.tasks},
        found.patients,
        split=" ".join(found.split),
        test_looks=test_looks,
        data_sha256="",
        model=model,
    )


def write_votes(found: Predictions, metrics: dict[str, Any], out: Path) -> None:
    """Write `predictions.csv` and `metrics.json` of a vote."""
    out.mkdir(parents=True, exist_ok=True)
    about: list[Row] = [
        {
            "name": name,
            "split": found.split[0],
            "patient": str(patient),
            "file": name,
            "model": metrics["model"],
        }
        for name, patient in zip(found.names, found.patients, strict=True)
    ]
    write_rows(out / "predictions.csv", about, found.probabilities, found.decided, found.truth)
    write_json(out / "metrics.json", metrics)
