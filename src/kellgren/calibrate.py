"""From logits to probabilities that can be believed, a decided grade, and an interval that covers the truth.

Temperature scaling (Guo et al., ICML 2017) fits one number per task. The interval is a split-conformal set
(Vovk et al. 2005; Romano et al., NeurIPS 2020) restricted to neighbouring grades, as in Lu et al. (MICCAI
2022, ordinal adaptive prediction sets): it grows from the decided grade and so always contains it.

Everything is float64 numpy; thresholds and temperatures survive a round trip through JSON unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from kellgren.errors import BadDataset
from kellgren.vocabulary import MISSING

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]

DecisionRule = Literal["argmax", "median"]
"""How probabilities become a grade: the most probable one, or the median of the distribution."""

TEMPERATURES: Final = (0.05, 20.0)
"""Range of a fitted temperature. A sample that a model gets wholly right (or no better than chance) has no
finite optimum; the fit then ends at an end of this range."""

NEVER: Final = 1e-12
"""Probability of what is held impossible: divided by a large temperature, its logarithm must stay finite."""


def softmax(logits: npt.ArrayLike) -> FloatArray:
    """Softmax over the last axis, safe for any finite logits: (..., C) -> (..., C), rows sum to 1."""
    z = np.asarray(logits, dtype=np.float64)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def log_probabilities(probabilities: npt.ArrayLike) -> FloatArray:
    """Logits of a distribution, (..., C): its logarithms, a grade that got no vote counting as `NEVER`."""
    return np.asarray(np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), NEVER)))


def apply_temperature(logits: npt.ArrayLike, temperature: float) -> FloatArray:
    """Calibrated probabilities softmax(logits / T) (Guo et al. 2017, eq. 9).

    Args:
        logits: (..., C).
        temperature: T > 0; above 1 it softens, below 1 it sharpens. The most probable grade stays.

    Returns:
        (..., C) probabilities.

    Raises:
        ValueError: If the temperature is not a positive number.
    """
    if not 0.0 < temperature < np.inf:
        raise ValueError(f"temperature must be positive and finite, not {temperature}")
    return softmax(np.asarray(logits, dtype=np.float64) / temperature)


def fit_temperature(logits: npt.ArrayLike, truth: IntArray) -> float:
    """Fit the temperature that minimises the negative log likelihood.

    In 1/T the likelihood is concave, so the sign of its derivative, mean(E[z] - z_truth), tells on which side
    the optimum lies, and bisection of log T finds it without step sizes or starting values.

    Args:
        logits: (N, C).
        truth: (N,) read grades, -1 where not read.

    Returns:
        The temperature, within `TEMPERATURES`.

    Raises:
        BadDataset: If no knee was read.
        ValueError: If shapes differ, a logit is not finite, or a grade is outside 0 .. C-1.
    """
    z = np.asarray(logits, dtype=np.float64)
    _check_rows(z, truth)
    read = truth != MISSING
    z, grades = z[read], truth[read]
    of_truth = z[np.arange(len(grades)), grades]
    low, high = np.log(TEMPERATURES)
    for _ in range(60):
        middle = 0.5 * (low + high)
        too_sharp = np.mean((apply_temperature(z, float(np.exp(middle))) * z).sum(axis=1) - of_truth) > 0.0
        low, high = (middle, high) if too_sharp else (low, middle)
    return float(np.exp(0.5 * (low + high)))


@dataclass(frozen=True, slots=True)
class CrossFitted:
    """Probabilities of which none was calibrated on its own patient.

    Attributes:
        probabilities: (N, C).
        temperatures: (F,) temperature of each fold, fitted on the patients of the others.
        fold: (N,) fold of each knee, 0 .. F-1.
    """

    probabilities: FloatArray
    temperatures: FloatArray
    fold: npt.NDArray[np.intp]


def cross_fitted_probabilities(
    logits: npt.ArrayLike, truth: IntArray, patients: npt.NDArray[np.str_], folds: int = 5, seed: int = 0
) -> CrossFitted:
    """Calibrate every knee with a temperature fitted on other patients.

    Args:
        logits: (N, C) of a network that was not trained on these knees.
        truth: (N,) read grades, -1 where not read; unread knees are calibrated, but fitted on by none.
        patients: (N,) patient of each knee.
        folds: Number of folds, F >= 2; patients are dealt at random, all knees of one to the same fold.
        seed: Seed of the dealing.

    Returns:
        Probabilities, temperatures and folds.

    Raises:
        BadDataset: If there are fewer patients than folds, or none outside a fold was read.
        ValueError: As in `fit_temperature`, or if `folds` < 2.
    """
    z = np.asarray(logits, dtype=np.float64)
    if folds < 2:
        raise ValueError(f"cross-fitting needs at least 2 folds, not {folds}")
    distinct, patient = np.unique(np.asarray(patients), return_inverse=True)
    if len(distinct) < folds:
        raise BadDataset(f"{len(distinct)} patients cannot fill {folds} folds", remedy="use fewer folds")
    fold = np.random.default_rng(seed).permutation(len(distinct))[patient] % folds
    temperatures = np.array([fit_temperature(z[fold != f], truth[fold != f]) for f in range(folds)])
    return CrossFitted(softmax(z / temperatures[fold][:, None]), temperatures, fold)


def decide(probabilities: npt.ArrayLike, rule: DecisionRule = "argmax") -> npt.NDArray[np.intp]:
    """Decide a grade.

    Args:
        probabilities: (N, C), rows sum to 1.
        rule: `"argmax"`: the most probable grade, the smaller of two equals; best for accuracy. `"median"`:
            the smallest grade whose cumulative probability reaches one half; best for the absolute error.

    Returns:
        (N,) grades 0 .. C-1.

    Raises:
        ValueError: If the rule has another name.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if rule == "argmax":
        return np.asarray(p.argmax(axis=1))
    if rule == "median":
        return np.asarray((np.cumsum(p, axis=1) >= 0.5).argmax(axis=1))
    raise ValueError(f"no decision rule {rule!r}: choose argmax or median")


