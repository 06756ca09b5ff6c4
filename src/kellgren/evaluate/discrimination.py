"""How well scores rank knees: the ROC curve and the area under it, exact with ties and with weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kellgren.evaluate.metrics import ratio
from kellgren.vocabulary import FloatArray

IndexArray = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Two groups of knees ranked once by score, so that many weightings of them are cheap.

    Attributes:
        positive: (P,) indices of the positive knees.
        negative: (M,) indices of the negative knees by ascending score.
        below: (P,) how many negatives score below each positive.
        not_above: (P,) how many negatives score below or equal to it.
    """

    positive: IndexArray
    negative: IndexArray
    below: IndexArray
    not_above: IndexArray


def rank(scores: FloatArray, positive: npt.NDArray[np.bool_]) -> Ranking:
    """Rank knees by score.

    Args:
        scores: (N,) any real scores; larger for positive.
        positive: (N,) which knees are positive.

    Returns:
        The ranking; either group may be empty.
    """
    of_positive, of_negative = np.flatnonzero(positive), np.flatnonzero(~positive)
    ascending = of_negative[np.argsort(scores[of_negative], kind="stable")]
    below = np.searchsorted(scores[ascending], scores[of_positive], side="left")
    not_above = np.searchsorted(scores[ascending], scores[of_positive], side="right")
    return Ranking(of_positive, ascending, below, not_above)


def weighted_auc(ranking: Ranking, weights: FloatArray) -> FloatArray:
    """AUC under each of several weightings of the same knees.

    The Mann-Whitney form (Hanley & McNeil, Radiology 1982;143:29): the weighted share of pairs of a positive
    and a negative knee that are ranked rightly, a tie counting one half.

    Args:
        ranking: Knees ranked by score.
        weights: (N, B) weight of each knee, e.g. how often a bootstrap draw holds it.

    Returns:
        (B,) values 0 .. 1, nan where a group has no weight.
    """
    of_negative = np.zeros((len(ranking.negative) + 1, weights.shape[1]))
    np.cumsum(weights[ranking.negative], axis=0, out=of_negative[1:])
    of_positive = weights[ranking.positive]
    passed = of_negative[ranking.below]
    passed += of_negative[ranking.not_above]
    pairs = of_positive.sum(axis=0) * of_negative[-1]
    return ratio(0.5 * np.einsum("pb,pb->b", of_positive, passed), pairs)


def auc(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """AUC of one sample.

    Args:
        scores: (N,) scores; larger for positive.
        positive: (N,) booleans.

    Returns:
        0 .. 1, or nan if either group is empty.
    """
    values = np.asarray(scores, dtype=np.float64)
    ranking = rank(values, np.asarray(positive, dtype=bool))
    return float(weighted_auc(ranking, np.ones((len(values), 1)))[0])


def auc_per_grade(probabilities: FloatArray, truth: npt.NDArray[np.integer[Any]]) -> FloatArray:
    """One-vs-rest AUC of each grade's probability.

    Args:
        probabilities: (N, C).
        truth: (N,) read grades, none missing.

    Returns:
        (C,) values 0 .. 1, nan for a grade that no knee, or every knee, was read as.
    """
    return np.array([auc(probabilities[:, k], truth == k) for k in range(probabilities.shape[1])])


def roc_curve(scores: FloatArray, positive: npt.NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """One ROC curve, whose area by trapezia is the AUC: knees of equal score make one slanted step.

    Args:
        scores: (N,) larger for positive.
        positive: (N,) with both kinds.

    Returns:
        False and true positive rate, (K,) each, from 0 to 1.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.r_[np.diff(scores[order]) != 0, True]
    hits, alarms = np.cumsum(positive[order])[last], np.cumsum(~positive[order])[last]
    return np.r_[0.0, alarms / alarms[-1]], np.r_[0.0, hits / hits[-1]]
