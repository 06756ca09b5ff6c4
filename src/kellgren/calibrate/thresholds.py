"""Fits the thresholds of conformal intervals (`kellgren.model.decision.interval`)."""

from __future__ import annotations

from math import ceil

import numpy as np
import numpy.typing as npt

from kellgren.calibrate.calibrators import read_rows
from kellgren.model.decision import DecisionRule, decide, mass_before
from kellgren.vocabulary import IntArray


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
    p, grades = read_rows(probabilities, truth)
    n = len(grades)
    scores = np.sort(mass_before(p, decide(p, rule))[np.arange(n), grades])
    position = ceil((n + 1) * coverage)
    return float(scores[position - 1]) if position <= n else 1.0
