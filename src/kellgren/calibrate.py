"""From logits to probabilities that can be believed.

Temperature scaling (Guo et al., ICML 2017) fits one number per task: how sure a network may be. Dirichlet
calibration (Kull et al., NeurIPS 2019) fits a matrix and a bias: also which grades it takes for which.

Everything is float64 numpy; what was fitted survives a round trip through JSON unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from kellgren.errors import BadDataset
from kellgren.vocabulary import MISSING

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]

TEMPERATURES: Final = (0.05, 20.0)
"""Range of a fitted temperature. A sample that a model gets wholly right (or no better than chance) has no
finite optimum; the fit then ends at an end of this range."""

NEVER: Final = 1e-12
"""Probability of what is held impossible: divided by a large temperature, its logarithm must stay finite."""

RARE: Final = 1e-6
"""Probability below which a Dirichlet map tells nothing apart: it is fitted on hundreds of knees and must not
carry on in a straight line to where there were none."""

RIDGE: Final = 0.01
"""Weight of a Dirichlet map's squared distance from the identity, beside the mean negative log likelihood."""


def softmax(logits: npt.ArrayLike) -> FloatArray:
    """Softmax over the last axis, safe for any finite logits: (..., C) -> (..., C), rows sum to 1."""
    z = np.asarray(logits, dtype=np.float64)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def log_probabilities(probabilities: npt.ArrayLike, least: float = NEVER) -> FloatArray:
    """Logits of a distribution, (..., C): its logarithms, none less than that of `least`."""
    return np.asarray(np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), least)))


@dataclass(frozen=True, slots=True)
class Temperature:
    """Calibrated probabilities softmax(z / T) (Guo et al. 2017, eq. 9). The most probable grade stays.

    Attributes:
        value: T > 0; above 1 it softens, below 1 it sharpens.

    Raises:
        ValueError: If the temperature is not a positive number.
    """

    value: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.value < np.inf:
            raise ValueError(f"temperature must be positive and finite, not {self.value:g}")

    def logits(self, logits: npt.ArrayLike) -> FloatArray:
        """Calibrated logits, (..., C) -> (..., C)."""
        return np.asarray(np.asarray(logits, dtype=np.float64) / self.value)

    def probabilities(self, logits: npt.ArrayLike) -> FloatArray:
        """Calibrated probabilities, (..., C) -> (..., C)."""
        return softmax(self.logits(logits))

    def maps(self, maps: npt.NDArray[np.floating[Any]]) -> FloatArray:
        """Class activation maps whose means are the calibrated logits: (C, h, w) -> (C, h, w)."""
        return np.asarray(maps.astype(np.float64) / self.value)


@dataclass(frozen=True, slots=True, eq=False)
class Dirichlet:
    """Calibrated probabilities softmax(W log p + b), p = softmax(z) (Kull et al. 2019, eq. 2, linear form).

    The most probable grade may change: a network that reads grade 1 where readers differ between 0 and 2 is
    put right.

    Attributes:
        weights: (C, C) W; the identity changes nothing.
        bias: (C,) b.

    Raises:
        ValueError: If shapes differ or a value is not finite.
    """

    weights: FloatArray = field(repr=False)
    bias: FloatArray = field(repr=False)

    def __post_init__(self) -> None:
        classes = self.bias.shape[0] if self.bias.ndim == 1 else 0
        if not classes or self.weights.shape != (classes, classes):
            raise ValueError(f"Dirichlet weights {self.weights.shape} and bias {self.bias.shape} do not fit")
        if not (np.isfinite(self.weights).all() and np.isfinite(self.bias).all()):
            raise ValueError("Dirichlet weights or bias hold values that are not finite")

    def logits(self, logits: npt.ArrayLike) -> FloatArray:
        """Calibrated logits, (..., C) -> (..., C); what is less probable than `RARE` counts as that."""
        return np.asarray(log_probabilities(softmax(logits), RARE) @ self.weights.T + self.bias)

    def probabilities(self, logits: npt.ArrayLike) -> FloatArray:
        """Calibrated probabilities, (..., C) -> (..., C)."""
        return softmax(self.logits(logits))

    def maps(self, maps: npt.NDArray[np.floating[Any]]) -> FloatArray:
        """Class activation maps whose means are the calibrated logits: (C, h, w) -> (C, h, w).

        Each place gets its share by the weights; what no place has said is spread evenly.
        """
        mixed = np.tensordot(self.weights, maps.astype(np.float64), axes=1)
        means = maps.astype(np.float64).mean(axis=(1, 2))
        return np.asarray(mixed + (self.logits(means) - self.weights @ means)[:, None, None])


Calibrator = Temperature | Dirichlet
"""How the logits of one task become probabilities."""

Method = Literal["temperature", "best"]
"""Which calibrator a task gets. `temperature` keeps the most probable grade: a published system's own answer.
`best` takes a Dirichlet map where it is surely better on knees that it was not fitted on."""

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
    """Probabilities of which none was calibrated on its own patient.

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
