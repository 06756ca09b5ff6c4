"""Fits the calibrators that a model applies (`kellgren.model.calibrators`), and judges them cross-fitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from kellgren.errors import BadDataset
from kellgren.model.calibrators import (
    NEVER,
    RARE,
    Calibrator,
    Dirichlet,
    Temperature,
    log_probabilities,
    softmax,
)
from kellgren.vocabulary import MISSING, FloatArray, IntArray

TEMPERATURES: Final = (0.05, 20.0)
"""Range of a fitted temperature. A sample that a model gets wholly right (or no better than chance) has no
finite optimum; the fit then ends at an end of this range."""

RIDGE: Final = 0.01
"""Weight of a Dirichlet map's squared distance from the identity, beside the mean negative log likelihood."""

Fit = Callable[[FloatArray, IntArray], Calibrator]
"""Fits a calibrator to logits (N, C) and readings (N,)."""


def fit_temperature(logits: npt.ArrayLike, truth: IntArray) -> Temperature:
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
    z, grades = read_rows(logits, truth)
    of_truth = z[np.arange(len(grades)), grades]
    low, high = np.log(TEMPERATURES)
    for _ in range(60):
        middle = 0.5 * (low + high)
        expected = (Temperature(float(np.exp(middle))).probabilities(z) * z).sum(axis=1)
        low, high = (middle, high) if np.mean(expected - of_truth) > 0.0 else (low, middle)
    return Temperature(float(np.exp(0.5 * (low + high))))


def fit_dirichlet(logits: npt.ArrayLike, truth: IntArray, ridge: float = RIDGE) -> Dirichlet:
    """Fit the Dirichlet map that minimises the mean negative log likelihood and a ridge.

    Kull et al. (2019, section 4) keep the off-diagonal weights and the bias small; here the distance from the
    identity counts for all weights, so that a grade that was never read stays as the network has it. The loss
    is strictly convex: Newton's method, with steps halved until the loss falls, ends at its one minimum.

    Args:
        logits: (N, C).
        truth: (N,) read grades, -1 where not read.
        ridge: Weight of the sum of (W - 1)^2 and b^2, > 0.

    Returns:
        The map.

    Raises:
        BadDataset: If no knee was read.
        ValueError: As in `fit_temperature`, or if the ridge is not positive.
    """
    if not 0.0 < ridge < np.inf:
        raise ValueError(f"the ridge must be positive and finite, not {ridge:g}")
    z, grades = read_rows(logits, truth)
    n, classes = z.shape
    x = np.column_stack([log_probabilities(softmax(z), RARE), np.ones(n)])  # (N, C + 1), the bias's 1 last
    read = np.eye(classes)[grades]
    start = np.eye(classes, classes + 1)

    def loss(theta: FloatArray) -> float:
        chosen = softmax(x @ theta.T)[np.arange(n), grades]
        return float(-np.log(np.maximum(chosen, NEVER)).mean() + ridge * ((theta - start) ** 2).sum())

    theta, now = start, loss(start)
    for _ in range(100):
        p = softmax(x @ theta.T)
        gradient = (p - read).T @ x / n + 2.0 * ridge * (theta - start)
        if np.abs(gradient).max() < 1e-10:
            break
        # d2/dtheta_ai dtheta_bj = mean(p_a ([a = b] - p_b) x_i x_j) + 2 ridge [a = b][i = j]
        spread = np.einsum("na,ab->nab", p, np.eye(classes)) - np.einsum("na,nb->nab", p, p)
        curvature = np.einsum("nab,ni,nj->aibj", spread, x, x, optimize=True).reshape(theta.size, -1) / n
        curvature += 2.0 * ridge * np.eye(theta.size)
        step = np.linalg.solve(curvature, gradient.ravel()).reshape(theta.shape)
        for _ in range(40):
            if (then := loss(theta - step)) < now:
                break
            step = step / 2.0
        else:  # as far down as float64 can tell
            break
        theta, now = theta - step, then
    return Dirichlet(theta[:, :-1].copy(), theta[:, -1].copy())


@dataclass(frozen=True, slots=True)
class CrossFitted:
    """Probabilities, none of them calibrated on its own patient.

    Attributes:
        probabilities: (N, C).
        calibrators: F of them: that of each fold, fitted on the patients of the others.
        fold: (N,) fold of each knee, 0 .. F-1.
    """

    probabilities: FloatArray
    calibrators: tuple[Calibrator, ...]
    fold: npt.NDArray[np.intp]


def cross_fitted_probabilities(
    logits: npt.ArrayLike,
    truth: IntArray,
    patients: npt.NDArray[np.str_],
    folds: int = 5,
    seed: int = 0,
    *,
    fit: Fit = fit_temperature,
) -> CrossFitted:
    """Calibrate every knee with what was fitted on other patients.

    Args:
        logits: (N, C) of a network that was not trained on these knees.
        truth: (N,) read grades, -1 where not read; unread knees are calibrated, but fitted on by none.
        patients: (N,) patient of each knee.
        folds: Number of folds, F >= 2; patients are dealt at random, all knees of one to the same fold.
        seed: Seed of the dealing.
        fit: What is fitted.

    Returns:
        Probabilities, calibrators and folds.

    Raises:
        BadDataset: If there are fewer patients than folds, or none outside a fold was read.
        ValueError: As in `fit`, or if `folds` < 2.
    """
    z = np.asarray(logits, dtype=np.float64)
    if folds < 2:
        raise ValueError(f"cross-fitting needs at least 2 folds, not {folds}")
    distinct, patient = np.unique(np.asarray(patients), return_inverse=True)
    if len(distinct) < folds:
        raise BadDataset(f"{len(distinct)} patients cannot fill {folds} folds", remedy="use fewer folds")
    fold = np.random.default_rng(seed).permutation(len(distinct))[patient] % folds
    calibrators = tuple(fit(z[fold != f], truth[fold != f]) for f in range(folds))
    probabilities = np.empty_like(z)
    for f, calibrator in enumerate(calibrators):
        probabilities[fold == f] = calibrator.probabilities(z[fold == f])
    return CrossFitted(probabilities, calibrators, fold)


def read_rows(values: npt.ArrayLike, truth: IntArray) -> tuple[FloatArray, IntArray]:
    """Rows whose grade was read, and their grades: (N, C), (N,) -> (M, C), (M,).

    Raises:
        BadDataset: If no knee was read.
        ValueError: If shapes differ, a value is not finite, or a grade is outside 0 .. C-1.
    """
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or truth.shape != rows.shape[:1]:
        raise ValueError(f"values {rows.shape} and truth {truth.shape} must be (N, C) and (N,)")
    if not np.isfinite(rows).all():
        raise ValueError("logits or probabilities hold values that are not finite")
    read = truth != MISSING
    if not read.any():
        raise BadDataset("no knee has a reading to calibrate on", remedy="add readings or leave the task out")
    if truth[read].min() < 0 or truth[read].max() >= rows.shape[1]:
        raise ValueError(
            f"readings {truth[read].min()} .. {truth[read].max()} lie outside 0 .. {rows.shape[1] - 1}"
        )
    return rows[read], truth[read]
