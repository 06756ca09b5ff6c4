"""Names of figures in plans: `KL.accuracy`, `KL.recall.1` (of grade 1), `KL.accuracy_ovr.mean`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kellgren.errors import BadRecipe, nearest
from kellgren.evaluate import metrics
from kellgren.evaluate.task_metrics import OF_CONFUSION, PER_GRADE
from kellgren.vocabulary import TASKS, FloatArray

OF_TASK: Final = (*OF_CONFUSION, "auc_macro", "ece", "brier", "nll")
OF_GRADE: Final = (*PER_GRADE, "auc")

TITLES: Final = {
    "accuracy": "accuracy",
    "accuracy_pm1": "within one",
    "balanced_accuracy": "balanced",
    "majority_accuracy": "majority",
    "qwk": "QWK",
    "mae": "MAE",
    "mse": "MSE",
    "auc_macro": "macro AUC",
    "f1_macro": "macro F1",
    "f1_weighted": "weighted F1",
    "precision_macro": "macro precision",
    "recall_macro": "macro recall",
    "accuracy_ovr": "one-vs-rest accuracy",
    "auc": "AUC",
    "ece": "ECE",
    "brier": "Brier score",
    "nll": "NLL",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a task.

    Attributes:
        task: Name of the task.
        name: Name of the figure in `metrics.json`.
        grade: Of which grade, `mean` over grades, or None for a figure of the whole task.
    """

    task: str
    name: str
    grade: int | str | None = None

    def __str__(self) -> str:
        """Its name in plans."""
        return f"{self.task}.{self.name}" + ("" if self.grade is None else f".{self.grade}")

    @property
    def title(self) -> str:
        """Heading of its column."""
        words = [self.task, TITLES.get(self.name, self.name)]
        if self.grade is not None:
            words.append("mean" if self.grade == "mean" else f"of {self.grade}")
        return " ".join(words)

    def of(self, values: Mapping[str, FloatArray]) -> FloatArray:
        """(b,) this figure, out of all that `evaluate.task_metrics.statistics` gives of its task."""
        found = values[self.name]
        if self.grade is None:
            return found
        mean = metrics.macro(found)
        return mean if isinstance(self.grade, str) else found[:, self.grade]


def parse(text: str) -> Figure:
    """A figure from its name.

    Raises:
        BadRecipe: Unknown task, figure or grade, naming the nearest.
    """
    task, _, rest = text.partition(".")
    name, _, grade = rest.partition(".")
    if task not in TASKS:
        raise BadRecipe(f"figure {text!r}: no task {task!r}", remedy=nearest(task, tuple(TASKS)))
    if name not in (*OF_TASK, *OF_GRADE):
        raise BadRecipe(f"figure {text!r}: no figure {name!r}", remedy=nearest(name, (*OF_TASK, *OF_GRADE)))
    if name in OF_TASK:
        if grade:
            raise BadRecipe(
                f"figure {text!r}: {name!r} is of all grades together", remedy=f"write {task}.{name}"
            )
        return Figure(task, name)
    if grade == "mean":
        return Figure(task, name, "mean")
    if not grade.isdecimal() or int(grade) >= TASKS[task].classes:
        raise BadRecipe(f"figure {text!r}: {task} has no grade {grade!r}", remedy=f"write {task}.{name}.mean")
    return Figure(task, name, int(grade))
