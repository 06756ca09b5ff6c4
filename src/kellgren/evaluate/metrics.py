"""How well decided grades and probabilities agree with read grades.

Each function of decided grades takes confusion matrices with any leading shape, (..., C, C), rows the read
grade and columns the decided one, and returns one value (...) or one per grade (..., C) for each of them. A
point estimate and ten thousand bootstrap draws go through the same lines. C is the number of grades that the
task *declares*: a grade that no knee of the sample has still keeps its row, so the distances of the weighted
kappa stay right.

A figure that is undefined is nan, never 0. All arithmetic is float64.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from kellgren.vocabulary import FloatArray, IntArray

BINS: Final = 15
"""Equal-width confidence bins of the calibration error, as in Guo et al. (ICML 2017)."""

_SMALLEST_PROBABILITY: Final = float(np.finfo(np.float64).eps)

Matrices = FloatArray | npt.NDArray[np.int64]


def confusion_matrix(truth: IntArray, decided: IntArray, classes: int) -> npt.NDArray[np.int64]:
    """Count the knees of each pair of read and decided grade.

    Args:
        truth: (N,) read grades, 0 .. classes-1, none missing.
        decided: (N,) decided grades, 0 .. classes-1.
        classes: Number of grades the task declares, C.

    Returns:
        (C, C) counts; rows are the read grade, columns the decided one.

    Raises:
        ValueError: If the lengths differ or a grade is outside 0 .. classes-1.
    """
    if truth.shape != decided.shape or truth.ndim != 1:
        raise ValueError(f"truth {truth.shape} and decided {decided.shape} must be (N,) and equally long")
    for name, grades in (("truth", truth), ("decided", decided)):
        if grades.size and (grades.min() < 0 or grades.max() >= classes):
            raise ValueError(
                f"{name} holds grades {grades.min()} .. {grades.max()}, outside 0 .. {classes - 1}"
            )
    cells = truth.astype(np.int64) * classes + decided.astype(np.int64)
    return np.asarray(np.bincount(cells, minlength=classes * classes).reshape(classes, classes), np.int64)


def ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> FloatArray:
    """Divide element by element; nan where the denominator is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    return np.asarray(np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0))


def _distance(classes: int) -> FloatArray:
    """(C, C) absolute difference of grades."""
    grades = np.arange(classes, dtype=np.float64)
    return np.asarray(np.abs(grades[:, None] - grades[None, :]))


def _support(confusion: Matrices) -> FloatArray:
    """(..., C) number of knees read as each grade."""
    return np.asarray(np.asarray(confusion, float).sum(axis=-1))


def _mean_weight(confusion: Matrices, weight: FloatArray) -> FloatArray:
    """Mean over knees of a weight (C, C) looked up by read and decided grade."""
    counts = np.asarray(confusion, float)
    return ratio(np.einsum("...ij,ij->...", counts, weight), counts.sum(axis=(-2, -1)))


def accuracy(confusion: Matrices) -> FloatArray:
    """Share of knees whose decided grade is the read one (top-1), 0 .. 1."""
    return _mean_weight(confusion, np.eye(confusion.shape[-1]))


def accuracy_pm1(confusion: Matrices) -> FloatArray:
    """Share of knees decided within one grade of the read one (top±1), 0 .. 1; always 1 for two grades."""
    return _mean_weight(confusion, (_distance(confusion.shape[-1]) <= 1).astype(np.float64))


def mae(confusion: Matrices) -> FloatArray:
    """Mean absolute error of the decided grade, 0 .. C-1 grades."""
    return _mean_weight(confusion, _distance(confusion.shape[-1]))


def mse(confusion: Matrices) -> FloatArray:
    """Mean squared error of the decided grade, 0 .. (C-1)**2."""
    return _mean_weight(confusion, _distance(confusion.shape[-1]) ** 2)


def majority_accuracy(confusion: Matrices) -> FloatArray:
    """Accuracy of always answering the sample's most frequent read grade: the floor to compare with."""
    support = _support(confusion)
    return ratio(support.max(axis=-1), support.sum(axis=-1))


