"""How far probabilities can be believed: calibration error with its null, Brier score, log loss."""

from __future__ import annotations

from typing import Final

import numpy as np

from kellgren.vocabulary import FloatArray, IntArray

BINS: Final = 15
"""Equal-width confidence bins of the calibration error, as in Guo et al. (ICML 2017)."""

_SMALLEST_PROBABILITY: Final = float(np.finfo(np.float64).eps)


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
