"""From predictions to `metrics.json`: every figure of every task, each with its interval over patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kellgren.errors import BadDataset
from kellgren.evaluate import metrics
from kellgren.evaluate.discrimination import rank, weighted_auc
from kellgren.evaluate.statistics import DRAWS, SEED, Estimate, bootstrap, percentile_interval
from kellgren.vocabulary import KL, MISSING, FloatArray, IntArray

OF_CONFUSION: Final[dict[str, Callable[[FloatArray], FloatArray]]] = {
    "accuracy": metrics.accuracy,
    "accuracy_pm1": metrics.accuracy_pm1,
    "balanced_accuracy": metrics.balanced_accuracy,
    "majority_accuracy": metrics.majority_accuracy,
    "majority_pm1": metrics.majority_pm1,
    "qwk": metrics.qwk,
    "kappa": metrics.kappa,
    "mae": metrics.mae,
    "mse": metrics.mse,
    "precision_macro": lambda confusion: metrics.macro(metrics.precision(confusion)),
    "recall_macro": lambda confusion: metrics.macro(metrics.recall(confusion)),
    "f1_macro": lambda confusion: metrics.macro(metrics.f1(confusion)),
    "f1_weighted": metrics.f1_weighted,
}
"""One figure per task, from its confusion matrix."""

PER_GRADE: Final[dict[str, Callable[[FloatArray], FloatArray]]] = {
    "precision": metrics.precision,
    "recall": metrics.recall,
    "f1": metrics.f1,
    "accuracy_ovr": metrics.accuracy_ovr,
}
"""One figure per grade, from the confusion matrix; the AUC per grade joins them."""

_ROW_SUM_TOLERANCE: Final = 1e-3
"""How far probabilities may miss a sum of 1: those read from a table were rounded to a few decimals."""


@dataclass(frozen=True, slots=True)
class TaskSample:
    """Predictions of one task on the knees that were read for it.

    Attributes:
        probabilities: (N, C) calibrated probabilities; rows sum to 1.
        decided: (N,) decided grades.
        truth: (N,) read grades, none missing.
        patient: (N,) index of each knee's patient, 0 .. P-1.
        patients: Number of patients, P.
    """

    probabilities: FloatArray
    decided: IntArray
    truth: IntArray
    patient: npt.NDArray[np.intp]
    patients: int

    @property
    def classes(self) -> int:
        """Number of declared grades, C."""
        return int(self.probabilities.shape[1])


def task_sample(
    task: str,
    probabilities: npt.ArrayLike,
    decided: IntArray,
    truth: IntArray,
    patients: npt.NDArray[np.str_],
) -> TaskSample:
    """Check one task's predictions and keep the knees that were read.

    Args:
        task: Name for messages.
        probabilities: (N, C) probabilities, rows sum to 1.
        decided: (N,) decided grades, 0 .. C-1.
        truth: (N,) read grades, -1 where not read.
        patients: (N,) patient of each knee.

    Returns:
        The sample.

    Raises:
        BadDataset: If no knee was read, or a reading is not a grade of the task.
        ValueError: If the arrays do not fit together or the probabilities are none.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    n = len(truth)
    if p.ndim != 2 or p.shape[1] < 2 or not len(p) == len(decided) == len(patients) == n:
        raise ValueError(
            f"{task}: probabilities {p.shape}, decided {decided.shape}, truth {truth.shape} and patients "
            f"{patients.shape} must be (N, C >= 2), (N,), (N,) and (N,)"
        )
    read = truth != MISSING
    if not read.any():
        raise BadDataset(f"no knee has a reading of {task}", remedy="leave the task out or add the readings")
    if truth[read].min() < 0 or truth[read].max() >= p.shape[1]:
        raise BadDataset(
            f"{task} readings {truth[read].min()} .. {truth[read].max()} are outside 0 .. {p.shape[1] - 1}",
            remedy="correct the label table, or use a model that declares these grades",
        )
    p, chosen = p[read], np.asarray(decided)[read]
    if chosen.min() < 0 or chosen.max() >= p.shape[1]:
        raise ValueError(f"{task}: decided grades must lie in 0 .. {p.shape[1] - 1}")
    # nan fails both comparisons.
    if not (np.all(p >= 0.0) and np.all(np.abs(p.sum(axis=1) - 1.0) <= _ROW_SUM_TOLERANCE)):
        raise ValueError(f"{task}: probabilities must be finite, not negative, and sum to 1 in each row")
    distinct, patient = np.unique(patients[read], return_inverse=True)
    return TaskSample(p, chosen, np.asarray(truth)[read], patient, len(distinct))


def _sums_per_patient(sample: TaskSample) -> FloatArray:
    """Sum over each patient's knees whatever adds up over knees.

    Returns:
        (P, C*C + 15 + 3): cells of the confusion matrix, calibration gap of each confidence bin, squared
        error, log loss, number of knees.
    """
    p, truth, classes = sample.probabilities, sample.truth, sample.classes
    confidence, correct = metrics.top1(p, truth)
    per_knee = np.column_stack(
        [
            np.eye(classes * classes)[truth * classes + sample.decided],
            metrics.bin_members(confidence) * (correct - confidence)[:, None],
            metrics.squared_errors(p, truth),
            metrics.log_losses(p, truth),
            np.ones(len(truth)),
        ]
    )
    per_patient = np.zeros((sample.patients, per_knee.shape[1]))
    np.add.at(per_patient, sample.patient, per_knee)
    return per_patient