def majority_pm1(confusion: Matrices) -> FloatArray:
    """Accuracy within one grade of the best constant answer: the floor for `accuracy_pm1`."""
    support = _support(confusion)
    near = (_distance(confusion.shape[-1]) <= 1).astype(np.float64)
    return ratio((support @ near).max(axis=-1), support.sum(axis=-1))


def _weighted_kappa(confusion: Matrices, disagreement: FloatArray) -> FloatArray:
    """Cohen's weighted kappa (Psychol Bull 1968;70:213) for disagreement weights (C, C)."""
    counts = np.asarray(confusion, float)
    read, decided = counts.sum(axis=-1), counts.sum(axis=-2)
    total = counts.sum(axis=(-2, -1))
    observed = np.einsum("...ij,ij->...", counts, disagreement)
    expected = np.einsum("...i,...j,ij->...", read, decided, disagreement, optimize=True)
    # Without any disagreement to be expected (one grade throughout) chance explains all: undefined.
    return np.asarray(1.0 - ratio(observed * total, expected))


def qwk(confusion: Matrices) -> FloatArray:
    """Quadratic weighted kappa over all declared grades, -1 .. 1.

    The weight of a disagreement is the squared difference of *grades*. Libraries that number only the grades
    they meet give another value as soon as one in between is absent. nan if read and decided grades are all
    one and the same.
    """
    return _weighted_kappa(confusion, _distance(confusion.shape[-1]) ** 2)


def kappa(confusion: Matrices) -> FloatArray:
    """Unweighted kappa (Cohen, Educ Psychol Meas 1960;20:37), -1 .. 1."""
    return _weighted_kappa(confusion, (_distance(confusion.shape[-1]) > 0).astype(np.float64))


def _where_read(per_grade: FloatArray, support: FloatArray) -> FloatArray:
    """Keep the values of grades that some knee was read as; nan for the others."""
    return np.where(support > 0, per_grade, np.nan)


def _hits(confusion: Matrices) -> FloatArray:
    """(..., C) knees of each grade that were decided rightly."""
    return np.asarray(np.diagonal(confusion, axis1=-2, axis2=-1), float)


def precision(confusion: Matrices) -> FloatArray:
    """Of the knees decided as a grade, the share read so: (..., C), 0 .. 1.

    nan for a grade that was never read; 0 for one that was read but never decided (0/0 would otherwise raise
    the macro mean of a model that avoids a grade).
    """
    decided = np.asarray(confusion, float).sum(axis=-2)
    return _where_read(np.nan_to_num(ratio(_hits(confusion), decided)), _support(confusion))


def recall(confusion: Matrices) -> FloatArray:
    """Of the knees read as a grade, the share decided so: (..., C), 0 .. 1; nan for a grade never read."""
    return ratio(_hits(confusion), _support(confusion))


def f1(confusion: Matrices) -> FloatArray:
    """Harmonic mean of precision and recall, 2TP / (2TP + FP + FN): (..., C); nan for a grade never read."""
    support = _support(confusion)
    decided = np.asarray(confusion, float).sum(axis=-2)
    return _where_read(ratio(2.0 * _hits(confusion), support + decided), support)


def accuracy_ovr(confusion: Matrices) -> FloatArray:
    """One-vs-rest accuracy (TP + TN) / all: (..., C), 0 .. 1; nan for a grade never read.

    The per-class "ACC" of OA-MEN (2024). True negatives dominate it, so it is high for any rare grade; never
    put it beside top-1 accuracy.
    """
    support = _support(confusion)
    decided = np.asarray(confusion, float).sum(axis=-2)
    total = support.sum(axis=-1, keepdims=True)
    wrong = support + decided - 2.0 * _hits(confusion)
    return _where_read(1.0 - ratio(wrong, total), support)


def macro(per_grade: FloatArray) -> FloatArray:
    """Mean over the grades that are defined: (..., C) -> (...); nan if none is."""
    defined = ~np.isnan(per_grade)
    return ratio(np.where(defined, per_grade, 0.0).sum(axis=-1), defined.sum(axis=-1))


def balanced_accuracy(confusion: Matrices) -> FloatArray:
    """Mean recall over the grades that were read, 0 .. 1."""
    return macro(recall(confusion))


