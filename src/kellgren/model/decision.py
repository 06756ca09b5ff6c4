"""From calibrated probabilities to a decided grade and an interval that covers the truth.

The interval is a split-conformal set (Vovk et al. 2005; Romano et al., NeurIPS 2020) restricted to
neighbouring grades, as in Lu et al. (MICCAI 2022, ordinal adaptive prediction sets): it grows from the
decided grade and so always contains it.

Everything is float64 numpy; thresholds survive a round trip through JSON unchanged.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from kellgren.vocabulary import FloatArray, IntArray

DecisionRule = Literal["argmax", "median"]
"""How probabilities become a grade: the most probable one, or the median of the distribution."""


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


def interval(
    probabilities: npt.ArrayLike, decided: IntArray, threshold: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Grow the interval from the decided grade until its probability exceeds the threshold.

    Args:
        probabilities: (N, C) calibrated.
        decided: (N,) decided grades, by the rule that the threshold was fitted with.
        threshold: From `kellgren.calibrate.thresholds`; 0 gives the decided grade alone, 1 all grades.

    Returns:
        (N,) lowest and (N,) highest grade, both included; low <= decided <= high.
    """
    inside = mass_before(probabilities, decided) <= threshold
    last = inside.shape[1] - 1
    return inside.argmax(axis=1), last - inside[:, ::-1].argmax(axis=1)
