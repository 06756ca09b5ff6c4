"""Figures of a feature that was read for some knees only, reweighted to the KL grades of all of them.

The atlas features were not read at random: knees of KL 0 and 1 lack them. Within a KL grade those that were
read stand for those that were not: each counts N_k / R_k times, with N_k knees of grade k of which R_k were
read (post-stratification; Holt & Smith, J R Stat Soc A 1979;142:33). That unread knees of a grade are like
the read ones of that grade is an assumption: the readers chose.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from kellgren.evaluate import metrics
from kellgren.evaluate.statistics import DRAWS, SEED, Estimate, bootstrap, percentile_interval
from kellgren.vocabulary import KL, MISSING, FloatArray, IntArray

FIGURES: Final = {
    "accuracy": metrics.accuracy,
    "balanced_accuracy": metrics.balanced_accuracy,
    "majority_accuracy": metrics.majority_accuracy,
    "qwk": metrics.qwk,
}


def reweighted(
    decided: IntArray,
    truth: IntArray,
    kl: IntArray,
    patients: npt.NDArray[np.str_],
    classes: int,
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> dict[str, Estimate]:
    """Figures of one feature as if every knee had been read.

    Args:
        decided: (N,) decided grades of all knees, read or not.
        truth: (N,) readings, -1 where not read.
        kl: (N,) KL readings of all knees; knees without one are left out.
        patients: (N,) patient of each knee.
        classes: Number of grades, C.
        draws: Bootstrap draws over patients; the weights are taken again in each.
        seed: Of the draws.

    Returns:
        `accuracy`, `balanced_accuracy`, `majority_accuracy` and `qwk`, each with its interval.

    Raises:
        ValueError: If no knee was read.
    """
    known = kl != MISSING
    decided, truth, kl, patients = decided[known], truth[known], kl[known], patients[known]
    read = truth != MISSING
    if not read.any():
        raise ValueError("no knee was read")
    distinct, patient = np.unique(patients, return_inverse=True)
    cells = KL.classes * classes * classes
    # per patient: confusion within each KL grade of the knees that were read, then knees of each KL grade
    per_patient = np.zeros((len(distinct), cells + KL.classes))
    cell = (kl * classes + truth) * classes + decided
    np.add.at(per_patient, (patient[read], cell[read]), 1.0)
    np.add.at(per_patient, (patient, cells + kl), 1.0)

    def evaluate(counts: FloatArray) -> dict[str, FloatArray]:
        sums = counts @ per_patient
        confusion = sums[:, :cells].reshape(-1, KL.classes, classes, classes)
        of_grade, read_of_grade = sums[:, cells:], confusion.sum(axis=(2, 3))
        # a KL grade of which no knee was read cannot be stood for
        weight = np.divide(of_grade, read_of_grade, out=np.zeros_like(of_grade), where=read_of_grade > 0)
        whole = np.einsum("bk,bkij->bij", weight, confusion)
        return {name: figure(whole) for name, figure in FIGURES.items()}

    values = evaluate(np.ones((1, len(distinct))))
    drawn = bootstrap(evaluate, len(distinct), draws=draws, seed=seed)
    found = {}
    for name, value in values.items():
        low, high = percentile_interval(drawn[name])
        found[name] = Estimate(float(value[0]), float(low), float(high))
    return found