def f1_weighted(confusion: Matrices) -> FloatArray:
    """Mean F1 weighted by how often each grade was read, 0 .. 1."""
    support = _support(confusion)
    return ratio((np.nan_to_num(f1(confusion)) * support).sum(axis=-1), support.sum(axis=-1))


# Probabilities: calibration error with its null, Brier score, log loss


def top1(probabilities: FloatArray, truth: IntArray) -> tuple[FloatArray, FloatArray]:
    """Confidence of each knee's most probable grade, and whether that grade is the read one.

    Args:
        probabilities: (N, C), rows sum to 1.
        truth: (N,) read grades, none missing.

    Returns:
        (N,) confidences 1/C .. 1, and (N,) 1.0 where right, 0.0 where wrong. The most probable grade counts
        here even if the decision rule (the median, say) settles on another.
    """
    return probabilities.max(axis=1), (probabilities.argmax(axis=1) == truth).astype(np.float64)


def bin_members(confidence: FloatArray) -> FloatArray:
    """(N, 15) one-hot membership of each confidence in the bins (0, 1/15], (1/15, 2/15], ..., (14/15, 1]."""
    inner_edges = np.linspace(0.0, 1.0, BINS + 1)[1:-1]
    return np.eye(BINS)[np.digitize(confidence, inner_edges, right=True)]


def expected_calibration_error(confidence: FloatArray, correct: FloatArray) -> float:
    """Top-1 expected calibration error (Guo et al. 2017, eq. 3), 0 .. 1.

    Biased upwards in small samples: read it beside `null_calibration_error`.

    Args:
        confidence: (N,) 0 .. 1.
        correct: (N,) 1.0 or 0.0.

    Returns:
        The mean over knees of |accuracy - mean confidence| of their bin; nan if there are no knees.
    """
    if not len(confidence):
        return float("nan")
    gaps = bin_members(confidence).T @ (correct - confidence)
    return float(np.abs(gaps).sum() / len(confidence))


def null_calibration_error(
    confidence: FloatArray, *, draws: int = 10_000, seed: int = 0, quantile: float = 0.95
) -> float:
    """Simulate what calibration error a perfectly calibrated model would stay below.

    Each draw makes every knee right with exactly its confidence, independently, and takes the error of that
    (the consistency resampling of Bröcker & Smith, Weather Forecast 2007;22:651). A measured error below the
    result is no evidence of miscalibration.

    Args:
        confidence: (N,) 0 .. 1, the model's own.
        draws: Number of simulated samples.
        seed: Seed of the simulation.
        quantile: Which quantile of the simulated errors.

    Returns:
        The quantile, 0 .. 1; nan if there are no knees.
    """
    n = len(confidence)
    if not n:
        return float("nan")
    members = bin_members(confidence)
    expected = confidence @ members
    rng = np.random.default_rng(seed)
    rows = max(1, 1_000_000 // n)
    errors = [
        np.abs((rng.random((min(rows, draws - start), n)) < confidence) @ members - expected).sum(axis=1) / n
        for start in range(0, draws, rows)
    ]
    return float(np.quantile(np.concatenate(errors), quantile))


def squared_errors(probabilities: FloatArray, truth: IntArray) -> FloatArray:
    """Each knee's squared distance from certainty in the read grade: (N,) values 0 .. 2."""
    return np.asarray(((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(axis=1))


def log_losses(probabilities: FloatArray, truth: IntArray) -> FloatArray:
    """Each knee's -ln p(read grade): (N,) values 0 .. 36; p is floored at the float64 epsilon."""
    of_truth = probabilities[np.arange(len(truth)), truth]
    return np.asarray(-np.log(np.maximum(of_truth, _SMALLEST_PROBABILITY)))


def brier(probabilities: FloatArray, truth: IntArray) -> float:
    """Multi-class Brier score (Mon Weather Rev 1950;78:1, eq. 2), 0 .. 2; for two grades twice the usual."""
    return float(squared_errors(probabilities, truth).mean()) if len(truth) else float("nan")


def nll(probabilities: FloatArray, truth: IntArray) -> float:
    """Mean negative log likelihood of the read grade, nats."""
    return float(log_losses(probabilities, truth).mean()) if len(truth) else float("nan")