def statistics(
    sample: TaskSample, thresholds: tuple[int, ...] = ()
) -> Callable[[FloatArray], dict[str, FloatArray]]:
    """Prepare every figure of a task as a function of how often each patient counts.

    Args:
        sample: The knees.
        thresholds: Grades t for which `auc_ge{t}`, the AUC of P(grade >= t), is wanted.

    Returns:
        A function of patient counts (b, P) that gives each figure as (b,), or (b, C) where it is per grade.
    """
    p, truth, classes = sample.probabilities, sample.truth, sample.classes
    per_patient = _sums_per_patient(sample)
    of_grade = [rank(p[:, k], truth == k) for k in range(classes)]
    of_threshold = {f"auc_ge{t}": rank(p[:, t:].sum(axis=1), truth >= t) for t in thresholds}

    def evaluate(counts: FloatArray) -> dict[str, FloatArray]:
        sums = counts @ per_patient
        confusion = sums[:, : classes * classes].reshape(-1, classes, classes)
        gap, (squared, loss, knees) = sums[:, classes * classes : -3], sums[:, -3:].T
        # (N, b): a row of many draws per knee keeps the ranked sums contiguous.
        weights = np.ascontiguousarray(counts.T)[sample.patient]
        aucs = np.stack([weighted_auc(ranking, weights) for ranking in of_grade], axis=1)
        return {
            **{name: figure(confusion) for name, figure in OF_CONFUSION.items()},
            "auc_macro": metrics.macro(aucs),
            "ece": np.abs(gap).sum(axis=1) / knees,
            "brier": squared / knees,
            "nll": loss / knees,
            **{name: figure(confusion) for name, figure in PER_GRADE.items()},
            "auc": aucs,
            **{name: weighted_auc(ranking, weights) for name, ranking in of_threshold.items()},
        }

    return evaluate


def estimates(
    sample: TaskSample, *, thresholds: tuple[int, ...] = (), draws: int = DRAWS, seed: int = SEED
) -> dict[str, Estimate | list[Estimate]]:
    """Every figure of one task with its interval.

    Args:
        sample: The knees.
        thresholds: See `statistics`.
        draws: Bootstrap draws over patients.
        seed: Seed of the draws.

    Returns:
        By name, an estimate, or a list with one for each grade.
    """
    evaluate = statistics(sample, thresholds)
    values = evaluate(np.ones((1, sample.patients)))
    drawn = bootstrap(evaluate, sample.patients, draws=draws, seed=seed)
    result: dict[str, Estimate | list[Estimate]] = {}
    for name, value in values.items():
        low, high = percentile_interval(drawn[name])
        if value.ndim == 1:
            result[name] = Estimate(float(value[0]), float(low), float(high))
        else:
            result[name] = [Estimate(*map(float, row)) for row in zip(value[0], low, high, strict=True)]
    return result


def task_metrics(task: str, sample: TaskSample, *, draws: int = DRAWS, seed: int = SEED) -> dict[str, Any]:
    """One task's object of `metrics.json`.

    Args:
        task: Its name; KL also gets `auc_ge2` and `auc_ge3`.
        sample: The knees.
        draws: Bootstrap draws over patients.
        seed: Seed of the draws and of the calibration null.

    Returns:
        JSON-ready figures; undefined ones are None.
    """
    figures = estimates(sample, thresholds=(2, 3) if task == KL.name else (), draws=draws, seed=seed)
    confidence, _ = metrics.top1(sample.probabilities, sample.truth)
    return {
        "n": len(sample.truth),
        **{
            name: [grade.to_json() for grade in figure] if isinstance(figure, list) else figure.to_json()
            for name, figure in figures.items()
        },
        "ece_null95": metrics.null_calibration_error(confidence, draws=draws, seed=seed),
        "confusion": metrics.confusion_matrix(sample.truth, sample.decided, sample.classes).tolist(),
    }


def assemble_metrics(
    probabilities: Mapping[str, npt.ArrayLike],
    decided: Mapping[str, IntArray],
    truth: Mapping[str, IntArray],
    patients: npt.NDArray[np.str_],
    *,
    split: str,
    test_looks: int,
    data_sha256: str,
    model: str,
    draws: int = DRAWS,
    seed: int = SEED,
) -> dict[str, Any]:
    """Assemble the `metrics.json` object: all tasks of one model on one sample of knees.

    Each task is judged on the knees that were read for it, with draws over their patients that do not depend
    on which other tasks are asked for.

    Args:
        probabilities: By task, (N, C) calibrated probabilities; C is the number of declared grades.
        decided: By task, (N,) decided grades.
        truth: By task, (N,) read grades, -1 where not read. Its keys are the tasks to judge.
        patients: (N,) patient of each knee.
        split: Name of the split the knees are from.
        test_looks: How often a test split has been read so far, this time included.
        data_sha256: Fingerprint of the data set.
        model: Bundle `name@version`.
        draws: Bootstrap draws over patients.
        seed: Seed of everything random here.

    Returns:
        JSON-ready object as `kellgren.report.schema` describes it; undefined figures are None.

    Raises:
        BadDataset: If a task has no readings, or readings outside its grades.
        ValueError: If the arrays do not fit together.
    """
    patients = np.asarray(patients)
    return {
        "n": len(patients),
        "n_patients": len(np.unique(patients)),
        "split": split,
        "test_looks": test_looks,
        "data_sha256": data_sha256,
        "model": model,
        **{
            task: task_metrics(
                task,
                task_sample(task, probabilities[task], decided[task], read, patients),
                draws=draws,
                seed=seed,
            )
            for task, read in truth.items()
        },
    }