def mass_before(probabilities: npt.ArrayLike, decided: IntArray) -> FloatArray:
    """Probability that an interval has gathered when it takes in each grade: the nonconformity score.

    The interval starts at the decided grade and takes in the more probable of its two neighbours (the smaller
    grade of two equals) until none is left.

    Args:
        probabilities: (N, C), rows sum to 1.
        decided: (N,) grades to start from.

    Returns:
        (N, C) values 0 .. 1: 0 for the decided grade, rising outwards on either side.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    n, classes = p.shape
    rows = np.arange(n)
    # A border of -1 makes the edge of the scale the less probable neighbour, so it is never crossed.
    bordered = np.pad(p, ((0, 0), (1, 1)), constant_values=-1.0)
    low = np.asarray(decided, dtype=np.intp).copy()
    high = low.copy()
    gathered = p[rows, low]
    scores = np.zeros_like(p)
    for _ in range(classes - 1):
        below, above = bordered[rows, low], bordered[rows, high + 2]
        downwards = below >= above
        low, high = low - downwards, high + ~downwards
        grade = np.where(downwards, low, high)
        scores[rows, grade] = gathered
        gathered = np.minimum(gathered + np.maximum(below, above), 1.0)
    return scores


def fit_interval_threshold(
    probabilities: npt.ArrayLike, truth: IntArray, coverage: float = 0.9, *, rule: DecisionRule = "argmax"
) -> float:
    """Fit the split-conformal threshold of `interval`.

    The ceil((n+1) coverage)-th smallest score of the read grades (Romano et al. 2020): over exchangeable
    knees an interval then holds the truth with at least the nominal probability. Knees of one patient are
    not quite exchangeable; with two a patient the loss is small, and `validation` figures show it.

    Args:
        probabilities: (N, C) calibrated without these knees (see `cross_fitted_probabilities`).
        truth: (N,) read grades, -1 where not read.
        coverage: Nominal coverage, 0 < coverage < 1.
        rule: The decision rule that the intervals will start from.

    Returns:
        Threshold 0 .. 1; 1 (every grade) if there are too few knees for the coverage.

    Raises:
        BadDataset: If no knee was read.
        ValueError: If shapes or grades are wrong, or the coverage is not between 0 and 1.
    """
    if not 0.0 < coverage < 1.0:
        raise ValueError(f"coverage must lie between 0 and 1, not {coverage}")
    p = np.asarray(probabilities, dtype=np.float64)
    _check_rows(p, truth)
    read = truth != MISSING
    p, grades = p[read], truth[read]
    n = len(grades)
    scores = np.sort(mass_before(p, decide(p, rule))[np.arange(n), grades])
    position = ceil((n + 1) * coverage)
    return float(scores[position - 1]) if position <= n else 1.0


def interval(
    probabilities: npt.ArrayLike, decided: IntArray, threshold: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Grow the interval from the decided grade until its probability exceeds the threshold.

    Args:
        probabilities: (N, C) calibrated.
        decided: (N,) decided grades, by the rule that the threshold was fitted with.
        threshold: From `fit_interval_threshold`; 0 gives the decided grade alone, 1 all grades.

    Returns:
        (N,) lowest and (N,) highest grade, both included; low <= decided <= high.
    """
    inside = mass_before(probabilities, decided) <= threshold
    last = inside.shape[1] - 1
    return inside.argmax(axis=1), last - inside[:, ::-1].argmax(axis=1)


def _check_rows(values: FloatArray, truth: IntArray) -> None:
    """Refuse rows and readings that do not fit together."""
    if values.ndim != 2 or truth.shape != values.shape[:1]:
        raise ValueError(f"values {values.shape} and truth {truth.shape} must be (N, C) and (N,)")
    if not np.isfinite(values).all():
        raise ValueError("logits or probabilities hold values that are not finite")
    read = truth != MISSING
    if not read.any():
        raise BadDataset("no knee has a reading to calibrate on", remedy="add readings or leave the task out")
    if truth[read].min() < 0 or truth[read].max() >= values.shape[1]:
        raise ValueError(
            f"readings {truth[read].min()} .. {truth[read].max()} lie outside 0 .. {values.shape[1] - 1}"
        )
